import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startInstance, verifyAll, type TestInstance } from '../support/instance.ts';
import { waitForSessions } from '../support/results.ts';
import { until } from '../support/until.ts';

const linux = process.platform === 'linux' ? false : 'prlimit is of Linux';

describe('the record is first', { skip: linux }, () => {
  let instance: TestInstance;
  before(async () => {
    instance = await startInstance({
      prepare: (config) => {
        const file = join(config, 'policies.yaml');
        writeFileSync(file, readFileSync(file, 'utf8').replace('wait: 10s', 'wait: 300ms'));
      },
    });
  });
  after(async () => instance[Symbol.asyncDispose]());

  /** Limits how long a file of the sidecar may become: the spool fails as it does on a full disk. */
  const limitFiles = (bytes: number | 'unlimited'): void => {
    execFileSync('prlimit', [
      `--pid=${instance.instance.pids.sidecar}`,
      `--fsize=${bytes}:unlimited`,
    ]);
  };

  test('a statement that cannot be recorded does not reach the backend; the connection works on afterwards', async () => {
    const client = await instance.connect();
    await client.query("SELECT 'statement 1'");
    limitFiles(0);
    await assert.rejects(client.query("SELECT 'statement 2'"), {
      code: '53100',
      message: /audit log cannot be written/,
    });
    await assert.rejects(client.query('SELECT $1::text', ['statement 3']), { code: '53100' });
    limitFiles('unlimited');
    await client.query("SELECT 'statement 4'");
    await client.end();
    const log = instance.backendLog();
    assert.match(log, /statement 1/);
    assert.doesNotMatch(log, /statement [23]/);
    assert.match(log, /statement 4/);
  });

  test('inside a transaction the refusal fails the transaction, as any error does', async () => {
    const client = await instance.connect();
    await client.query('BEGIN');
    await client.query("UPDATE orders SET status = 'lost' WHERE id = 1");
    limitFiles(0);
    await assert.rejects(client.query("SELECT 'in transaction'"), { code: '53100' });
    limitFiles('unlimited');
    await assert.rejects(client.query('SELECT 1'), { code: '25P02' });
    await client.query('ROLLBACK');
    const { rows } = await client.query('SELECT status FROM orders WHERE id = 1');
    assert.notDeepEqual(rows, [{ status: 'lost' }]);
    await client.end();
    assert.doesNotMatch(instance.backendLog(), /in transaction/);
  });

  test('a login is refused while nothing can be recorded', async () => {
    limitFiles(0);
    await assert.rejects(instance.connect(), { code: '53100' });
    limitFiles('unlimited');
    await (await instance.connect()).end();
  });

  test('an answer that cannot be recorded is withheld, and the connection works on', async () => {
    const holder = await instance.connect();
    await holder.query('SELECT pg_advisory_lock(1)');
    const client = await instance.connect();
    const waiting = client.query("SELECT 'withheld', pg_advisory_lock(1)");
    await until('the query runs', () => instance.backendLog().includes("'withheld'"));
    limitFiles(0);
    await holder.end(); // with its session the lock goes
    await assert.rejects(waiting, { code: '53100', message: /answer is withheld/ });
    limitFiles('unlimited');
    assert.deepEqual((await client.query('SELECT 1 AS one')).rows, [{ one: 1 }]);
    await client.end();
  });

  test('a spool that fails while a large answer streams never lets unrecorded rows out', async () => {
    const client = await instance.connect({ password: await instance.token({ sub: 'streamed' }) });
    let received = 0;
    const failed = new Promise<Error>((resolve) => {
      client.on('error', resolve);
      const query = client.query(
        "SELECT i, repeat('x', 10000) FROM generate_series(1, 20000) AS i",
      );
      query.catch(resolve);
      (client as unknown as { connection: NodeJS.EventEmitter }).connection.on('dataRow', () => {
        received += 1;
        if (received === 500) limitFiles(0);
      });
    });
    assert.ok(await failed);
    limitFiles('unlimited');
    await client.end().catch(() => undefined); // it was cut within a row
    const session = await until('the session has ended', async () => {
      const [newest] = await instance.collector().sessions({ who: 'streamed' });
      return newest?.endedAt === null ? undefined : newest;
    });
    let recorded = 0;
    for await (const frame of instance.collector().frames(session.id))
      recorded += frame.payload.length;
    assert.ok(received < 20_000, 'the answer was not stopped');
    assert.ok(recorded >= received * 10_000, `${recorded} bytes recorded of ${received} rows`);
  });

  test('after all that every session verifies', async () => {
    await waitForSessions(instance);
    assert.deepEqual(await verifyAll(instance), ['consistent']);
  });
});
