import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { python } from './python.ts';
import { requestOf, Routes, takesLarge, type Login, type RecordedRequest } from './routes.ts';

const contents = `CREATE TABLE seats AS SELECT id FROM generate_series(1, 5) AS id;
  CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TYPE point3 AS (x int, y int, label text)`;

/** What a scenario must have led to, and what must be recorded of it. */
type Check = (result: readonly unknown[], requests: readonly RecordedRequest[]) => void;

const cancelled = ['QueryCanceled', '57014', 'canceling statement due to user request'];
const late = ['QueryCanceled', '57014', 'canceling statement due to statement timeout'];

const scenarios: readonly [title: string, name: string, check: Check][] = [
  [
    'arrays, JSON, ranges and other values as parameters and results, in text and in binary',
    'values',
    (result, requests) => {
      assert.equal(result.length, 50);
      assert.equal(requests.length, 1 + result.length);
      const shown = (type: string): string[] =>
        requests
          .filter(({ text }) => text.startsWith(`SELECT $1::${type} AS`))
          .flatMap(({ parameters, rows }) => [parameters[0], rows[0]?.[0]].map(String));
      const twice = (value: string): string[] => Array.from({ length: 4 }, () => value);
      assert.deepEqual(shown('numeric'), twice('-12345678901234567890.000123'));
      assert.deepEqual(shown('int4[]'), twice('{{1,NULL},{3,4}}'));
      assert.deepEqual(shown('jsonb'), twice('{"b": {"c": [true, 1.5]}}'));
      assert.deepEqual(shown('int4range'), twice('[1,10)'));
      assert.deepEqual(shown('numrange'), twice('(,5.5]'));
      assert.deepEqual(shown('daterange'), twice('[2026-02-28,2026-03-03)'));
      // For an empty range the driver names no type, so that its binary form says nothing.
      assert.deepEqual(shown('tstzrange'), ['empty', 'empty', '\\x01', 'empty']);
      assert.deepEqual(shown('int4multirange'), twice('{[1,3),[5,9)}'));
    },
  ],
  [
    'enumerations and composite types that the driver looks up',
    'own_types',
    (result) => {
      const row = ['Mood.glad', "point3(x=1, y=2, label='x,y')"];
      assert.deepEqual(
        result,
        [0, 1].map(() => [...row, `[${row[1]}, None]`]),
      );
    },
  ],
  [
    'prepared statements: many, made anew, and outdated by a change of their table',
    'prepared',
    (result, requests) => {
      assert.deepEqual(result.slice(0, 7), [1, 2, 3, 4, 5, 6, [['_pg3_0', 'SELECT $1::int + 1']]]);
      const outdated = 'cached plan must not change result type';
      assert.deepEqual(result[7], ['FeatureNotSupported', '0A000', outdated]);
      const added = requests.filter(({ text }) => text === 'SELECT $1::int + 1');
      assert.deepEqual(added.map(({ parameters }) => parameters), [0, 1, 2, 3, 4, 5].map((n) => [String(n)])); // prettier-ignore
    },
  ],
  [
    'pipelines, with an error in the middle',
    'pipeline',
    (result, requests) => {
      const duplicate = 'duplicate key value violates unique constraint "kept_pkey"';
      assert.deepEqual(result.slice(0, 3), [(299 * 300) / 2, ['UniqueViolation', '23505', duplicate], [1]]); // prettier-ignore
      assert.deepEqual(result[4], 'ProgrammingError');
      const selected = requests.filter(({ text }) => text === 'SELECT $1::int');
      assert.deepEqual(
        selected.map(({ parameters, rows }) => [parameters, rows]),
        Array.from({ length: 300 }, (_, n) => [[String(n)], [[String(n)]]]),
      );
      // Rolled back with what failed behind it.
      assert.equal(requests.filter(({ text }) => text.startsWith('INSERT INTO many')).length, 502);
      assert.equal(requestOf(requests, 'SELECT 2').status, 'not-executed');
      assert.deepEqual(requestOf(requests, 'SELECT 1/length(pg_sleep(0.5)::text)').errors, [
        '22012',
      ]);
    },
  ],
  [
    'COPY in both directions as text, CSV and binary, with bad data, given up, and cancelled',
    'copy',
    (result, requests) => {
      assert.deepEqual(result.slice(0, 3), [2000, 2000, 100]);
      assert.deepEqual(result.slice(-5), ['stopped', '1\n', 'stopped', 4100, 4101]);
      const csv = requestOf(requests, 'COPY taken FROM STDIN (FORMAT csv, HEADER)');
      assert.equal(csv.copied[1], '0,"a ""quoted"" , name",2026-01-01,\\\\x00ff\n');
      assert.equal(csv.copied.length, 101);
      const out = requestOf(requests, 'COPY (SELECT * FROM taken ORDER BY id, name) TO STDOUT (FORMAT text)'); // prettier-ignore
      assert.equal(out.copied.length, 4100);
      const failed = requests.filter(({ status }) => status === 'error');
      assert.deepEqual(failed.map(({ errors }) => errors), [['22P02'], ['57014'], ['57014']]); // prettier-ignore
    },
  ],
  [
    'cursors on the server, raw and client-side parameters, rows one by one and in chunks',
    'cursors',
    (result, requests) => {
      assert.deepEqual(result.slice(0, 2), [500_500, 500_500]);
      assert.deepEqual(result.slice(-2), [12_502_500, 12_502_500]);
      const fetched = requests.filter(({ text }) => text === 'FETCH FORWARD 70 FROM "first"');
      const rows = fetched.flatMap((request) => request.rows);
      assert.deepEqual(rows.slice(0, 1000), rows.slice(1000)); // the second time they were binary
      assert.deepEqual(rows[999], ['1000', '1000!']);
    },
  ],
  [
    'LISTEN, NOTIFY and notices',
    'notify',
    (result) => {
      assert.deepEqual(result.slice(1, 4), [['news', 'number 1'], ['news', 'number 2'], 0]);
      assert.deepEqual(result[5], ['WARNING', 'warned 1']);
    },
  ],
  [
    'parameters and answers of 20 MiB, a long text, and many parameters',
    'large',
    (result, requests) => {
      const { length } = Buffer.alloc(20 * 1024 * 1024);
      for (const [same, size] of result.slice(0, 2) as [boolean, number][])
        assert.deepEqual([same, size], [true, length]);
      assert.deepEqual(result.slice(2), [[11_000_000], [200_000], 1_124_250, 50_000]);
      const rows = requestOf(requests, "SELECT n, repeat('x', 100) FROM generate_series(1, 50000) AS n"); // prettier-ignore
      assert.equal(rows.rows.length, 50_000);
    },
  ],
  [
    'cancelling: by the safe way, by the old way, and of an asyncio task',
    'cancel',
    (result, requests) => {
      const on = 'goes on';
      assert.deepEqual(result, [cancelled, on, cancelled, on, 'cancelled', on]);
      const slept = requests.filter(({ text }) => text === 'SELECT pg_sleep(300)');
      assert.deepEqual(slept.map(({ errors }) => errors), [['57014'], ['57014'], ['57014']]); // prettier-ignore
    },
  ],
  [
    'timeouts of statements, locks and idle transactions',
    'timeouts',
    (result) => {
      assert.deepEqual(result.slice(0, 3), [late, '100ms', late]);
      assert.deepEqual(result.slice(-2), [
        ['IdleInTransactionSessionTimeout', '25P03', 'terminating connection due to idle-in-transaction timeout'],
        [true, true],
      ]); // prettier-ignore
    },
  ],
  [
    'pools, of threads and of asyncio',
    'pools',
    (result, requests) => {
      assert.deepEqual(result, [39_800, 0, 59_700]);
      const tripled = requests.filter(({ text }) => text === 'SELECT $1::int * 3');
      const numbers = tripled.map(({ parameters }) => Number(parameters[0])).toSorted((a, b) => a - b); // prettier-ignore
      assert.deepEqual(
        numbers,
        Array.from({ length: 200 }, (_, n) => n),
      );
    },
  ],
  [
    'transactions: nested, failed, read-only, in two phases',
    'transactions',
    (result) => {
      assert.deepEqual(result.slice(0, 2), [[10], ['UndefinedColumn', '42703', 'column "nothing" does not exist']]); // prettier-ignore
      assert.deepEqual(result.slice(-3, -1), [['lost'], [{ id: 10 }, { id: 20 }]]);
    },
  ],
];

for (const version of [15, 18] as const) {
  describe(`psycopg does through what it does direct: PostgreSQL ${version}`, () => {
    let routes: Routes;
    before(async () => {
      const settings = { max_prepared_transactions: '10' };
      routes = await Routes.start({ version, settings }, contents);
    });
    after(async () => routes[Symbol.asyncDispose]());

    for (const [title, name, check] of scenarios) {
      if (name === 'large' && !takesLarge(version)) continue;
      test(title, async () => {
        const scenario = async (login: Login): Promise<unknown[]> => {
          const { host, port, user, password, database: dbname } = login;
          const input = { host, port, user, password, dbname };
          return JSON.parse(await python(['psycopg_scenarios.py', name], { input })) as unknown[];
        };
        const { result, requests } = await routes.compare(`psycopg-${name}`, scenario);
        check(result, requests);
      });
    }
  });
}
