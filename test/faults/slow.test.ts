import assert from 'node:assert/strict';
import { createServer, connect, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { scaled } from '../support/random.ts';
import { underLoad } from './under-load.ts';

const bytesPerSecond = 64 * 1024;
const tickMs = 50;

/** A way to a server that lets only so much through. */
interface Narrow extends Disposable {
  readonly port: number;
  /** Where it leads to. */
  target: number;
  /** Bytes that have passed upwards. */
  readonly passed: number;
}

async function openNarrow(): Promise<Narrow> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true });
  const narrow = {
    port: 0,
    target: 0,
    passed: 0,
    [Symbol.dispose]: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  server.on('connection', (client) => {
    const upstream = connect({ port: narrow.target, host: '127.0.0.1', allowHalfOpen: true });
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        other.destroy();
        sockets.delete(socket);
      });
    }
    upstream.pipe(client);
    void (async () => {
      for await (const piece of client) {
        const bytes = piece as Buffer; // no encoding is set
        narrow.passed += bytes.length;
        upstream.write(bytes);
        await delay(Math.max(tickMs, (bytes.length / bytesPerSecond) * 1000));
      }
      upstream.end();
    })().catch(() => upstream.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  narrow.port = (server.address() as AddressInfo).port; // a TCP server's address is one
  return narrow;
}

test('a collector that is reached slowly: agents work on, and everything is stored in the end', async (t) => {
  using narrow = await openNarrow();
  const environment = { sidecar: { CHAPERONE_COLLECTOR_URL: `https://127.0.0.1:${narrow.port}` } };
  await underLoad(
    t,
    { seed: 401, long: 20, start: { environment } },
    async ({ instance, load }) => {
      narrow.target = Number(new URL(instance.instance.collector.url).port);
      await load.more(scaled(15_000), 'answered', 600_000);
      assert.deepEqual([...load.errors.keys()], ['22012']);
    },
  );
  assert.ok(narrow.passed > 0, 'the sidecar took another way');
});

test('a collector that runs only now and then: agents work on, and everything is stored in the end', async (t) => {
  await underLoad(t, { seed: 402 }, async ({ instance, load, random }) => {
    const { collector } = instance.instance.pids;
    for (let left = scaled(60); left > 0; left -= 1) {
      process.kill(collector, 'SIGSTOP');
      await delay(random.below(1_500)); // it is the fault
      process.kill(collector, 'SIGCONT');
      await delay(random.below(300));
    }
    assert.deepEqual([...load.errors.keys()], ['22012']);
  });
});
