import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildPassword } from '#core/postgres/frontend.ts';
import { buildSslRequest, buildStartup } from '#core/postgres/startup.ts';
import { heapBytesOf, openFilesOf } from '../support/inspector.ts';
import { startInstance, type TestInstance } from '../support/instance.ts';
import { untilIdle } from '../support/metrics.ts';
import { Random, scaled } from '../support/random.ts';
import { until } from '../support/until.ts';

const linux = process.platform === 'linux' ? false : '/proc is of Linux';
const maxPending = 512; // the default of CHAPERONE_MAX_PENDING_LOGINS
const startup = buildStartup(new Map([['user', 'analyst'], ['database', 'shop']])); // prettier-ignore
/** The beginning of a ClientHello that never ends. */
const hello = Buffer.concat([Buffer.from('160301020001', 'hex'), Buffer.alloc(512)]);

/** A login that dribbles: what is sent at once, and what then comes a byte at a time, without end. */
const dribbles: [what: string, atOnce: Buffer, slowly: Buffer][] = [
  ['a startup message', Buffer.alloc(0), Buffer.concat([Buffer.from([0, 0, 0x20, 0, 0, 3, 0, 0]), Buffer.alloc(8_000, 'x')])],
  ['a TLS handshake', buildSslRequest(), hello],
  ['a TLS handshake without SSLRequest', Buffer.alloc(0), hello],
  ['a password', startup, buildPassword('p'.repeat(8_000))],
  ['nothing', Buffer.alloc(0), Buffer.alloc(0)],
]; // prettier-ignore

interface Dribble {
  readonly socket: Socket;
  readonly slowly: Buffer;
  received: string;
  closed: boolean;
}

describe('slow logins', { skip: linux }, () => {
  let instance: TestInstance;
  before(async () => {
    instance = await startInstance();
  });
  after(async () => instance[Symbol.asyncDispose]());

  const dial = async (): Promise<Socket> => {
    const socket = connect(instance.instance.backends['shop']?.port ?? 0, '127.0.0.1');
    socket.on('error', () => undefined); // 'close' follows
    await once(socket, 'connect');
    return socket;
  };
  const begin = async (index: number): Promise<Dribble> => {
    const [, atOnce, slowly] = dribbles[index % dribbles.length] ?? ['', startup, startup];
    const dribble: Dribble = { socket: await dial(), slowly, received: '', closed: false };
    dribble.socket.on('data', (chunk: Buffer) => (dribble.received += chunk.toString('latin1')));
    dribble.socket.on('close', () => (dribble.closed = true));
    dribble.socket.write(atOnce);
    return dribble;
  };
  const assertServed = async (): Promise<void> => {
    const client = await instance.connect();
    assert.deepEqual((await client.query('SELECT 1 AS one')).rows, [{ one: 1 }]);
    await client.end();
  };

  test(
    'of a byte at a time end at their deadline with a reason, and others log in meanwhile',
    { timeout: 120_000 },
    async () => {
      await assertServed();
      await untilIdle(instance);
      const { pids } = instance.instance;
      const filesBefore = openFilesOf(pids.sidecar);
      const slow = await Promise.all(Array.from({ length: 400 }, (_, index) => begin(index)));
      let sent = 0;
      let served = 0;
      await until(
        'the slow are closed',
        async () => {
          for (const { socket, slowly } of slow)
            if (socket.writable && sent < slowly.length)
              socket.write(slowly.subarray(sent, sent + 1));
          sent += 1;
          if (sent % 20 === 1) {
            await assertServed();
            served += 1;
          }
          return slow.every(({ closed }) => closed);
        },
        100_000,
      );
      assert.ok(served >= 5 && sent > 100, `${served} were served while ${sent} bytes were sent`);
      for (const [index, [what]] of dribbles.entries()) {
        const { received } = slow[index] ?? { received: '' };
        // Inside a handshake there is no place for a message of the protocol.
        if (!what.includes('TLS'))
          assert.match(received, /SFATAL.*C08006.*the login took too long/, what);
      }
      await untilIdle(instance);
      await until('open files are as before', () => openFilesOf(pids.sidecar) <= filesBefore + 5);
    },
  );

  test('are closed, the oldest first, when more wait than may', async () => {
    const slow: Dribble[] = [];
    for (let index = 0; index < maxPending + 100; index += 1) slow.push(await begin(4));
    await until('the oldest are closed', () => slow.slice(0, 100).every(({ closed }) => closed));
    assert.equal(
      slow.slice(100).some(({ closed }) => closed),
      false,
    );
    await assertServed();
    for (const { socket } of slow) socket.destroy();
    await untilIdle(instance);
  });

  test(
    '10 000 connections that are opened and dropped leave nothing behind',
    { timeout: 500_000 },
    async () => {
      const token = await instance.token();
      const random = new Random(3);
      const login = Buffer.concat([startup, buildPassword(token)]);
      const drop = async (): Promise<void> => {
        const socket = await dial();
        socket.resume();
        const closed = once(socket, 'close');
        if (random.below(3) > 0) socket.write(login.subarray(0, random.below(login.length + 1)));
        if (random.below(2) === 0) await new Promise((resolve) => void setImmediate(resolve));
        if (random.below(2) === 0) socket.resetAndDestroy();
        else socket.destroy();
        await closed;
      };
      const run = async (count: number): Promise<void> => {
        for (let done = 0; done < count; done += 50)
          await Promise.all(Array.from({ length: 50 }, drop));
      };
      const { pids } = instance.instance;
      await run(Math.max(2_000, scaled(3_000)));
      await untilIdle(instance);
      const heapBefore = await heapBytesOf(pids.sidecar);
      const filesBefore = openFilesOf(pids.sidecar);
      await run(scaled(10_000));
      await assertServed();
      await untilIdle(instance);
      await until(
        'open files are as before',
        () => openFilesOf(pids.sidecar) <= filesBefore * 1.05,
      );
      const heapAfter = await heapBytesOf(pids.sidecar);
      assert.ok(heapAfter <= heapBefore * 1.05, `${heapBefore} bytes became ${heapAfter}`);
      assert.equal(instance.instance.pids.sidecar, pids.sidecar, 'the sidecar was restarted');
    },
  );

  test('none of that was a defect of the gateway', () => {
    const log = readFileSync(join(instance.data, 'log/sidecar.log'), 'utf8');
    assert.doesNotMatch(log, /a connection failed|unexpected/);
  });
});
