import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { buildExecute, buildFlush, buildQuery, buildSync } from '#core/postgres/frontend.ts';
import { bind, ofPortal, parse } from '../support/extended-query.ts';
import { Random, scaled } from '../support/random.ts';
import { resultsOf, startLimited, type Limited } from '../support/limited.ts';

const isReady = (answer: string): boolean => answer.startsWith('Z');
const rowsIn = (answers: readonly string[]): number =>
  answers.filter((answer) => /^[Dd] /.test(answer)).length;
const errorsIn = (answers: readonly string[]): string[] =>
  answers.filter((answer) => answer.startsWith('E'));

/** A query that would take a sequence very far, were it not cancelled. */
const million = "SELECT nextval('taken') FROM generate_series(1, 1000000)";
const run = (text: string): readonly Buffer[] => [parse('', text), bind(''), ofPortal(''), buildExecute('', 0)]; // prettier-ignore

/** Requests up to one ReadyForQuery, and the most rows that they may have. */
function segment(random: Random): [frames: readonly Buffer[], mostRows: number] {
  const text = (): string => {
    const rows = `generate_series(1, ${random.below(random.below(3) === 0 ? 3_000 : 14)})`;
    return random.pick([
      `SELECT ${rows}`,
      `SELECT repeat('x', ${random.below(600)}) FROM ${rows}`,
      `COPY (SELECT ${rows}) TO STDOUT`,
      `INSERT INTO kept SELECT ${rows} RETURNING id`,
      `DO $$ BEGIN RAISE NOTICE '%', repeat('x', ${random.below(3_000)}); END $$`,
      'SELECT 1/0',
      'BEGIN',
      'COMMIT',
    ]);
  };
  if (random.below(2) === 0) {
    const texts = Array.from({ length: 1 + random.below(3) }, text);
    return [[buildQuery(texts.join('; '))], 10];
  }
  const count = 1 + random.below(4);
  const frames = Array.from({ length: count }, () => [
    parse('', text()),
    bind(''),
    ...(random.below(2) === 0 ? [ofPortal('')] : []),
    ...Array.from({ length: 1 + random.below(3) }, () =>
      buildExecute('', random.below(2) === 0 ? 0 : random.below(8)),
    ),
  ]);
  return [[...frames.flat(), buildSync()], 30 * count]; // an Execute of a portal that is done is a request of its own
}

describe('the answer of a request', () => {
  let limited: Limited;
  before(async () => {
    limited = await startLimited();
    await limited.admin.query('CREATE SEQUENCE taken');
    await limited.admin.query('CREATE TABLE kept (id int)');
    await limited.limit({ limits: { rowsPerRequest: 1_000 } });
  });
  after(async () => limited[Symbol.asyncDispose]());

  const ways: readonly [name: string, frames: readonly Buffer[], begins?: boolean][] = [
    ['a query', [buildQuery(million)]],
    ['the extended protocol', [...run(million), buildSync()]],
    ['a portal that is fetched in pieces', [parse('', million), bind(''), ...Array.from({ length: 5 }, () => buildExecute('', 300)), buildSync()]], // prettier-ignore
    ['the second of two texts in one', [buildQuery(`SELECT 1; ${million}`)]],
    ['COPY', [buildQuery(`COPY (${million}) TO STDOUT`)]],
    ['a query in a transaction', [buildQuery('BEGIN'), buildQuery(million)], true],
    ['the extended protocol in a transaction', [buildQuery('BEGIN'), ...run(million), buildSync()], true], // prettier-ignore
  ];
  for (const [name, frames, begins = false] of ways) {
    test(`of a million rows has the thousand that it may have, is cancelled, and leaves the connection usable: ${name}`, async () => {
      await limited.admin.query("SELECT setval('taken', 1)");
      const who = `rows ${name}`;
      const client = await limited.connectRaw(who);
      client.send(...frames);
      const answers: string[] = [];
      do answers.push(...(await client.read(isReady)));
      while (errorsIn(answers).length === 0);
      assert.ok(rowsIn(answers) <= 1_001, String(rowsIn(answers))); // the one of `SELECT 1` is of this request
      assert.ok(rowsIn(answers) >= 1_000, String(rowsIn(answers)));
      const [error = ''] = errorsIn(answers);
      assert.match(error, /C\|53400\|.*no more than 1000 rows \(limit rowsPerRequest of AuditPolicy\/local\/limits-0\);/); // prettier-ignore
      // PostgreSQL may have fetched a piece before it can be cancelled.
      const [cancelled, status] = /this one was cancelled/.test(error) ? [true, 'error'] : [false, 'incomplete']; // prettier-ignore
      assert.ok(cancelled || name.includes('pieces'), error);
      assert.equal(answers.at(-1), begins ? 'Z E' : 'Z I');
      client.send(buildQuery(begins ? 'ROLLBACK' : 'SELECT 1'));
      assert.equal((await client.read(isReady)).at(-1), 'Z I');
      client.send(buildQuery('SELECT 2'));
      assert.equal(rowsIn(await client.read(isReady)), 1);
      await client.end();
      const { rows } = await limited.admin.query<{ last_value: string }>('SELECT last_value FROM taken'); // prettier-ignore
      assert.ok(Number(rows[0]?.last_value) < 1_000_000, 'it was not cancelled');
      const results = resultsOf(await limited.recordsOf(who));
      assert.equal(results.filter((each) => each === `${status} 53400 rowsPerRequest 1000`).length, 1, results.join()); // prettier-ignore
    });
  }

  test('has no more rows by a cursor, which PostgreSQL fetches whole before it sends any', async () => {
    const client = await limited.connectRaw('cursor');
    client.send(buildQuery(`BEGIN; DECLARE c CURSOR FOR ${million}; FETCH 5000 FROM c`));
    const answers = await client.read(isReady);
    assert.equal(rowsIn(answers), 1_000);
    assert.match(errorsIn(answers).join('\n'), /^E .*C\|53400\|.*limit rowsPerRequest/);
    client.send(buildQuery('ROLLBACK'), buildQuery('SELECT 2'));
    assert.equal((await client.read(isReady)).at(-1), 'Z I');
    assert.equal(rowsIn(await client.read(isReady)), 1);
    await client.end();
  });

  test('of exactly as many rows as it may have is whole', async () => {
    const client = await limited.connect('exactly');
    const { rows } = await client.query('SELECT generate_series(1, 1000)');
    assert.equal(rows.length, 1_000);
    const extended = await client.query('SELECT generate_series(1, $1)', [1000]);
    assert.equal(extended.rows.length, 1_000);
    await client.end();
    assert.deepEqual(resultsOf(await limited.recordsOf('exactly')), ['ok - - 1000', 'ok - - 1000']);
  });

  test('that ends before it could be cancelled is cut as well, and the error says whether the request was run', async () => {
    for (const [index, frames] of [
      (text: string) => [buildQuery(text)],
      (text: string) => [...run(text), buildSync()],
      (text: string) => [...run(text), ...run('SELECT 3'), buildSync()],
      (text: string) => [...run(text), buildSync(), ...run('SELECT 3'), buildSync()],
    ].entries()) {
      await limited.admin.query('TRUNCATE kept');
      const client = await limited.connectRaw(`fast ${index}`);
      client.send(...frames('INSERT INTO kept SELECT generate_series(1, 1001) RETURNING id'));
      const answers = await client.read(isReady);
      assert.equal(rowsIn(answers), 1_000);
      assert.equal(errorsIn(answers).length, 1);
      const { rows } = await limited.admin.query<{ count: string }>('SELECT count(*) FROM kept');
      const wasRun = /the request itself was run/.test(errorsIn(answers)[0] ?? '');
      assert.equal(rows[0]?.count, wasRun ? '1001' : '0');
      assert.equal(answers.at(-1), 'Z I');
      if (index === 3) assert.equal(rowsIn(await client.read(isReady)), 1);
      client.send(buildQuery('SELECT 2'));
      assert.equal(rowsIn(await client.read(isReady)), 1);
      await client.end();
      const [result] = resultsOf(await limited.recordsOf(`fast ${index}`));
      assert.equal(result, `${wasRun ? 'incomplete' : 'error'} 53400 rowsPerRequest 1000`);
    }
  });

  test('is cut where no Sync follows, and the error comes at once', async () => {
    const client = await limited.connectRaw('flushed');
    client.send(...run(million), buildFlush());
    const answers = await client.read((answer) => answer.startsWith('E'));
    assert.equal(rowsIn(answers), 1_000);
    client.send(buildSync());
    assert.deepEqual(await client.read(isReady), ['Z I']);
    await client.end();
  });

  test('of pipelined requests is cut one by one', async () => {
    const client = await limited.connectRaw('pipelined');
    const texts = [million, 'SELECT 1', million, 'SELECT 2'];
    client.send(...texts.flatMap((text) => [...run(text), buildSync()]));
    const counts: number[][] = [];
    for (const _ of texts) {
      const answers = await client.read(isReady);
      counts.push([rowsIn(answers), errorsIn(answers).length]);
    }
    assert.deepEqual(counts, [[1_000, 1], [1, 0], [1_000, 1], [1, 0]]); // prettier-ignore
    await client.end();
  });

  test('that a COPY would follow, which nobody sends data for, does not hang', async () => {
    const client = await limited.connectRaw('copy behind');
    client.send(buildQuery('SELECT generate_series(1, 1001); COPY kept FROM STDIN'));
    const answers = await client.read(isReady);
    assert.equal(rowsIn(answers), 1_000);
    assert.equal(errorsIn(answers).length, 1);
    // Where the COPY has taken the Sync, nobody but the agent knows how to go on.
    client.send(...run('SELECT generate_series(1, 1001)'), ...run('COPY kept FROM STDIN'), buildSync()); // prettier-ignore
    const rest = await client.read(isReady);
    assert.equal(rowsIn(rest), 1_000);
    assert.equal(client.closed, !rest.some(isReady));
    await client.end();
  });

  test('has no more than it may have, and every Sync its answer, in whatever order requests are sent', async () => {
    await limited.limit({ limits: { rowsPerRequest: 10, bytesPerRequest: 2_000 } });
    const random = new Random(11);
    const client = await limited.connectRaw('random');
    for (let round = 0; round < scaled(400); round += 1) {
      const [frames, most] = segment(random);
      client.send(...frames);
      const answers = await client.read(isReady);
      assert.ok(answers.at(-1)?.startsWith('Z'), `round ${round} ends the connection`);
      assert.ok(rowsIn(answers) <= most, `round ${round}: ${rowsIn(answers)} rows`);
      assert.ok(errorsIn(answers).length <= 1, `round ${round}: ${answers.join(' / ')}`);
    }
    client.send(buildQuery('ROLLBACK'), buildQuery('SELECT 2'));
    await client.read(isReady);
    assert.equal(rowsIn(await client.read(isReady)), 1);
    await client.end();
    const records = await limited.recordsOf('random');
    const results = records.flatMap((each) => (each.kind === 'result' ? [each] : []));
    for (const { kind, seq } of records)
      if (kind === 'request')
        assert.equal(results.filter(({ request }) => request === seq).length, 1, `request ${seq}`);
    for (const result of results) assert.ok((result['db.response.returned_rows'] ?? 0) <= 10);
    assert.ok(results.some(({ limit }) => limit === 'rowsPerRequest'));
    assert.ok(results.some(({ limit }) => limit === 'bytesPerRequest'));
  });

  const wordy: readonly [name: string, text: string][] = [
    ['rows', "SELECT repeat('x', 10000) FROM generate_series(1, 1000)"],
    ['one value', "SELECT repeat('x', 3000000)"],
    ['a COPY', "COPY (SELECT repeat('x', 10000) FROM generate_series(1, 1000)) TO STDOUT"],
    ['notices', "DO $$ BEGIN FOR i IN 1..1000 LOOP RAISE NOTICE '%', repeat('x', 10000); END LOOP; END $$"], // prettier-ignore
    ['a long notice', "DO $$ BEGIN RAISE NOTICE '%', repeat('x', 3000000); END $$"],
    ['an error', "DO $$ BEGIN RAISE '%', repeat('x', 200000); END $$"],
    ['a long error', "DO $$ BEGIN RAISE '%', repeat('x', 3000000); END $$"],
  ];
  for (const [name, text] of wordy) {
    test(`has no more bytes than it may have, whatever they are: ${name}`, async () => {
      await limited.limit({ limits: { bytesPerRequest: 100_000 } });
      const client = await limited.connectRaw(`bytes ${name}`);
      for (const frames of [[buildQuery(text)], [...run(text), buildSync()]]) {
        client.send(...frames);
        const answers = await client.read(isReady);
        const said = answers.reduce((sum, answer) => sum + (/^[EZ]/.test(answer) ? 0 : answer.length), 0); // prettier-ignore
        assert.ok(said <= 100_000, `${said} bytes`);
        assert.match(errorsIn(answers).join('\n'), /^E .*C\|53400\|.*limit bytesPerRequest/);
        assert.equal(errorsIn(answers).length, 1);
      }
      client.send(buildQuery('SELECT 2'));
      assert.equal(rowsIn(await client.read(isReady)), 1);
      await client.end();
      const [first, second, third] = resultsOf(await limited.recordsOf(`bytes ${name}`));
      for (const result of [first, second])
        assert.match(result ?? '', /^(error|incomplete) 53400 bytesPerRequest/);
      assert.equal(third, 'ok - - 1');
    });
  }

  test('counts for its session, which gets no more then, while another does', async () => {
    await limited.limit({ limits: { rowsPerSession: 500 } });
    const client = await limited.connect('session');
    assert.equal((await client.query('SELECT generate_series(1, 400)')).rows.length, 400);
    await assert.rejects(client.query(million), { code: '53400' });
    for (const text of ['SELECT 1', 'SELECT 2'])
      await assert.rejects(client.query(text), (error) => {
        assert.ok(error instanceof Error && 'code' in error && 'detail' in error);
        assert.equal(error.code, '53400');
        assert.match(error.message, /answers of a session may have no more than 500 rows/);
        assert.match(String(error.detail), /code: limit\nreason: limit\npolicy: AuditPolicy\/local\/limits-0\nlimit: rowsPerSession\nmost: 500/); // prettier-ignore
        return true;
      });
    const other = await limited.connect('another session');
    assert.equal((await other.query('SELECT generate_series(1, 400)')).rows.length, 400);
    await Promise.all([client.end(), other.end()]);
    const records = await limited.recordsOf('session');
    assert.deepEqual(resultsOf(records), ['ok - - 400', 'error 53400 rowsPerSession 100']);
    assert.equal(records.filter((each) => each.kind === 'request' && each.verdict.reason === 'limit').length, 2); // prettier-ignore
  });

  test('may have the least that enforcing policies say, under which it was begun', async () => {
    const client = await limited.connect('least');
    await limited.limit(
      { limits: { rowsPerRequest: 100, bytesPerRequest: 1_000_000 } },
      { limits: { rowsPerRequest: 50 } },
      { limits: { rowsPerRequest: 10 }, mode: 'Observe' },
    );
    assert.equal((await client.query('SELECT generate_series(1, 50)')).rows.length, 50);
    await assert.rejects(client.query('SELECT generate_series(1, 51)'), (error) => {
      assert.ok(error instanceof Error);
      assert.match(error.message, /no more than 50 rows .*AuditPolicy\/local\/limits-1/);
      return true;
    });
    await limited.limit({ limits: { rowsPerRequest: 100 } });
    assert.equal((await client.query('SELECT generate_series(1, 51)')).rows.length, 51);
    await client.end();
  });
});
