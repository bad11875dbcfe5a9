import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { Client, DatabaseError } from 'pg';
import { Grammar, maxJudgedTextBytes } from '../../../../sidecar/postgres/grammar/grammar.ts';
import type { Reading } from '../../../../sidecar/postgres/grammar/reading.ts';
import { startBackendServer, type BackendServer } from '../../../support/backend-server.ts';

const sums = (terms: number, seed = 1): string => `select ${seed}${'+1'.repeat(terms)}`;
const rows = (bytes: number, seed = 1): string =>
  `insert into t values ${`(${seed},'abcdefgh'),`.repeat(bytes / 16)}(1,'x')`;

function countOf(reading: Reading): number {
  assert.ok(reading.kind === 'survey', JSON.stringify(reading));
  return reading.survey.statements.length;
}

function reasonOf(reading: Reading): string {
  return reading.kind === 'unreadable' ? reading.because : reading.kind;
}

describe('the grammar', () => {
  let grammar: Grammar;
  beforeEach(() => {
    grammar = new Grammar({ deadlineMs: 20_000 }); // what a text does is asked here, not how busy the machine is
  });
  afterEach(() => grammar.stop());
  const read = async (text: string, session?: object): Promise<Reading> =>
    grammar.read(text, session);

  const counts: [text: string, statements: number][] = [
    ['', 0],
    [' \n-- nothing\n', 0],
    [';;', 0],
    ['select 1', 1],
    ['select 1; drop table victim', 2],
    ["select '\\'; drop table victim", 2],
    ['select $a$ ; $b$ ; $a$', 1],
    ['/* ; /* ; */ */ select 1', 1],
    ['select \'é\u{1d11e}\u{feff}\' as "n\u0301"', 1],
    ['select U&"d\\0061t\\+000061" from t', 1],
    ['do $$ begin end $$', 1],
  ];
  for (const [text, statements] of counts)
    test(`finds ${statements} in ${JSON.stringify(text)}`, async () => {
      assert.equal(countOf(await grammar.read(text)), statements);
    });

  test('reads a text once, and then at once', async () => {
    const first = await grammar.read('select 2');
    assert.equal(grammar.read('select 2'), first);
    const wrong = await grammar.read('selec 2');
    assert.equal(grammar.read('selec 2'), wrong);
  });

  test('reads a text once for all that ask at the same time', async () => {
    const readings = await Promise.all([read('select 3'), read('select 3', {})]);
    assert.equal(readings[0], readings[1]);
  });

  test('does not read what is too long, or ends early for C', () => {
    const long = reasonOf(grammar.read('x'.repeat(maxJudgedTextBytes + 1)) as Reading);
    const bytes = reasonOf(grammar.read(`'${'é'.repeat(maxJudgedTextBytes / 2)}'`) as Reading);
    const nul = reasonOf(grammar.read('select 1\0; drop table t') as Reading);
    assert.deepEqual([long, bytes, nul], ['too long', 'too long', 'nul byte']);
    assert.equal(reasonOf(grammar.read('x'.repeat(1024 * 1024)) as Reading), 'too long');
  });

  test('reads on after what kills a parser, again and again', async () => {
    const seen = new Set<string>();
    for (let turn = 0; turn < 40; turn += 1) {
      seen.add(reasonOf(await grammar.read(sums(10_000, turn))));
    }
    for (let turn = 0; turn < 3; turn += 1) {
      seen.add(reasonOf(await grammar.read(sums(120_000, turn))));
      assert.equal(countOf(await grammar.read(`select a${turn}`)), 1);
    }
    const allowed = ['survey', 'too deep', 'killed the parser', 'took too long'];
    assert.deepEqual(
      [...seen].filter((reason) => !allowed.includes(reason)),
      [],
    );
    assert.ok(seen.size > 1, 'no text was too much');
  });

  test('reads on after thousands of parentheses', async () => {
    for (const depth of [5_000, 100_000]) {
      const reading = await grammar.read(`select ${'('.repeat(depth)}1${')'.repeat(depth)}`);
      assert.match(reasonOf(reading), /^(survey|too deep|killed the parser)$/);
    }
    const nested = `select ${'(select '.repeat(3_000)}1${')'.repeat(3_000)}`;
    assert.match(
      reasonOf(await grammar.read(nested)),
      /^(survey|too deep|killed the parser|not understood)$/,
    );
    assert.equal(countOf(await grammar.read('select 1')), 1);
  });

  test('gives up a text that takes too long, and reads the next', async () => {
    const hasty = new Grammar({ deadlineMs: 20 });
    try {
      assert.equal(
        reasonOf(await hasty.read(`select ${'a.b.c,'.repeat(40_000)}1`)),
        'took too long',
      );
      for (let attempt = 0; attempt < 50; attempt += 1) {
        const reading = await hasty.read('select 1');
        if (reading.kind === 'survey') return;
      }
      assert.fail('nothing was read any more');
    } finally {
      await hasty.stop();
    }
  });

  test('serves a session whose texts are slow apart, so that others need not wait for it', async () => {
    const hostile = {};
    await grammar.read(rows(250_000, 0), hostile);
    const done: string[] = [];
    const slow = Array.from({ length: 6 }, async (_, index) => {
      await grammar.read(rows(250_000, index + 1), hostile);
      done.push('hostile');
    });
    await grammar.read('select 1', {});
    done.push('other');
    await Promise.all(slow);
    assert.equal(done.indexOf('other') < 3, true, done.join());
  });

  test('is busy when too much waits', async () => {
    const readings = Array.from({ length: 400 }, (_, index) => read(`select a${index}`));
    const reasons = (await Promise.all(readings)).map(reasonOf);
    assert.ok(reasons.includes('busy'));
    assert.equal(reasons.filter((reason) => reason === 'survey').length >= 256, true);
    const long = Array.from({ length: 20 }, (_, index) => read(rows(250_000, index), {}));
    assert.ok((await Promise.all(long)).map(reasonOf).includes('busy'));
  });

  test('reads nothing once it is stopped, whatever waits', async () => {
    const waiting = [read('select 1'), read('select 2')];
    await grammar.stop();
    assert.deepEqual((await Promise.all(waiting)).map(reasonOf), ['stopped', 'stopped']);
    assert.equal(reasonOf(await grammar.read('select 3')), 'stopped');
  });
});

describe('a syntax error', () => {
  const grammar = new Grammar({ deadlineMs: 20_000 });
  let server: BackendServer;
  before(async () => {
    server = await startBackendServer({ version: 18, authentication: 'trust' });
  });
  after(async () => {
    await grammar.stop();
    await server[Symbol.asyncDispose]();
  });

  for (const text of [
    'frm',
    'select (',
    "select 'é\u{1d11e}' frm x y",
    'select 1;\nselect from where',
    'select $a$ never ended',
    'select $a$ never ended $b$',
    "select 'never ended",
    'select "never ended',
    '/* never ended',
    "select E'\\u00zz'",
    'select 1 as ""',
  ])
    test(`is PostgreSQL's own: ${JSON.stringify(text)}`, async () => {
      const { host, port } = server;
      const client = new Client({ host, port, user: 'postgres', database: 'postgres' });
      await client.connect();
      const error = await client.query(text).catch((thrown: unknown) => thrown);
      await client.end();
      assert.ok(error instanceof DatabaseError);
      const reading = await grammar.read(text);
      assert.ok(reading.kind === 'syntax-error');
      assert.equal(reading.message, error.message);
      assert.equal(String(reading.position), error.position);
    });
});
