import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { buildBind, hostileLogins } from '../support/hostile-bytes.ts';
import { buildPassword, buildQuery } from '#core/postgres/frontend.ts';
import { buildStartup } from '#core/postgres/startup.ts';
import { heapBytesOf, openFilesOf, pssOf } from '../support/inspector.ts';
import { startInstance, type TestInstance } from '../support/instance.ts';
import { Random, scaled } from '../support/random.ts';
import { until } from '../support/until.ts';

const linux = process.platform === 'linux' ? false : '/proc is of Linux';

describe('a hostile client', { skip: linux }, () => {
  let instance: TestInstance;
  before(async () => {
    instance = await startInstance();
  });
  after(async () => instance[Symbol.asyncDispose]());

  const dial = async (): Promise<Socket> => {
    const socket = connect(instance.instance.backends['shop']?.port ?? 0, '127.0.0.1');
    socket.on('error', () => undefined); // being refused is the point
    await once(socket, 'connect');
    return socket;
  };

  /** Sends bytes and waits until the other side has closed, or hangs up itself when that does not happen. */
  const throwAt = async (bytes: Buffer): Promise<void> => {
    const socket = await dial();
    socket.resume();
    const closed = once(socket, 'close');
    socket.end(bytes);
    await closed;
  };

  const attack = async (count: number, seed: number): Promise<void> => {
    const random = new Random(seed);
    const token = await instance.token();
    for (let done = 0; done < count; done += 20) {
      await Promise.all(Array.from({ length: 20 }, () => throwAt(hostileLogins(random, token))));
    }
  };

  const settled = async (): Promise<number> => {
    await until('the sessions are over', async () => {
      const text = await (await fetch(instance.instance.sidecar.metricsUrl)).text();
      return (
        /^chaperone_sessions 0$/m.test(text) &&
        /^chaperone_pending_logins 0$/m.test(text) &&
        /^chaperone_spool_bytes \d{1,7}$/m.test(text)
      );
    });
    return heapBytesOf(instance.instance.pids.sidecar);
  };

  test(
    '10 000 random and mutated byte strings crash nothing, keep nobody out, and leave nothing behind',
    { timeout: 300_000 },
    async () => {
      const { pids } = instance.instance;
      await attack(scaled(3_000), 1); // code is compiled and pools are filled once
      const heapBefore = await settled();
      const filesBefore = openFilesOf(pids.sidecar);
      const honest = await instance.connect();
      let served = 0;
      const attacking = attack(scaled(10_000), 2);
      let over = false;
      void attacking.finally(() => (over = true));
      while (!over) {
        const { rows } = await honest.query('SELECT 1 AS one');
        assert.deepEqual(rows, [{ one: 1 }]);
        served += 1;
      }
      await attacking;
      await honest.end();
      assert.ok(served > 50, `an honest client was served ${served} times`);
      const heapAfter = await settled();
      assert.equal(instance.instance.pids.sidecar, pids.sidecar, 'the sidecar was restarted');
      await until(
        `open files are back at ${filesBefore}`,
        () => openFilesOf(pids.sidecar) <= filesBefore * 1.05,
      );
      assert.ok(heapAfter <= heapBefore * 1.05, `${heapBefore} bytes became ${heapAfter}`);
    },
  );

  test('connections that are opened and left keep nobody out', async () => {
    const idle = await Promise.all(Array.from({ length: 700 }, dial));
    const client = await instance.connect();
    assert.deepEqual((await client.query('SELECT 1 AS one')).rows, [{ one: 1 }]);
    await client.end();
    for (const socket of idle) socket.destroy();
    await settled();
    await until(
      'open files are few again',
      () => openFilesOf(instance.instance.pids.sidecar) < 100,
    );
  });

  test('a login of one byte a time does not hold up others', async () => {
    const slow = await Promise.all(Array.from({ length: 50 }, dial));
    for (const socket of slow) socket.write(Buffer.from([0]));
    const client = await instance.connect();
    assert.deepEqual((await client.query('SELECT 1 AS one')).rows, [{ one: 1 }]);
    await client.end();
    for (const socket of slow) socket.destroy();
  });

  test('a statement that is too long to be judged is refused, and the connection goes on', async () => {
    const client = await instance.connect();
    const value = 'a'.repeat(20 * 1024 * 1024);
    await assert.rejects(client.query(`SELECT length('${value}')`), { code: '54000' });
    await assert.rejects(client.query(`SELECT length('${value}'), $1::int`, [1]), {
      code: '54000',
    });
    assert.deepEqual((await client.query('SELECT length($1)', [value])).rows, [
      { length: value.length },
    ]);
    await client.end();
  });

  for (const [what, statement, times] of [
    ['asks for two gigabytes', "SELECT repeat('x', 1000) FROM generate_series(1, 2000000)", 1],
    ['sends a hundred thousand queries', "SELECT repeat('y', 10000)", 100_000],
  ] as const) {
    test(`an agent that ${what} and reads nothing holds little memory, and nobody else waits`, async () => {
      const socket = await dial();
      socket.pause();
      const parameters = new Map([
        ['user', 'analyst'],
        ['database', 'shop'],
      ]);
      socket.write(
        Buffer.concat([buildStartup(parameters), buildPassword(await instance.token())]),
      );
      const query = buildQuery(statement);
      for (let sent = 0; sent < times; sent += 1) socket.write(query);
      const written = async (): Promise<string> => {
        const text = await (await fetch(instance.instance.sidecar.metricsUrl)).text();
        return /^chaperone_spool_written_bytes_total (\d+)$/m.exec(text)?.[1] ?? '';
      };
      // It stands still once every buffer on the way is full.
      let before = '';
      await until('nothing moves any more', async () => {
        const last = before;
        before = await written();
        await delay(200);
        return last === before;
      });
      assert.ok(
        pssOf(instance.instance.pids.sidecar) < 200 * 1024 * 1024,
        `${pssOf(instance.instance.pids.sidecar)} bytes`,
      );
      const client = await instance.connect();
      assert.deepEqual((await client.query('SELECT 1 AS one')).rows, [{ one: 1 }]);
      await client.end();
      socket.destroy();
      await settled();
    });
  }

  test('bytes between SSLRequest and the TLS handshake end the connection', async () => {
    const socket = await dial();
    const received: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => received.push(chunk));
    socket.write(
      Buffer.concat([Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]), Buffer.from('injected')]),
    );
    await once(socket, 'close');
    assert.doesNotMatch(Buffer.concat(received).toString('latin1'), /^S/);
  });

  test('a message that nobody understands ends the connection, and never reaches the backend', async () => {
    const client = await instance.connect();
    const { connection } = client as unknown as { connection: { stream: Socket } };
    connection.stream.write(Buffer.from('!\0\0\0\x04', 'latin1'));
    const [error] = (await once(client, 'error')) as [{ code: string }];
    assert.equal(error.code, '08P01');
    await client.end().catch(() => undefined);
  });

  test('a pipeline with a malformed Bind ends with a protocol error', async () => {
    const client = await instance.connect();
    const { connection } = client as unknown as { connection: { stream: Socket } };
    connection.stream.write(buildBind(Buffer.from('\0\0\0\x01')));
    const [error] = (await once(client, 'error')) as [{ code: string }];
    assert.equal(error.code, '08P01');
  });

  test('none of that was a defect of the gateway', () => {
    const log = readFileSync(join(instance.data, 'log/sidecar.log'), 'utf8');
    assert.doesNotMatch(log, /a connection failed|unexpected/);
  });
});
