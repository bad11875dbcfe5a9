import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { parseDataRow } from '#core/postgres/backend.ts';
import { buildExecute, buildFlush, buildQuery, buildSync } from '#core/postgres/frontend.ts';
import { buildMessage, int32 } from '#core/postgres/reader.ts';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { bind, close, ofPortal, ofStatement, parse } from '../support/extended-query.ts';
import { verifyAll } from '../support/instance.ts';
import { RawClient } from '../support/raw-client.ts';
import {
  recordedSession,
  type RecordedRequest,
  type RecordedSession,
} from '../support/recorded.ts';
import { startThrough, type Through } from '../support/through.ts';

const sync = buildSync();
const ready = (answer: string): boolean => answer.startsWith('Z');

describe('prepared statements', () => {
  let server: BackendServer;
  let through: Through;
  before(async () => {
    server = await startBackendServer({ version: 18, authentication: 'password' });
    through = await startThrough(server);
  });
  after(async () => {
    await through[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  const connect = async (who: string): Promise<RawClient> => {
    const { host, port, instance } = through;
    const password = await instance.token({ sub: who });
    return RawClient.connect({ host, port, password, user: 'postgres', database: 'postgres' });
  };

  /** Sends steps, each up to its ReadyForQuery, hangs up, and reads what was recorded. */
  async function play(who: string, ...steps: readonly Buffer[][]): Promise<RecordedSession> {
    const client = await connect(who);
    for (const step of steps) {
      client.send(...step);
      await client.read(ready);
    }
    client.send(buildMessage('X'));
    await client.end();
    return recordedSession(through.instance, who);
  }

  const rowsOf = ({ requests }: RecordedSession): string[] =>
    requests.flatMap(({ rows }) => rows.map((row) => row.join(',')));
  const outcomesOf = ({ requests }: RecordedSession): string[] =>
    requests.map(({ outcomes }) => outcomes.join());

  describe('1 000 executions of one are 1 000 requests with parameters and rows', () => {
    const text = 'SELECT $1::int4 + 1 AS next, $2::text AS said';
    const numbers = Array.from({ length: 1_000 }, (_, index) => index);
    const execution = (index: number, binary: boolean): Buffer =>
      bind('s', {
        binary,
        values: [
          binary ? int32(index) : Buffer.from(String(index)),
          Buffer.from(index % 10 === 0 ? '' : `said ${index}`),
        ],
      });
    const run = buildExecute('', 0);
    // Who sends binary values knows their types: from a Describe, or because it names them.
    const prepare = (binary: boolean): Buffer => parse('s', text, binary ? [23, 25] : []);
    const ways: [what: string, steps: (binary: boolean) => Buffer[][]][] = [
      [
        'never described, one Sync for all',
        (binary) => [
          [prepare(binary), ...numbers.flatMap((index) => [execution(index, binary), run]), sync],
        ],
      ],
      [
        'never described, a Sync for each, all at once',
        (binary) => [
          [prepare(binary), sync],
          ...numbers.map((index) => [execution(index, binary), run, sync]),
        ],
      ],
      [
        'described once as a statement',
        (binary) => [
          [prepare(binary), ofStatement('s'), sync],
          [...numbers.flatMap((index) => [execution(index, binary), run]), sync],
        ],
      ],
      [
        'described as a statement in the same pipeline',
        (binary) => [
          [
            prepare(binary),
            ofStatement('s'),
            ...numbers.flatMap((index) => [execution(index, binary), run]),
            sync,
          ],
        ],
      ],
      [
        'described as a portal each time',
        (binary) => [
          [
            prepare(binary),
            ...numbers.flatMap((index) => [execution(index, binary), ofPortal(''), run]),
            sync,
          ],
        ],
      ],
      [
        'described after it was run many times',
        (binary) => [
          [
            prepare(binary),
            ...numbers.slice(0, 500).flatMap((index) => [execution(index, binary), run]),
            sync,
          ],
          [
            ofStatement('s'),
            ...numbers.slice(500).flatMap((index) => [execution(index, binary), run]),
            sync,
          ],
        ],
      ],
    ];
    for (const binary of [false, true]) {
      for (const [index, [what, steps]] of ways.entries()) {
        test(`${what}, ${binary ? 'binary' : 'as text'}`, async () => {
          const session = await play(`thousand-${index}-${String(binary)}`, ...steps(binary));
          const wanted = numbers.map((number): RecordedRequest => {
            const said = number % 10 === 0 ? '' : `said ${number}`;
            return {
              text,
              parameters: [String(number), said],
              columns: ['next', 'said'],
              rows: [[String(number + 1), said]],
              said: [],
              outcomes: ['ok SELECT 1'],
            };
          });
          assert.equal(session.requests.length, 1_000);
          assert.deepEqual(session.requests, wanted);
        });
      }
    }
  });

  test('a long pipeline whose replies are too short to be sent unasked goes through', async () => {
    const filler = Buffer.alloc(2_000, 'x');
    const binds = Array.from({ length: 3_000 }, () => bind('s', { values: [filler] }));
    const session = await play('short-replies', [parse('s', 'SELECT $1::text'), ...binds, sync]);
    assert.deepEqual(
      [...new Set(outcomesOf(session))].map((outcome) => outcome),
      ['not-executed'],
    );
    assert.equal(session.requests.length, 3_000);
  });

  describe('values are readable', () => {
    const types: [type: string, value: string][] = [
      ['bool', 'true'],
      ['int2', '-32768'],
      ['int4', '2147483647'],
      ['int8', '-9223372036854775808'],
      ['float4', '0.1'],
      ['float4', '1e-10'],
      ['float8', '-1.5e+300'],
      ['float8', 'Infinity'],
      ['numeric', '-12345678901234567890.0000000012345'],
      ['numeric', '0.00'],
      ['numeric', 'NaN'],
      ['text', 'grüße, 世界 \t'],
      ['varchar', ''],
      ['bpchar', 'padded '],
      ['name', 'a_name'],
      ['bytea', '\\x00ff10'],
      ['date', '1999-12-31'],
      ['date', '0044-03-15 BC'],
      ['date', 'infinity'],
      ['time', '23:59:59.999999'],
      ['timetz', '12:00:00+05:30'],
      ['timestamp', '2026-02-28 12:34:56.789'],
      ['timestamptz', '2026-02-28 12:34:56.789+00'],
      ['interval', '1 year 2 mons -3 days 04:05:06.07'],
      ['uuid', '01a20dc8-eee5-7f2d-a4ae-d1e1ed9c3d02'],
      ['json', '{"a": [1, null]}'],
      ['jsonb', '{"a": [1, null]}'],
      ['inet', '192.168.0.1/24'],
      ['inet', '2001:db8::1'],
      ['cidr', '10.0.0.0/8'],
      ['macaddr', '08:00:2b:01:02:03'],
      ['oid', '4294967295'],
      ['xml', '<a/>'],
      ['"char"', 'x'],
      ['int4[]', '{1,NULL,3}'],
      ['int4[]', '[0:1]={7,8}'],
      ['text[]', '{"a b",NULL,"NULL","","q\\"uote",{"x"}}'.replace(',{"x"}', '')],
      ['text[]', '{{a,b},{c,d}}'],
      ['numeric[]', '{1.50,-2}'],
      ['timestamptz[]', '{"2026-02-28 12:34:56+00"}'],
      ['uuid[]', '{01a20dc8-eee5-7f2d-a4ae-d1e1ed9c3d02}'],
      ['jsonb[]', '{"{\\"a\\": 1}"}'],
      ['bool[]', '{t,f}'],
      ['bytea[]', '{"\\\\x00ff"}'],
      ['date[]', '{2026-01-01}'],
      ['inet[]', '{127.0.0.1,::1/64}'],
      ['int4[]', '{}'],
    ];
    const unknown: [type: string, value: string][] = [
      ['point', '(1,2)'],
      ['bit', '1'],
      ['money', '$1.00'],
    ];

    /** What the server itself writes for each value, and how it sends it. */
    async function valuesOf(
      listed: readonly (readonly [string, string])[],
    ): Promise<{ texts: string[]; bytes: Buffer[] }> {
      const { host, port, password } = server;
      const login = { host, port, password, user: 'postgres', database: 'postgres' };
      const client = await RawClient.connect(login);
      const columns = listed.map(([type, value]) => `'${value.replaceAll("'", "''")}'::${type}`);
      const cells: Buffer[][] = [];
      client.send(buildQuery("SET TimeZone = 'UTC'"));
      await client.read(ready);
      for (const binary of [false, true]) {
        client.send(
          parse('', `SELECT ${columns.join(', ')}`),
          bind('', { binary }),
          buildExecute('', 0),
          sync,
        );
        const row = (await client.read(ready)).find((answer) => answer.startsWith('D '));
        assert.ok(row);
        const bytes = parseDataRow(Buffer.from(row.slice(2), 'latin1'));
        cells.push(bytes.map((cell) => cell ?? Buffer.from('NULL')));
      }
      client.destroy();
      return { texts: (cells[0] ?? []).map(String), bytes: cells[1] ?? [] };
    }

    test('in binary answers and binary parameters, as PostgreSQL writes them', async () => {
      const { texts, bytes } = await valuesOf(types);
      const placeholders = types.map(([type], index) => `$${index + 1}::${type}`);
      const session = await play(
        'binary-values',
        [parse('s', `SELECT ${placeholders.join(', ')}`), ofStatement('s'), sync],
        [bind('s', { values: bytes, binary: true }), buildExecute('', 0), sync],
      );
      const [request] = session.requests;
      assert.ok(request);
      const named = (values: readonly (string | null)[] | undefined): string[] =>
        types.map(([type], index) => `${type} ${values?.[index] ?? 'NULL'}`);
      assert.deepEqual(named(request.rows[0]), named(texts));
      assert.deepEqual(named(request.parameters), named(texts));
    });

    test('in binary answers that nobody described; parameters then are readable where the agent says their types', async () => {
      const { texts, bytes } = await valuesOf(types.slice(1, 4));
      const oids = [21, 23, 20];
      const session = await play('binary-undescribed', [
        parse('s', 'SELECT $1, $2, $3', oids),
        bind('s', { values: bytes, binary: true }),
        buildExecute('', 0),
        sync,
      ]);
      assert.deepEqual(session.requests[0]?.rows[0], texts);
      assert.deepEqual(session.requests[0]?.parameters, texts);
    });

    test('as bytes where their type is not known, and all of them', async () => {
      const { bytes } = await valuesOf(unknown);
      const placeholders = unknown.map(([type], index) => `$${index + 1}::${type}`);
      const session = await play('unknown-values', [
        parse('s', `SELECT ${placeholders.join(', ')}`),
        ofStatement('s'),
        bind('s', { values: bytes, binary: true }),
        buildExecute('', 0),
        sync,
      ]);
      const shown = bytes.map((value) => `\\x${value.toString('hex')}`);
      assert.deepEqual(session.requests[0]?.rows[0], shown);
      assert.deepEqual(session.requests[0]?.parameters, shown);
    });
  });

  describe('rows are read as what they are', () => {
    const binary = true;
    const run = (name: string): Buffer[] => [bind(name, { binary }), buildExecute('', 0)];
    const cases: [what: string, steps: Buffer[][], rows: string[]][] = [
      [
        'when a name gets another statement after a Close, in one pipeline',
        [
          [
            parse('s', 'SELECT 1::int4'),
            ...run('s'),
            close('S', 's'),
            parse('s', "SELECT true, 'x'::text"),
            ...run('s'),
            sync,
          ],
        ],
        ['1', 't,x'],
      ],
      [
        'when a name gets another statement after a Close, described before',
        [
          [parse('s', 'SELECT 1::int4'), ofStatement('s'), sync],
          [...run('s'), sync],
          [close('S', 's'), parse('s', 'SELECT 1.5::float4'), sync],
          [...run('s'), ...run('s'), sync],
        ],
        ['1', '1.5', '1.5'],
      ],
      [
        'when the unnamed statement changes each time',
        [
          [
            ...['1::int4', '1.5::float4', "'x'::text", '2::int8'].flatMap((value) => [
              parse('', `SELECT ${value}`),
              ...run(''),
            ]),
            sync,
          ],
        ],
        ['1', '1.5', 'x', '2'],
      ],
      [
        'when SQL deallocates and prepares under the name',
        [
          [parse('s', 'SELECT 1::int4'), ...run('s'), sync],
          [buildQuery('DEALLOCATE s; PREPARE s AS SELECT 1.5::float4')],
          [...run('s'), sync],
          [...run('s'), sync],
        ],
        ['1', '1.5', '1.5'],
      ],
      [
        'when the executed statement is a FETCH of cursors with other columns',
        [
          [buildQuery('BEGIN')],
          [buildQuery('DECLARE c CURSOR FOR SELECT 1::int4 AS a')],
          [parse('f', 'FETCH 1 FROM c'), ofStatement('f'), ...run('f'), sync],
          [buildQuery('CLOSE c')],
          [buildQuery('DECLARE c CURSOR FOR SELECT 1.5::float4 AS b')],
          [...run('f'), sync],
          [buildQuery('CLOSE c')],
          [buildQuery('DECLARE c CURSOR FOR SELECT true AS b, 7::int8 AS d')],
          [...run('f'), sync],
          [buildQuery('COMMIT')],
        ],
        ['1', '1.5', 't,7'],
      ],
      [
        'when the executed statement is a FETCH, all in one pipeline',
        [
          [
            ...['BEGIN', 'DECLARE c CURSOR FOR SELECT 1::int4'].flatMap((text) => [
              parse('', text),
              ...run(''),
            ]),
            parse('f', '/* of c */ FETCH 1 FROM c'),
            ...run('f'),
            ...['CLOSE c', 'DECLARE c CURSOR FOR SELECT 1.5::float4'].flatMap((text) => [
              parse('', text),
              ...run(''),
            ]),
            ...run('f'),
            sync,
          ],
        ],
        ['1', '1.5'],
      ],
      [
        'when the executed statement is an EXECUTE of changing ones',
        [
          [buildQuery('PREPARE p AS SELECT 1::int4')],
          [parse('e', 'EXECUTE p'), ...run('e'), sync],
          [buildQuery('DEALLOCATE p; PREPARE p AS SELECT 1.5::float4')],
          [...run('e'), sync],
        ],
        ['1', '1.5'],
      ],
      [
        'when a cursor that SQL declared is executed',
        [
          [buildQuery('BEGIN')],
          [
            buildQuery(
              'DECLARE c BINARY CURSOR FOR SELECT g::int4, 1.5::float4 FROM generate_series(1, 3) AS g',
            ),
          ],
          [buildExecute('c', 2), sync],
          [ofPortal('c'), buildExecute('c', 2), sync],
        ],
        ['1,1.5', '2,1.5', '3,1.5'],
      ],
      [
        'when a cursor is fetched by SQL',
        [
          [buildQuery('BEGIN')],
          [
            buildQuery(
              'DECLARE c BINARY CURSOR FOR SELECT g::int4 FROM generate_series(1, 3) AS g',
            ),
          ],
          [buildQuery('FETCH 2 FROM c')],
          [buildQuery('FETCH 2 FROM c')],
        ],
        ['1', '2', '3'],
      ],
      [
        'when portals of two statements take turns',
        [
          [
            parse('a', 'SELECT g::int4 FROM generate_series(1, 3) AS g'),
            parse('b', 'SELECT g::float8 / 2 FROM generate_series(1, 3) AS g'),
            bind('a', { portal: 'pa', binary }),
            bind('b', { portal: 'pb', binary }),
            buildExecute('pa', 1),
            buildExecute('pb', 1),
            buildExecute('pa', 1),
            buildExecute('pb', 0),
            buildExecute('pa', 0),
            sync,
          ],
        ],
        ['1', '2', '3', '0.5', '1', '1.5'],
      ],
      [
        'when the answer is longer than one record, and the statement is one of SQL',
        [
          [
            buildQuery(
              "PREPARE long AS SELECT g::int4, repeat('x', 1000)::bytea FROM generate_series(1, 1000) AS g",
            ),
          ],
          [...run('long'), sync],
        ],
        Array.from({ length: 1_000 }, (_, index) => `${index + 1},\\x${'78'.repeat(1_000)}`),
      ],
      [
        'when a table gets another column type, and its statement fails and is made anew',
        [
          [buildQuery('CREATE TABLE IF NOT EXISTS changing AS SELECT 5::int4 AS v')],
          [parse('s', 'SELECT v FROM changing'), ...run('s'), sync],
          [buildQuery('ALTER TABLE changing ALTER v TYPE float4')],
          [...run('s'), sync],
          [close('S', 's'), parse('s', 'SELECT v + 0.5::float4 FROM changing'), ...run('s'), sync],
          [buildQuery('DROP TABLE changing')],
        ],
        ['5', '5.5'],
      ],
    ];
    for (const [index, [what, steps, rows]] of cases.entries()) {
      test(what, async () =>
        assert.deepEqual(rowsOf(await play(`layout-${index}`, ...steps)), rows),
      );
    }

    test('and an execution whose result type has changed says the error', async () => {
      const { requests } = await recordedSession(through.instance, `layout-${cases.length - 1}`);
      assert.ok(requests.some(({ said }) => said.includes('0A000')));
    });
  });

  describe('every request has one result', () => {
    const series = parse('s', 'SELECT g FROM generate_series(1, 5) AS g');
    const cases: [what: string, steps: Buffer[][], outcomes: string[]][] = [
      ['a Bind that is never executed', [[series, bind('s'), sync]], ['not-executed']],
      [
        'a Bind that is never executed, in a transaction that goes on',
        [
          [buildQuery('BEGIN')],
          [series, bind('s', { portal: 'p' }), sync],
          [bind('s'), buildExecute('', 0), sync],
          [buildQuery('COMMIT')],
        ],
        ['ok BEGIN', 'not-executed', 'ok SELECT 5', 'ok COMMIT'],
      ],
      [
        'a portal that is closed before it is executed',
        [[series, bind('s', { portal: 'p' }), close('P', 'p'), sync]],
        ['not-executed'],
      ],
      [
        'a portal that is read to its end in steps',
        [
          [
            series,
            bind('s'),
            buildExecute('', 2),
            buildFlush(),
            buildExecute('', 2),
            buildExecute('', 2),
            sync,
          ],
        ],
        ['ok SELECT 1'],
      ],
      ['a portal that is left suspended', [[series, bind('s'), buildExecute('', 2), sync]], ['ok']],
      [
        'what follows an error up to the Sync',
        [
          [
            series,
            parse('bad', 'SELECT 1 / $1::int4'),
            bind('bad', { values: [Buffer.from('0')] }),
            buildExecute('', 0),
            bind('s'),
            buildExecute('', 0),
            sync,
          ],
        ],
        ['error', 'not-executed'],
      ],
      ['a cancelled transaction', [[buildQuery('BEGIN; SELECT 1 / 0')]], ['error BEGIN']],
    ];
    for (const [index, [what, steps, outcomes]] of cases.entries()) {
      test(what, async () =>
        assert.deepEqual(outcomesOf(await play(`outcome-${index}`, ...steps)), outcomes),
      );
    }

    const sleep = 'SELECT pg_sleep(60)';
    const dropped: [what: string, frames: Buffer[], outcomes: string[]][] = [
      ['while a query runs', [buildQuery(sleep)], ['incomplete']],
      [
        'in the middle of a pipeline',
        [
          parse('w', sleep),
          bind('w'),
          buildExecute('', 0),
          series,
          bind('s'),
          buildExecute('', 0),
          sync,
        ],
        ['incomplete', 'incomplete'],
      ],
      ['without a Sync', [series, bind('s'), buildExecute('', 0), buildFlush()], ['ok SELECT 5']],
      ['with a portal that is bound alone', [series, bind('s'), buildFlush()], ['not-executed']],
      ['with a suspended portal', [series, bind('s'), buildExecute('', 2), buildFlush()], ['ok']],
    ];
    for (const [index, [what, frames, outcomes]] of dropped.entries()) {
      // Whoever only ends may still await an answer; PostgreSQL itself goes on with the query.
      const runs = outcomes.includes('incomplete');
      for (const way of runs ? (['reset'] as const) : (['reset', 'ended'] as const)) {
        test(`when a connection is ${way} ${what}`, async () => {
          const who = `dropped-${index}-${way}`;
          const client = await connect(who);
          client.send(...frames);
          if (frames.at(-1)?.[0] === 0x48 /* Flush */)
            await client.read((answer) => /^[2Cs]/.test(answer) && answer[0] === lastOf(outcomes));
          else await client.sent();
          if (way === 'reset') client.reset();
          else client.destroy();
          assert.deepEqual(outcomesOf(await recordedSession(through.instance, who)), outcomes);
        });
      }
    }
    const lastOf = ([outcome = '']: readonly string[]): string =>
      outcome.startsWith('ok S') ? 'C' : outcome === 'ok' ? 's' : '2';
  });

  test('and every session verifies', async () => {
    assert.deepEqual(await verifyAll(through.instance), ['consistent']);
  });
});
