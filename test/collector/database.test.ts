import assert from 'node:assert/strict';
import { request } from 'node:https';
import { afterEach, beforeEach, describe, test } from 'node:test';
import pino from 'pino';
import { Database } from '../../collector/store/database.ts';
import { startCollectors, type Collectors } from '../support/collectors.ts';
import { StreamAuthor } from '../support/stream-author.ts';
import { until } from '../support/until.ts';

describe('a collector', () => {
  let collectors: Collectors;
  beforeEach(async () => {
    collectors = await startCollectors({ version: 15 });
  });
  afterEach(() => collectors[Symbol.asyncDispose]());

  const readyz = async (): Promise<number> => (await fetch(collectors.first.readyUrl)).status;
  const up = (): Promise<number> => collectors.first.metric('chaperone_collector_database_up ');

  const ended = async (): Promise<void> => {
    let done = false;
    void collectors.first.exited.then(() => (done = true));
    await until('the collector ends', () => done);
  };

  test('outlives a database connection that breaks while frames are read', async () => {
    const { db, first } = collectors;
    const author = new StreamAuthor();
    await first.put([author.start(), ...author.records(3), author.checkpoint()]);
    const { pid } = first;
    await db.query('BEGIN; LOCK TABLE records IN ACCESS EXCLUSIVE MODE');
    const read = first.get(`/v1/streams/${author.stream}/frames?from=1`).catch(() => undefined);
    const backend = await until('the read waits', async () => {
      const { rows } = await db.query<{ pid: number }>(
        `SELECT pid FROM pg_locks WHERE relation = 'records'::regclass AND NOT granted`,
      );
      return rows[0]?.pid;
    });
    process.kill(backend, 'SIGKILL'); // its connection ends without a word; the server restarts itself
    await read;
    await until('frames are read again', async () => {
      const answer = await first.get(`/v1/streams/${author.stream}/frames?from=1`);
      return answer.status === 200 && answer.text.includes('payload 4');
    });
    assert.doesNotThrow(() => process.kill(pid, 0));
  });

  test('says that its database is away while it is, and not ready, and is again by itself', async () => {
    assert.deepEqual([await readyz(), await up()], [200, 1]);
    const { db } = collectors;
    await db.query(`UPDATE pg_database SET datallowconn = false WHERE datname = 'chaperone'`);
    await db.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()'); // prettier-ignore
    await until('it is not ready', async () => (await readyz()) === 503 && (await up()) === 0);
    assert.equal((await collectors.first.get('/v1/sessions')).status, 503);
    await db.query(`UPDATE pg_database SET datallowconn = true WHERE datname = 'chaperone'`);
    await until('it is ready again', async () => (await readyz()) === 200 && (await up()) === 1);
    assert.equal((await collectors.first.get('/v1/sessions')).status, 200);
  });

  test('ends, and says why, when the schema is newer than it knows', async () => {
    const { db, first } = collectors;
    await first.stop();
    await db.query('UPDATE schema_version SET version = version + 1');
    await first.launch();
    await ended();
    assert.match(first.log, /this version knows \d+: update the collector\n/);
  });

  test('that is asked to stop does not wait for a reader that does not read', async () => {
    const { db, first } = collectors;
    await db.query(`INSERT INTO ledger SELECT n, repeat('x', 10000), gen_random_uuid(), 'head' FROM generate_series(1, 5000) AS n`); // prettier-ignore
    const sent = request(new URL('/v1/ledger', first.url), { ca: first.ca, headers: { authorization: 'Bearer reader' } }); // prettier-ignore
    sent.on('error', () => undefined);
    const begun = new Promise<void>((resolve) =>
      sent.on('response', (response) => {
        response.pause().on('error', () => undefined);
        resolve();
      }),
    );
    sent.end();
    await begun;
    const { pid } = first;
    process.kill(pid, 'SIGTERM');
    await ended();
    assert.ok(first.log.includes('"stopping"'));
    sent.destroy();
  });
});

test('a database that is away at the start is waited for', async () => {
  const store = { host: '127.0.0.1', port: 1, user: 'x', password: 'x', database: 'x' };
  const lines: string[] = [];
  const database = new Database(() => store, pino({}, { write: (line) => lines.push(line) }));
  const waits = (): number[] =>
    lines.flatMap((line) => (JSON.parse(line) as { retryMs?: number }).retryMs ?? []);
  await until('it has tried three times', () => waits().length >= 3);
  assert.deepEqual(waits().slice(0, 3), [500, 1_000, 2_000], 'less and less often');
  assert.equal(database.ready, false);
  await database.close();
});
