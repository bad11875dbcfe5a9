import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildBind, hostileLogins } from '../support/hostile-bytes.ts';
import { buildPassword, buildQuery, buildSync } from '#core/postgres/frontend.ts';
import { buildStartup } from '#core/postgres/startup.ts';
import { assertNothingLeft } from '../support/growth.ts';
import { openFilesOf, pssOf } from '../support/inspector.ts';
import { bind } from '../support/extended-query.ts';
import { startInstance, type TestInstance } from '../support/instance.ts';
import { metricOf, untilIdle } from '../support/metrics.ts';
import { Random, scaled } from '../support/random.ts';
import { standsStill, until } from '../support/until.ts';

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

  /** Throws byte strings in volleys, and does something `meanwhile` with each. */
  const attack = async (
    count: number,
    random: Random,
    meanwhile: () => Promise<unknown>,
  ): Promise<void> => {
    const token = await instance.token();
    for (let done = 0; done < count; done += 20) {
      const volley = Array.from({ length: 20 }, () => throwAt(hostileLogins(random, token)));
      await Promise.all([...volley, meanwhile()]);
    }
  };

  test(
    'thousands of random and mutated byte strings crash nothing, keep nobody out, and leave nothing behind',
    { timeout: 300_000 },
    async () => {
      const random = new Random(1);
      await assertNothingLeft(instance, async () => {
        const honest = await instance.connect();
        await attack(scaled(1_000), random, async () => {
          const { rows } = await honest.query('SELECT 1 AS one');
          assert.deepEqual(rows, [{ one: 1 }]);
        });
        await honest.end();
      });
    },
  );

  test('connections that are opened and left keep nobody out', async () => {
    const idle = await Promise.all(Array.from({ length: 700 }, dial));
    const client = await instance.connect();
    assert.deepEqual((await client.query('SELECT 1 AS one')).rows, [{ one: 1 }]);
    await client.end();
    for (const socket of idle) socket.destroy();
    await untilIdle(instance);
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

  const gigabytes = buildQuery("SELECT repeat('x', 1000) FROM generate_series(1, 2000000)");
  const large = buildQuery("SELECT repeat('y', 10000)");
  const refused = Buffer.concat([bind('', { portal: 'é' }), buildSync()]); // the gateway answers it by itself
  for (const [what, message, times] of [
    ['asks for two gigabytes', gigabytes, 1],
    ['sends a hundred thousand queries', large, 100_000],
    ['sends what is refused', Buffer.concat(Array.from({ length: 20_000 }, () => refused)), 40],
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
      for (let sent = 0; sent < times; sent += 1) socket.write(message);
      // It stands still once every buffer on the way is full.
      await standsStill(() => metricOf(instance, 'chaperone_spool_written_bytes_total'));
      await standsStill(() => socket.bytesWritten - socket.writableLength);
      assert.ok(
        pssOf(instance.instance.pids.sidecar) < 200 * 1024 * 1024,
        `${pssOf(instance.instance.pids.sidecar)} bytes`,
      );
      const client = await instance.connect();
      assert.deepEqual((await client.query('SELECT 1 AS one')).rows, [{ one: 1 }]);
      await client.end();
      socket.destroy();
      await untilIdle(instance);
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
