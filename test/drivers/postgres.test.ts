import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { after, before, describe, test } from 'node:test';
import postgres, { type Options, type Sql } from 'postgres';
import { until } from '../support/until.ts';
import { requestOf, Routes, takesLarge, type Login, type RecordedRequest } from './routes.ts';

const contents = `CREATE TABLE seats AS SELECT id FROM generate_series(1, 5) AS id;
  CREATE TABLE taken (id int PRIMARY KEY, name text)`;

/** What a scenario must have led to, and what must be recorded of it. */
type Check = (result: readonly unknown[], requests: readonly RecordedRequest[]) => void;
type Scenario = (login: Login) => Promise<unknown[]>;

async function withSql<T>(
  { host, port, user, password, database }: Login,
  work: (sql: Sql) => Promise<T>,
  more: Options<Record<string, never>> = {},
): Promise<T> {
  const login = { host, port, user, password, database };
  const sql = postgres({ ...login, max: 1, onnotice: () => undefined, ...more });
  try {
    return await work(sql);
  } finally {
    await sql.end();
  }
}

async function failure(promise: PromiseLike<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof postgres.PostgresError) return `${error.code} ${error.message}`;
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
  throw new Error('it did not fail');
}

/** Rows as arrays and objects alone, without what the driver adds to them. */
function plain(value: unknown): unknown {
  return Array.isArray(value) ? Array.from(value, plain) : value;
}

const values: Scenario = (login) =>
  withSql(login, async (sql) => {
    const found: unknown[] = [];
    const day = new Date(Date.UTC(2026, 1, 28));
    const [row] = await sql`SELECT ${1}::int AS i, ${'Ünïcode 🐘'} AS t, ${true}::bool AS b, ${null}::text AS n,
      ${day} AS d, ${Buffer.from([0, 1, 255])}::bytea AS data, ${'9007199254740993'}::int8 AS big`;
    found.push(row);
    found.push(await sql`SELECT ${[1, 2, 3]}::int[] AS a, ${sql.array(['x,y', 'z"'])} AS b,
      ${sql.json({ a: [1, null] })}::jsonb AS c, ${sql.json(['d'])}::json AS d`);
    found.push(await sql`SELECT ${'[1,10)'}::int4range AS r, ${'{[1,3),[5,9)}'}::int4multirange AS m`);
    found.push(await sql`SELECT * FROM seats WHERE id IN ${sql([1, 3, 4])} ORDER BY id`);
    found.push(await sql`INSERT INTO taken ${sql([{ id: 1, name: 'one' }, { id: 2, name: 'two' }])} RETURNING *`);
    found.push(await sql`SELECT id, name FROM taken ORDER BY id`.values());
    found.push(await sql`SELECT id, name FROM taken ORDER BY id`.raw());
    const { columns } = await sql`SELECT id, name FROM taken`.describe();
    found.push(columns.map(({ name }) => name));
    return found;
  }); // prettier-ignore

/** Queries are sent as they are made, behind each other on few connections. */
const pipelined: Scenario = (login) =>
  withSql(
    login,
    async (sql) => {
      const found: unknown[] = [];
      const numbers = Array.from({ length: 300 }, (_, n) => n);
      found.push(
        await Promise.all(
          numbers.map((n) =>
            n % 60 === 59
              ? failure(sql`SELECT 1 / ${0}::int`)
              : sql`SELECT ${n}::int AS n, ${`text ${n}`} AS text`.values(),
          ),
        ),
      );
      found.push(
        await Promise.all(numbers.map((n) => sql.unsafe(`SELECT ${n % 30} AS n`).values())),
      );
      const unprepared = numbers.map((n) => sql.unsafe('SELECT $1::int', [n], { prepare: false }).values()); // prettier-ignore
      found.push(await Promise.all(unprepared));
      return found;
    },
    { max: 3 },
  );

const transactions: Scenario = (login) =>
  withSql(login, async (sql) => {
    const found: unknown[] = [];
    const counted = await sql.begin(async (tx) => {
      await tx`INSERT INTO seats VALUES (6)`;
      await tx.savepoint((point) => point`INSERT INTO seats VALUES (7), (1 / 0)`).catch((error: unknown) => found.push(String(error))); // prettier-ignore
      return tx`SELECT count(*)::int FROM seats`;
    });
    found.push(counted);
    found.push(await failure(sql.begin('read only', (tx) => tx`INSERT INTO seats VALUES (8)`)));
    found.push(
      await sql.begin((tx) => [
        tx`SELECT 1 AS one`,
        tx`SELECT 2 AS two`,
        tx`UPDATE seats SET id = id`,
      ]),
    );
    const reserved = await sql.reserve();
    found.push(await reserved`SELECT 'reserved' AS how`);
    reserved.release();
    found.push(await sql`SELECT 1 AS a; SELECT 2 AS b`.simple());
    found.push(await failure(sql`SELECT nothing`));
    return found;
  });

const copies: Scenario = (login) =>
  withSql(login, async (sql) => {
    const found: unknown[] = [];
    const lines = Array.from({ length: 5000 }, (_, n) => `${n}\tnäme ${n}\n`);
    await pipeline(Readable.from(lines), await sql`COPY taken FROM STDIN`.writable());
    for (const format of ['text', 'csv', 'binary']) {
      const hash = createHash('sha256');
      const query = `COPY (SELECT * FROM taken ORDER BY id) TO STDOUT (FORMAT ${format})`;
      for await (const chunk of await sql.unsafe(query).readable()) hash.update(chunk as Buffer); // no encoding is set
      found.push(hash.digest('hex'));
    }
    const binary: Buffer[] = [];
    const out = await sql`COPY (SELECT -2, 'binary'::text) TO STDOUT (FORMAT binary)`.readable();
    for await (const chunk of out) binary.push(chunk as Buffer);
    await pipeline(Readable.from(binary), await sql`COPY taken FROM STDIN (FORMAT binary)`.writable());
    const abandoned = await sql`COPY taken FROM STDIN`.writable();
    abandoned.write('9999\tnever\n');
    abandoned.destroy(new Error('given up'));
    found.push(await failure(once(abandoned, 'close')));
    found.push(await sql`SELECT count(*)::int, min(id) FROM taken`);
    return found;
  }); // prettier-ignore

const cursors: Scenario = (login) =>
  withSql(login, async (sql) => {
    const found: unknown[] = [];
    for await (const rows of sql`SELECT generate_series(1, ${100}::int) AS n`.cursor(30))
      found.push(rows.length);
    let seen = 0;
    await sql`SELECT generate_series(1, 100) AS n`.cursor(10, (rows) => {
      seen += rows.length;
      return seen === 50 ? sql.CLOSE : undefined;
    });
    found.push(seen);
    await sql`SELECT generate_series(1, 100) AS n`.forEach(() => (seen += 1));
    found.push(seen);
    return found;
  });

const notifications: Scenario = (login) =>
  withSql(login, async (sql) => {
    const found: unknown[] = [];
    const listening = await sql.listen('news', (payload) => found.push(payload));
    await sql.notify('news', 'one');
    await sql.notify('news', 'two');
    await until('both are heard', () => found.length === 2);
    await listening.unlisten();
    return found;
  });

const large: Scenario = (login) =>
  withSql(login, async (sql) => {
    const bytes = Buffer.alloc(20 * 1024 * 1024, 'twenty megabytes ');
    const [row] = await sql<{ data: Buffer; n: number }[]>`
      SELECT ${bytes}::bytea AS data, length(${bytes}::bytea) AS n`;
    const numbers = Array.from({ length: 100_000 }, (_, n) => n);
    return [
      row?.data.equals(bytes),
      row?.n,
      await sql`SELECT cardinality(${numbers}::int[])`.values(),
      (await sql`SELECT n, repeat('y', 100) FROM generate_series(1, 50000) AS n`).length,
    ];
  });

const sleepingIn = async (observer: Sql, query: string): Promise<unknown> =>
  until('it sleeps', async () => {
    const rows = await observer`SELECT 1 FROM pg_stat_activity
      WHERE wait_event = 'PgSleep' AND state = 'active' AND query LIKE ${`%${query}%`}`;
    return rows.length === 1;
  });

const cancels: Scenario = (login) =>
  withSql(login, (observer) =>
    withSql(login, async (sql) => {
      const found: unknown[] = [];
      for (const query of [sql`SELECT pg_sleep(${300}), 'cancelled'`, sql`SELECT pg_sleep(300), 'cancelled'`.simple()]) {
        const failed = failure(query);
        await sleepingIn(observer, ", 'cancelled'");
        // As query.cancel() does, but for waiting until the server has closed the connection: PostgreSQL 15 sends the signal
        // twice, and the second could end what is asked next.
        await (query as unknown as { canceller(of: unknown): Promise<void> }).canceller(query);
        found.push(await failed, await sql`SELECT 'goes on'`.values());
      }
      return found;
    }),
  ); // prettier-ignore

async function timeouts(login: Login): Promise<unknown[]> {
  const found: unknown[] = [];
  const work = async (sql: Sql): Promise<void> => {
    found.push(await failure(sql`SELECT pg_sleep(300)`), await sql`SHOW statement_timeout`);
  };
  await withSql(login, work, { connection: { statement_timeout: 100 } });
  await withSql(login, async (holder) => {
    await holder.begin(async (tx) => {
      await tx`LOCK TABLE seats`;
      const waits = (sql: Sql): Promise<string> => failure(sql`TABLE seats`);
      found.push(await withSql(login, waits, { connection: { lock_timeout: 100 } }));
    });
  });
  // An idle connection is closed by the driver, and a query behind that opens another.
  const closed = new EventTarget();
  await withSql(
    login,
    async (sql) => {
      const gone = once(closed, 'close');
      const [first] = await sql<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
      await gone;
      const [second] = await sql<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
      found.push(first?.pid !== second?.pid);
    },
    { idle_timeout: 0.1, onclose: () => closed.dispatchEvent(new Event('close')) },
  );
  return found;
}

const scenarios: readonly [title: string, scenario: Scenario, check: Check][] = [
  [
    'arrays, JSON, ranges and other values, inserts of many rows, raw rows',
    values,
    (result, requests) => {
      const rows = [[1, 'one'], [2, 'two']]; // prettier-ignore
      assert.deepEqual(result.slice(2, 4), [
        [{ r: '[1,10)', m: '{[1,3),[5,9)}' }],
        [{ id: 1 }, { id: 3 }, { id: 4 }],
      ]);
      assert.deepEqual(result[5], rows);
      const insert = 'INSERT INTO taken ("id","name")values($1,$2),($3,$4) RETURNING *';
      const { parameters, rows: returned } = requestOf(requests, insert);
      assert.deepEqual(parameters, rows.flat().map(String));
      assert.deepEqual(returned, rows.map((row) => row.map(String))); // prettier-ignore
    },
  ],
  [
    'pipelines on several connections, prepared and not, with errors in between',
    pipelined,
    (result, requests) => {
      const [prepared, simple, unprepared] = result as unknown[][];
      assert.deepEqual(prepared?.slice(58, 60), [[[58, 'text 58']], '22012 division by zero']);
      assert.deepEqual([simple?.[299], unprepared?.[299]], [[[29]], [[299]]]);
      const both = requests.filter(({ text }) => text === 'SELECT $1::int AS n, $2 AS text');
      assert.equal(both.length, 295);
      for (const { parameters, rows } of both) assert.deepEqual(rows, [parameters]);
      const failed = requests.filter(({ text }) => text === 'SELECT 1 / $1::int');
      assert.deepEqual(failed.map(({ errors }) => errors), Array.from({ length: 5 }, () => ['22012'])); // prettier-ignore
    },
  ],
  [
    'transactions, savepoints, reserved connections and several statements in one',
    transactions,
    (result, requests) => {
      const readOnly = '25006 cannot execute INSERT in a read-only transaction';
      assert.deepEqual(result.slice(0, 3), ['PostgresError: division by zero', [{ count: 6 }], readOnly]); // prettier-ignore
      assert.deepEqual(result[5], [[{ a: 1 }], [{ b: 2 }]]);
      assert.deepEqual(requestOf(requests, 'SELECT 1 AS a; SELECT 2 AS b').rows, [['1'], ['2']]);
    },
  ],
  [
    'COPY in both directions as text, CSV and binary, and given up',
    copies,
    (result, requests) => {
      assert.deepEqual(result.slice(3), ['Error: given up', [{ count: 5001, min: -2 }]]);
      const taken = requests.filter(({ text }) => text === 'COPY taken FROM STDIN');
      assert.deepEqual(taken.map(({ status }) => status), ['ok', 'error']); // prettier-ignore
      assert.deepEqual(taken[1]?.copied, ['9999\tnever\n', '(given up: Error: given up)']);
    },
  ],
  [
    'cursors, to their end and closed before',
    cursors,
    (result, requests) => {
      assert.deepEqual(result, [30, 30, 30, 10, 50, 150]);
      assert.deepEqual(requests.slice(1).map(({ rows }) => rows.length), [100, 50, 100]); // prettier-ignore
    },
  ],
  [
    'LISTEN and NOTIFY',
    notifications,
    (result, requests) => {
      assert.deepEqual(result, ['one', 'two']);
      const notified = requests.filter(({ text }) => text === 'select pg_notify($1, $2)');
      assert.deepEqual(notified.map(({ parameters }) => parameters), [['news', 'one'], ['news', 'two']]); // prettier-ignore
    },
  ],
  [
    'parameters and answers of 20 MiB',
    large,
    (result, requests) => {
      assert.deepEqual(result, [true, 20 * 1024 * 1024, [[100_000]], 50_000]);
      assert.equal(requests.at(-1)?.rows.length, 50_000);
    },
  ],
  [
    'cancelling',
    cancels,
    (result, requests) => {
      const cancelled = '57014 canceling statement due to user request';
      assert.deepEqual(result, [cancelled, [['goes on']], cancelled, [['goes on']]]);
      const prepared = requestOf(requests, "SELECT pg_sleep($1), 'cancelled'");
      assert.deepEqual([prepared.parameters, prepared.errors], [['300'], ['57014']]);
    },
  ],
  [
    'timeouts of statements and locks, and of idle connections',
    timeouts,
    (result) =>
      assert.deepEqual(result, [
        '57014 canceling statement due to statement timeout', [{ statement_timeout: '100ms' }],
        '55P03 canceling statement due to lock timeout', true,
      ]), // prettier-ignore
  ],
];

for (const version of [15, 18] as const) {
  describe(`postgres does through what it does direct: PostgreSQL ${version}`, () => {
    let routes: Routes;
    before(async () => {
      routes = await Routes.start({ version }, contents);
    });
    after(async () => routes[Symbol.asyncDispose]());

    for (const [index, [title, scenario, check]] of scenarios.entries()) {
      if (scenario === large && !takesLarge(version)) continue;
      test(title, async () => {
        const { result, requests } = await routes.compare(`postgres-${index}`, async (login) =>
          (await scenario(login)).map(plain),
        );
        check(result, requests);
      });
    }

    test('a subscription, which is replication, is refused in words', async () => {
      const login = await routes.indirect('postgres-subscribe');
      const subscribed = withSql(login, (sql) => failure(sql.subscribe('*', () => undefined)));
      assert.match(await subscribed, /^0A000 chaperone: replication connections are not supported/);
    });
  });
}

test('postgres verifies the certificate of either', async () => {
  await using routes = await Routes.start({ version: 18, tls: true });
  const { result } = await routes.compare('postgres-tls', (login) => {
    const ssl = { ca: readFileSync(login.caFile, 'utf8') };
    return withSql(login, async (sql) => [...(await sql`SELECT 1 AS one`)], { ssl });
  });
  assert.deepEqual(result, [{ one: 1 }]);
});
