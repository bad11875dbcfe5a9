import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import pino from 'pino';
import { parseResource } from '#core/policy/parse.ts';
import { resolve, type Bundle } from '#core/policy/resolve.ts';
import { Connections } from '../../sidecar/connections.ts';
import type { LaneHost } from '../../sidecar/lane.ts';
import { Listener } from '../../sidecar/listener.ts';
import { idleMetrics } from '../support/idle-metrics.ts';
import type { Address } from '../../runtime/settings.ts';

function bundleOf(...names: readonly string[]): Bundle {
  const resources = names.map((name, index) => {
    const { resource, problems } = parseResource({
      apiVersion: 'chaperone.dev/v1alpha1',
      kind: 'Backend',
      metadata: { name },
      spec: {
        protocol: 'TCP',
        hosts: [`${name}-db`],
        ports: [6_000 + index],
        upstream: { address: '127.0.0.1:1', tls: { mode: 'Disable' } },
        consumers: [{ namespace: 'n', serviceAccounts: ['s'] }],
      },
    });
    if (!resource) throw new Error(`the test has a wrong resource: ${JSON.stringify(problems)}`);
    return resource;
  });
  const labels = new Map<string, string>();
  const workload = { pod: 'p', namespace: 'n', serviceAccount: 's', labels };
  const { bundle } = resolve(resources, workload, new Map());
  if (bundle?.backends.size !== names.length) throw new Error('the test has wrong resources');
  return bundle;
}

describe('a listener', () => {
  const setUp = async () => {
    const thief = createServer().listen(0, '127.0.0.1');
    await once(thief, 'listening');
    const { port } = thief.address() as AddressInfo; // a TCP server's address is one
    const listening: ReadonlyMap<string, Address>[] = [];
    const listener = new Listener({
      connections: new Connections({
        host: {} as LaneHost, // nobody gets as far as a lane
        lanes: [],
        maxPending: 10,
        metrics: idleMetrics(),
        log: pino({ level: 'silent' }),
      }),
      basePort: 0,
      ports: new Map([['taken', port]]),
      log: pino({ level: 'silent' }),
      onListening: (backends) => listening.push(backends),
    });
    return {
      listener,
      listening,
      thief,
      port,
      [Symbol.asyncDispose]: async () => {
        thief.close();
        await listener.close();
      },
    };
  };
  const takes = async (address: Address | undefined): Promise<boolean> => {
    const socket = connect(address?.port ?? 1, '127.0.0.1');
    const connected = new Promise<boolean>((settle) => {
      socket.once('connect', () => settle(true)).once('error', () => settle(false));
    });
    const answer = await connected;
    socket.destroy();
    return answer;
  };

  test('says which door cannot be opened, opens the others, and tries again with the next bundle', async () => {
    await using set = await setUp();
    const { listener, listening, thief, port } = set;
    await assert.rejects(listener.apply(bundleOf('taken', 'free')), {
      code: 'config-invalid',
      message: new RegExp(`port ${port} for backend taken`),
    });
    assert.deepEqual([...(listening.at(-1)?.keys() ?? [])], ['free']);
    assert.equal(await takes(listening.at(-1)?.get('free')), true);
    thief.close();
    await once(thief, 'close');
    await listener.apply(bundleOf('taken', 'free', 'third'));
    assert.deepEqual([...(listening.at(-1)?.keys() ?? [])].sort(), ['free', 'taken', 'third']);
    assert.equal(listening.at(-1)?.get('taken')?.port, port);
    assert.equal(await takes(listening.at(-1)?.get('third')), true);
  });

  test('closes doors after one that cannot be opened, and closes itself', async () => {
    await using set = await setUp();
    const { listener, listening } = set;
    await assert.rejects(listener.apply(bundleOf('taken', 'free')), { code: 'config-invalid' });
    const free = listening.at(-1)?.get('free');
    await assert.rejects(listener.apply(bundleOf('taken')), { code: 'config-invalid' });
    assert.equal(await takes(free), false);
    await listener.close();
  });
});
