import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { listenerPorts, nftArguments } from '#core/interception/nft-rules.ts';
import { version } from '../../runtime/version.ts';
import { networkProgram } from '../../webhook/own-parts.ts';
import { programs } from '../../webhook/names.ts';
import { cluster, withoutCluster, type Cluster, type Namespace } from '../support/cluster.ts';

const uid = 1_234_567_890; // no image has such a user
const locked = {
  runAsUser: uid,
  runAsGroup: uid,
  runAsNonRoot: true,
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  seccompProfile: { type: 'RuntimeDefault' },
  capabilities: { drop: ['ALL'] },
};
const lockedButNetwork = { ...locked, capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } };

/** Listens where the rules lead, dials where nobody is, and says what it meets. */
const dialler = `
const net = require('node:net');
net.createServer((socket) => socket.end('redirected')).listen(${listenerPorts.proxyPort}, '127.0.0.1', () => {
  const socket = net.connect({ host: '192.0.2.1', port: 5432, timeout: 5000 });
  socket.on('data', (text) => { console.log('met: ' + text); process.exit(0); });
  socket.on('timeout', () => { console.log('met nobody'); process.exit(1); });
  socket.on('error', (error) => { console.log(error.code); process.exit(1); });
});`;

describe('the image in a cluster', { skip: withoutCluster }, () => {
  const stack = new AsyncDisposableStack();
  let running: Cluster;
  let namespace: Namespace;
  let image: string;

  before(async () => {
    running = stack.use(await cluster());
    image = await running.image();
    namespace = stack.use(await running.namespace('image'));
  });
  after(() => stack.disposeAsync());

  const startPod = (name: string, spec: object): Promise<void> =>
    namespace.apply([
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name },
        spec: { restartPolicy: 'Never', automountServiceAccountToken: false, ...spec },
      },
    ]);

  for (const service of ['sidecar', 'collector']) {
    test(`runs the ${service} as its own user, who is not root`, async () => {
      const securityContext = { runAsNonRoot: true };
      const args = [`${service}.cjs`, '--version'];
      await startPod(service, { containers: [{ name: 'main', image, args, securityContext }] });
      await namespace.waitFor(`pod/${service}`, 'jsonpath={.status.phase}=Succeeded');
      assert.equal(await namespace.logs(service), `chaperone ${service} ${version}\n`);
    });
  }

  test('runs the command line', async () => {
    const container = { name: 'main', image, args: ['cli.cjs', '--help'], securityContext: locked };
    await startPod('cli', { containers: [container] });
    await namespace.waitFor('pod/cli', 'jsonpath={.status.phase}=Succeeded');
    assert.match(await namespace.logs('cli'), /^usage: chaperone COMMAND/);
  });

  test('resolves the names of the cluster', async () => {
    const lookup = `require('node:dns').lookup('kubernetes.default', (error, address) => console.log(error?.code ?? address))`;
    const container = { name: 'main', image, args: ['-e', lookup], securityContext: locked };
    await startPod('names', { containers: [container] });
    await namespace.waitFor('pod/names', 'jsonpath={.status.phase}=Succeeded');
    const service = ['get', 'service', 'kubernetes', '--output=jsonpath={.spec.clusterIP}'];
    const address = await running.kubectl(service);
    assert.equal(await namespace.logs('names'), `${address}\n`);
  });

  test('holds no shell', async () => {
    const args = ['-e', 'setInterval(() => undefined, 60_000)'];
    const container = { name: 'main', image, args, securityContext: locked };
    await startPod('idle', { containers: [container], terminationGracePeriodSeconds: 1 });
    await namespace.waitFor('pod/idle', 'condition=Ready');
    await namespace.kubectl(['exec', 'idle', '--', programs.node, '--version']);
    for (const shell of ['sh', '/bin/sh', 'bash', 'busybox'])
      await assert.rejects(
        namespace.kubectl(['exec', 'idle', '--', shell]),
        /no such file|not found/,
      );
  });

  const podWithRules = (securityContext: object): object => {
    const letOut = { uid: uid + 1, openPorts: [] };
    // Setting them alone, with Node's own means: what else the program does has nobody to meet here.
    const run = `require('node:child_process').execFileSync('${programs.nft}', process.argv.slice(1), { stdio: 'inherit' })`;
    const command = [...networkProgram.slice(0, 4), '-e', run, '--', ...nftArguments(letOut, programs.rules)]; // prettier-ignore
    return {
      initContainers: [{ name: 'nft', image, command, securityContext }],
      containers: [{ name: 'main', image, args: ['-e', dialler], securityContext: locked }],
    };
  };

  describe('its nft, started by Node', () => {
    test('sets the rules of a pod as a user who is not root and has NET_ADMIN alone', async () => {
      await startPod('redirected', podWithRules(lockedButNetwork));
      await namespace.waitFor('pod/redirected', 'jsonpath={.status.phase}=Succeeded');
      assert.equal(await namespace.logs('redirected', 'main'), 'met: redirected\n');
    });

    test('sets none without NET_ADMIN, and who waits for that is told why', async () => {
      await startPod('refused', podWithRules(locked));
      await namespace.waitFor('pod/refused', 'jsonpath={.status.phase}=Failed');
      await assert.rejects(
        namespace.waitFor('pod/refused', 'condition=Ready', 1_000),
        ({ message }: Error) =>
          /refused +0\/1/.test(message) && // the pods
          /Started container nft/i.test(message) && // the events
          /operation not permitted/.test(message), // the logs
      );
    });
  });
});
