import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { KubeConfig } from '@kubernetes/client-node';
import { createLocalCa } from '../../cli/dev/certificates.ts';
import { Identities } from '../../controller/identities.ts';
import { openCluster } from '../../runtime/cluster-connection.ts';
import { kubeconfigFor } from '../support/api-server.ts';
import { until } from '../support/until.ts';

/** Of a pod, which the API server below believes. */
const tokenUntil = (expiresMs: number): string =>
  `x.${Buffer.from(JSON.stringify({ exp: expiresMs / 1_000 })).toString('base64url')}.x`;

const status = {
  authenticated: true,
  audiences: ['chaperone-controller'],
  user: {
    username: 'system:serviceaccount:agents:agent',
    extra: {
      'authentication.kubernetes.io/pod-name': ['agent-0'],
      'authentication.kubernetes.io/pod-uid': ['u'],
    },
  },
};

test('strangers have the API server asked about 64 tokens at once, and a sidecar about its own once a minute', async () => {
  const ca = await createLocalCa(Date.now());
  const waiting: ServerResponse[] = [];
  let asked = 0;
  let answers: object | undefined;
  const answer = (response: ServerResponse): void => void response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify({ status: answers })); // prettier-ignore
  const server = createServer(await ca.issue('api'), (request, response) => {
    request.resume().on('end', () => {
      asked += 1;
      if (answers) answer(response);
      else waiting.push(response);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const config = new KubeConfig();
    const { port } = server.address() as AddressInfo; // a TCP server's address is one
    config.loadFromString(kubeconfigFor(`https://127.0.0.1:${port}`, ca));
    const identities = new Identities(openCluster(config, 30_000), 'audit');
    const strangers = Array.from({ length: 100 }, (_, index) =>
      identities.pod(`stranger-${index}`),
    );
    await until('they are asked about', () => waiting.length === 64);
    assert.deepEqual(await Promise.all(strangers.slice(64)), Array(36).fill('busy'));
    answers = { authenticated: false };
    waiting.forEach(answer);
    assert.deepEqual(await Promise.all(strangers.slice(0, 64)), Array(64).fill(undefined));
    answers = status;
    const token = tokenUntil(Date.now() + 3_600_000);
    for (let time = 0; time < 3; time += 1) {
      const pod = await identities.pod(token);
      assert.ok(pod !== undefined && pod !== 'busy');
      assert.deepEqual([pod.name, pod.uid, pod.forMs > 3_500_000], ['agent-0', 'u', true]);
    }
    assert.equal(asked, 65);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
