import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once, type EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { after, before, describe, test } from 'node:test';
import { Client, DatabaseError, Pool, Query, type ClientConfig } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { until } from '../support/until.ts';
import { requestOf, Routes, takesLarge, type Login, type RecordedRequest } from './routes.ts';

const contents = `CREATE TABLE seats AS SELECT id FROM generate_series(1, 5) AS id;
  CREATE TABLE taken (id int PRIMARY KEY, name text)`;

/** Settings that types/pg does not know yet. */
type Settings = ClientConfig & {
  readonly pipeline?: boolean;
  readonly binary?: boolean;
  readonly replication?: string;
};

async function withClient<T>(
  login: Login,
  work: (client: Client) => Promise<T>,
  more: Settings = {},
): Promise<T> {
  const { host, port, user, password, database } = login;
  const client = new Client({ host, port, user, password, database, ...more });
  client.on('error', () => undefined); // whoever waits for a query hears of it too
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof DatabaseError) return `${error.code} ${error.message}`;
    return String(error);
  }
  throw new Error('it did not fail');
}

const rowsOf = async (client: Client, text: string, values?: unknown[]): Promise<unknown[]> =>
  (await client.query({ text, rowMode: 'array', ...(values ? { values } : {}) })).rows;

async function read(stream: Readable): Promise<string> {
  const hash = createHash('sha256');
  let length = 0;
  for await (const chunk of stream) {
    const bytes = chunk as Buffer; // no encoding is set
    hash.update(bytes);
    length += bytes.length;
  }
  return `${length} ${hash.digest('hex')}`;
}

const untilSleeping = (observer: Client, pid: number): Promise<unknown> =>
  until('it sleeps', async () => {
    const text =
      "SELECT wait_event = 'PgSleep' AND state = 'active' FROM pg_stat_activity WHERE pid = $1";
    const [row] = (await rowsOf(observer, text, [pid])) as boolean[][];
    return row?.[0];
  });

const pidOf = async (client: Client): Promise<number> =>
  ((await rowsOf(client, 'SELECT pg_backend_pid()')) as [[number]])[0][0];

const given: readonly (readonly [type: string, value: unknown])[] = [
  ['int4', 2_147_483_647], ['int8', '-9223372036854775808'], ['numeric', '-1.000123'], ['float8', 0.1],
  ['text', "Ünïcode 🐘 'quoted' \\ $1"], ['text', null], ['bytea', Buffer.from(Array.from({ length: 256 }, (_, n) => n))],
  ['bool', true], ['uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'], ['timestamptz', new Date(Date.UTC(2026, 1, 28))],
  ['int4[]', [[1, null], [3, 4]]], ['text[]', ['a', 'quote"', 'comma,', '', null, '{brace}']],
  ['json', { a: [1, null, 'ü'] }], ['jsonb', { b: { c: [true, 1.5] } }], ['int4range', '[1,10)'],
  ['daterange', '[2026-02-28,2026-03-03)'], ['int4multirange', '{[1,3),[5,9)}'],
]; // prettier-ignore

/** pg reads what is binary as if it were text: the bytes are compared as it has them. */
const asTheyCame = { getTypeParser: () => (value: unknown) => value };

async function values(login: Login): Promise<unknown[]> {
  const found: unknown[] = [];
  for (const binary of [false, true]) {
    const work = async (client: Client): Promise<void> => {
      for (const [type, value] of given)
        found.push(await rowsOf(client, `SELECT $1::${type} AS value`, [value]));
    };
    await withClient(login, work, { binary, ...(binary ? { types: asTheyCame } : {}) });
  }
  return found;
}

const statements = (login: Login): Promise<unknown[]> =>
  withClient(login, async (client) => {
    const add = (n: number): Promise<{ rows: unknown[] }> =>
      client.query({ name: 'add', text: 'SELECT $1::int + 1 AS sum', values: [n] });
    const found: unknown[] = [];
    for (let n = 0; n < 5; n += 1) found.push((await add(n)).rows);
    const failing = { name: 'divide', text: 'SELECT 1 / $1::int AS quotient' };
    found.push(await failure(client.query({ ...failing, values: [0] })));
    found.push((await client.query({ ...failing, values: [1] })).rows);
    found.push(await failure(client.query({ name: 'wrong', text: 'SELECT nothing' })));
    found.push(await rowsOf(client, 'SELECT name FROM pg_prepared_statements ORDER BY name'));
    const several = await client.query('SELECT 1 AS a; SELECT 2 AS b; SELECT 1/1 AS c');
    found.push((several as unknown as { rows: unknown[] }[]).map(({ rows }) => rows)); // pg types one result only
    found.push(await failure(client.query('SELECT 1 AS a; SELECT 1/0; SELECT 3')));
    const pages = await client.query({ text: 'SELECT generate_series(1, $1::int) AS n', values: [100], rows: 7 } as unknown as string); // prettier-ignore
    found.push(pages.rows.length, (await client.query('')).rows);
    return found;
  });

/** Queries that are not waited for: pg sends one after the other, or all at once. */
async function queued(login: Login): Promise<unknown[]> {
  const found: unknown[] = [];
  for (const pipelined of [false, true]) {
    const work = async (client: Client): Promise<void> => {
      const answers = Array.from({ length: 200 }, async (_, n) => {
        if (n % 50 === 49) return failure(client.query('SELECT 1 / $1::int', [0]));
        if (n % 3 === 0) return (await client.query(`SELECT ${n} AS n`)).rows;
        return (await client.query({ text: 'SELECT $1::int AS n', values: [n], ...(n % 2 ? { name: 'n' } : {}) })).rows; // prettier-ignore
      });
      found.push(await Promise.all(answers));
      const transaction = ['BEGIN', 'INSERT INTO seats VALUES (6)', 'SELECT nothing', 'SELECT 1', 'ROLLBACK', 'SELECT count(*) FROM seats']; // prettier-ignore
      const outcomes = await Promise.allSettled(transaction.map((text) => client.query(text)));
      found.push(outcomes.map((outcome) => outcome.status === 'fulfilled' ? [outcome.value.command, outcome.value.rows] : String(outcome.reason))); // prettier-ignore
    };
    await withClient(login, work, { pipeline: pipelined });
  }
  return found;
}

const copies = (login: Login): Promise<unknown[]> =>
  withClient(login, async (client) => {
    const found: unknown[] = [];
    const lines = Array.from({ length: 5000 }, (_, n) => `${n}\tnäme ${n}\n`);
    const text = client.query(copyFrom('COPY taken FROM STDIN'));
    await pipeline(Readable.from(lines), text);
    found.push(text.rowCount);
    const csv = client.query(copyFrom('COPY taken FROM STDIN (FORMAT csv, HEADER)'));
    await pipeline(Readable.from(['id,name\n', '-1,"a ""quoted"", na', 'me"\n']), csv);
    for (const format of ['text', 'csv', 'binary']) {
      const query = `COPY (SELECT * FROM taken ORDER BY id) TO STDOUT (FORMAT ${format})`;
      found.push(await read(client.query(copyTo(query))));
    }
    const binary: Buffer[] = [];
    const out = client.query(copyTo('COPY (SELECT -2, \'binary\'::text) TO STDOUT (FORMAT binary)')); // prettier-ignore
    for await (const chunk of out) binary.push(chunk as Buffer); // no encoding is set
    const back = client.query(copyFrom('COPY taken FROM STDIN (FORMAT binary)'));
    await pipeline(Readable.from(binary), back);
    const bad = client.query(copyFrom('COPY taken FROM STDIN'));
    found.push(await failure(pipeline(Readable.from(['one\tx\n']), bad)));
    const twice = client.query(copyFrom('COPY taken FROM STDIN'));
    found.push(await failure(pipeline(Readable.from(lines), twice)));
    const abandoned = client.query(copyFrom('COPY taken FROM STDIN'));
    abandoned.write('9999\tnever\n');
    abandoned.on('error', () => undefined);
    abandoned.destroy();
    found.push(await rowsOf(client, 'SELECT * FROM taken WHERE id < 1 OR id > 4998 ORDER BY id'));
    return found;
  });

const notifications = (login: Login): Promise<unknown[]> =>
  withClient(login, async (listener) => {
    const found: unknown[] = [];
    listener.on('notification', ({ channel, payload }) => found.push([channel, payload]));
    listener.on('notice', ({ severity, message }) => found.push([severity, message]));
    await listener.query('LISTEN news');
    await withClient(login, async (notifier) => {
      for (const payload of ['one', 'two'])
        await notifier.query('SELECT pg_notify($1, $2)', ['news', payload]);
    });
    await until('both are heard', () => found.length === 2);
    await listener.query("DO $$ BEGIN RAISE NOTICE 'noted'; END $$");
    return found;
  });

const large = (login: Login): Promise<unknown[]> =>
  withClient(login, async (client) => {
    const bytes = Buffer.alloc(20 * 1024 * 1024, 'twenty megabytes ');
    const { rows } = await client.query<{ data: Buffer; n: number }>(
      'SELECT $1::bytea AS data, length($1::bytea) AS n',
      [bytes],
    );
    const text = 'x'.repeat(10_000_000);
    const many = await rowsOf(
      client,
      "SELECT n, repeat('y', 100) FROM generate_series(1, 50000) AS n",
    );
    return [
      rows[0]?.data.equals(bytes),
      rows[0]?.n,
      await rowsOf(client, `SELECT length('${text}')`),
      await rowsOf(client, 'SELECT cardinality($1::int[])', [Array.from({ length: 100_000 }, (_, n) => n)]),
      many.length,
    ]; // prettier-ignore
  });

/** What pg does not type. */
interface Canceller {
  readonly connection: EventEmitter;
  cancel(of: Client, query: Query): void;
}

const cancels = (login: Login): Promise<unknown[]> =>
  withClient(login, (observer) =>
    withClient(login, async (client) => {
      const pid = await pidOf(client);
      const { host, port, user, password, database } = login;
      const found: unknown[] = [];
      for (const text of ['SELECT pg_sleep(300)', 'SELECT pg_sleep($1)']) {
        const { promise, resolve } = Promise.withResolvers<string>();
        const values = text.includes('$1') ? [300] : [];
        const query = new Query(text, values);
        query.on('error', (error) => resolve(error instanceof DatabaseError ? `${error.code} ${error.message}` : String(error))); // prettier-ignore
        client.query(query);
        await untilSleeping(observer, pid);
        const canceller = new Client({
          host,
          port,
          user,
          password,
          database,
        }) as unknown as Canceller;
        const closed = once(canceller.connection, 'end');
        canceller.cancel(client, query);
        found.push(await promise);
        await closed; // until then PostgreSQL 15, which signals twice, could end what is asked next
        found.push(await rowsOf(client, "SELECT 'goes on'"));
      }
      return found;
    }),
  );

async function timeouts(login: Login): Promise<unknown[]> {
  const found: unknown[] = [];
  await withClient(
    login,
    async (client) => {
      found.push(await failure(client.query('SELECT pg_sleep(300)')));
      found.push(await rowsOf(client, 'SHOW statement_timeout'));
    },
    { statement_timeout: 100 },
  );
  await withClient(login, async (holder) => {
    await holder.query('BEGIN; LOCK TABLE seats');
    const waits = (client: Client): Promise<string> => failure(client.query('TABLE seats'));
    found.push(await withClient(login, waits, { lock_timeout: 100 }));
    // The driver gives up by itself; the server is told by the end of the connection.
    found.push(await withClient(login, waits, { query_timeout: 300 }));
    await holder.query('ROLLBACK');
  });
  await withClient(
    login,
    async (client) => {
      const ended = new Promise((resolve) => client.once('end', resolve));
      await client.query('BEGIN');
      await ended;
      found.push(await failure(client.query('SELECT 1')));
    },
    { idle_in_transaction_session_timeout: 100 },
  );
  return found;
}

async function pools(login: Login): Promise<unknown[]> {
  const { host, port, user, password, database } = login;
  const pool = new Pool({ host, port, user, password, database, max: 5 });
  try {
    const doubled = await Promise.all(
      Array.from({ length: 200 }, async (_, n) => (await pool.query('SELECT $1::int * 2 AS n', [n])).rows),
    ); // prettier-ignore
    const client = await pool.connect();
    await client.query('BEGIN');
    await client.query('INSERT INTO seats VALUES (7)');
    await client.query('ROLLBACK');
    client.release();
    const count = await pool.query('SELECT count(*) FROM seats');
    return [doubled, count.rows, pool.totalCount];
  } finally {
    await pool.end();
  }
}

/** What a scenario must have led to, and what must be recorded of it. */
type Check = (result: readonly unknown[], requests: readonly RecordedRequest[]) => void;
type Scenario = (login: Login) => Promise<unknown[]>;

const quotients = ['22012 division by zero', [{ quotient: 1 }]];

const scenarios: readonly [title: string, scenario: Scenario, check: Check][] = [
  [
    'arrays, JSON, ranges and other values, in text and in binary',
    values,
    (result, requests) => {
      assert.equal(requests.length, result.length);
      assert.deepEqual(result[given.length - 1], [['{[1,3),[5,9)}']]);
      for (const [index, [type]] of given.entries()) {
        // The record shows one value alike, in whichever of the formats it went.
        const [text, binary] = [requests[index], requests[given.length + index]];
        assert.deepEqual(text?.parameters, binary?.parameters, type);
        if (type !== 'timestamptz') assert.deepEqual(text?.rows, binary?.rows, type); // of another zone
      }
    },
  ],
  [
    'prepared and simple statements, errors, and rows fetched page by page',
    statements,
    (result, requests) => {
      assert.deepEqual(result.slice(4, 7), [[{ sum: 5 }], ...quotients]);
      assert.deepEqual(result[8], [['add'], ['divide']]);
      assert.deepEqual(result.slice(-3), ['22012 division by zero', 100, []]);
      const added = requests.filter(({ text }) => text === 'SELECT $1::int + 1 AS sum');
      assert.deepEqual(added.map(({ parameters }) => parameters[0]), ['0', '1', '2', '3', '4']); // prettier-ignore
      const paged = requestOf(requests, 'SELECT generate_series(1, $1::int) AS n');
      assert.deepEqual([paged.parameters, paged.rows.length], [['100'], 100]);
    },
  ],
  [
    'queries that are not waited for, in turn and in a pipeline',
    queued,
    (result, requests) => {
      assert.deepEqual(result[0], result[2]);
      assert.deepEqual((result[0] as unknown[])[199], quotients[0]);
      assert.equal(requests.length, 2 * (200 + 6));
      const rows = requests.flatMap((request) => request.rows).filter(([n]) => n === '151');
      assert.deepEqual(rows, [['151'], ['151']]);
    },
  ],
  [
    'COPY in both directions as text, CSV and binary, with bad data, and given up',
    copies,
    (result, requests) => {
      const rows = [[-2, 'binary'], [-1, 'a "quoted", name'], [0, 'näme 0'], [4999, 'näme 4999']]; // prettier-ignore
      assert.deepEqual([result[0], result.at(-1)], [5000, rows]);
      const taken = requests.filter(({ text }) => text === 'COPY taken FROM STDIN');
      assert.deepEqual(taken.map(({ errors }) => errors), [[], ['22P02'], ['23505'], ['57014']]); // prettier-ignore
      assert.equal(taken[0]?.copied.join('').split('\n').length, 5001);
      const out = requestOf(
        requests,
        'COPY (SELECT * FROM taken ORDER BY id) TO STDOUT (FORMAT csv)',
      );
      assert.equal(out.copied[0], '-1,"a ""quoted"", name"\n');
    },
  ],
  [
    'LISTEN, NOTIFY and notices',
    notifications,
    (result) => assert.deepEqual(result, [['news', 'one'], ['news', 'two'], ['NOTICE', 'noted']]), // prettier-ignore
  ],
  [
    'parameters and answers of 20 MiB, and a long text',
    large,
    (result, requests) => {
      assert.deepEqual(result, [true, 20 * 1024 * 1024, [[10_000_000]], [[100_000]], 50_000]);
      assert.equal(requests[1]?.rows.length, 50_000);
      assert.equal(requests[2]?.text.length, 10_000_000 + "SELECT length('')".length);
    },
  ],
  [
    'cancelling, by the request that the driver makes',
    cancels,
    (result, requests) => {
      const cancelled = '57014 canceling statement due to user request';
      assert.deepEqual(result, [cancelled, [['goes on']], cancelled, [['goes on']]]);
      assert.deepEqual(requestOf(requests, 'SELECT pg_sleep($1)').errors, ['57014']);
    },
  ],
  [
    'timeouts of statements, locks and idle transactions, and of the driver itself',
    timeouts,
    (result) => {
      assert.deepEqual(result.slice(0, 4), [
        '57014 canceling statement due to statement timeout', [['100ms']],
        '55P03 canceling statement due to lock timeout', 'Error: Query read timeout',
      ]); // prettier-ignore
      assert.match(String(result[4]), /not queryable/);
    },
  ],
  [
    'pools',
    pools,
    (result, requests) => {
      assert.deepEqual(result.slice(1), [[{ count: '5' }], 5]);
      const doubled = requests.filter(({ text }) => text === 'SELECT $1::int * 2 AS n');
      const numbers = doubled.map(({ parameters }) => Number(parameters[0]));
      assert.deepEqual(numbers.toSorted((a, b) => a - b), Array.from({ length: 200 }, (_, n) => n)); // prettier-ignore
    },
  ],
];

for (const version of [15, 18] as const) {
  describe(`pg does through what it does direct: PostgreSQL ${version}`, () => {
    let routes: Routes;
    before(async () => {
      routes = await Routes.start({ version }, contents);
    });
    after(async () => routes[Symbol.asyncDispose]());

    for (const [index, [title, scenario, check]] of scenarios.entries()) {
      if (scenario === large && !takesLarge(version)) continue;
      test(title, async () => {
        const { result, requests } = await routes.compare(`pg-${index}`, scenario);
        check(result, requests);
      });
    }

    test('replication is refused in words', async () => {
      const login = await routes.indirect('pg-replication');
      const refused = failure(
        withClient(login, async () => undefined, { replication: 'database' }),
      );
      assert.match(await refused, /^0A000 chaperone: replication connections are not supported/);
    });
  });
}

test('pg verifies the certificate of either', async () => {
  await using routes = await Routes.start({ version: 18, tls: true });
  const { result } = await routes.compare('pg-tls', (login) => {
    const ssl = { ca: readFileSync(login.caFile, 'utf8') };
    return withClient(login, (client) => rowsOf(client, 'SELECT 1'), { ssl });
  });
  assert.deepEqual(result, [[1]]);
});
