import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { tryTextDecoder } from '#core/postgres/encoding.ts';
import { Grammar } from '../../../../sidecar/postgres/grammar/grammar.ts';
import { Reader, type Place, type Subject } from '../../../../sidecar/postgres/reading/reader.ts';
import type { TextMeaning } from '../../../../sidecar/postgres/reading/settings-query.ts';

const idle: Place = { idle: true, mayAsk: true, status: 'I' };
const busy: Place = { idle: false, mayAsk: false, status: 'I' };
const failed: Place = { idle: true, mayAsk: false, status: 'E' };
const inside: Place = { idle: true, mayAsk: true, status: 'T' };

function meaning(settings: Partial<TextMeaning> = {}): TextMeaning {
  const searchPath = ['public'];
  return {
    searchPath,
    currentUser: 'agent',
    decode: tryTextDecoder('UTF8'),
    standardStrings: true,
    key: JSON.stringify(settings.searchPath ?? searchPath),
    ...settings,
  };
}

const text = (sql: string): Subject => ({ kind: 'text', text: Buffer.from(sql) });

describe('Reader', () => {
  const grammar = new Grammar();
  after(() => grammar.stop());
  let needed = true;
  const open = (): Reader =>
    new Reader({
      grammar,
      catalogue: { current: undefined, load: async () => undefined },
      needed: () => needed,
    });

  /** Overcomes what is in the way of a subject but settings and replies, and says what is left. */
  async function waited(
    reader: Reader,
    subject: Subject,
    place: Place,
  ): Promise<string | undefined> {
    for (let turn = 0; turn < 5; turn += 1) {
      const obstacle = reader.obstacle(subject, place);
      if (typeof obstacle !== 'object') return obstacle;
      await obstacle;
    }
    return 'never';
  }

  async function read(reader: Reader, sql: string, place: Place = idle): Promise<string> {
    const subject = text(sql);
    assert.equal(await waited(reader, subject, place), undefined, sql);
    const { facts, effects } = reader.read(subject);
    if (facts.protocol !== 'Postgres')
      return facts.protocol === 'Unreadable' ? facts.because : facts.protocol;
    reader.runs(effects);
    if (subject.kind === 'text') reader.runsText(subject.text);
    return facts.statements.map(({ commands, isOpaque }) => `${commands.join('+')}${isOpaque ? '!' : ''}`).join('; '); // prettier-ignore
  }

  function known(): Reader {
    const reader = open();
    reader.learn(meaning());
    return reader;
  }

  test('waits for replies, and then for the settings, before it reads anything', async () => {
    const reader = open();
    assert.equal(reader.obstacle(text('SELECT 1'), busy), 'replies');
    assert.equal(reader.obstacle(text('SELECT 1'), idle), 'settings');
    reader.learn(meaning());
    assert.equal(await read(reader, 'SELECT 1'), 'SELECT');
  });

  test('reads nothing where nobody asks, and asks anew when somebody does', () => {
    const reader = known();
    needed = false;
    try {
      assert.equal(reader.obstacle(text('SELECT 1'), busy), undefined);
    } finally {
      needed = true;
    }
    assert.equal(reader.obstacle(text('SELECT 1'), idle), 'settings');
  });

  const changing = [
    'SET search_path = other',
    "SELECT set_config('search_path', 'other', false)",
    'SET ROLE other',
    'SET standard_conforming_strings = off',
    'DO $$ BEGIN END $$',
    'SELECT a_function_of_theirs()',
    'DISCARD ALL',
  ];
  for (const sql of changing) {
    test(`asks for the settings behind ${sql}`, async () => {
      const reader = known();
      await read(reader, sql);
      assert.equal(reader.obstacle(text('SELECT 1'), busy), 'replies');
      assert.equal(await waited(reader, text('SELECT 1'), idle), 'settings');
    });
  }

  for (const sql of ['SELECT 1', 'SET statement_timeout = 5', 'BEGIN', 'COMMIT', 'SELECT now()']) {
    test(`asks for nothing behind ${sql}`, async () => {
      const reader = known();
      await read(reader, sql);
      assert.equal(await waited(reader, text('SELECT 2'), busy), undefined);
    });
  }

  test('asks behind the end of a transaction in which something was set', async () => {
    const reader = known();
    await read(reader, 'SET LOCAL search_path = other', inside);
    reader.learn(meaning({ searchPath: ['other'] }));
    await read(reader, 'COMMIT', inside);
    assert.equal(reader.obstacle(text('SELECT 1'), idle), 'settings');
  });

  test('asks behind the Sync of a pipeline in which something was set', async () => {
    const reader = known();
    await read(reader, 'SET LOCAL search_path = other', inside);
    reader.learn(meaning({ searchPath: ['other'] }));
    assert.equal(await waited(reader, text('SELECT 1'), inside), undefined);
    reader.endsPipeline();
    assert.equal(reader.obstacle(text('SELECT 2'), busy), 'replies');
  });

  test('asks behind the end of a transaction that several pipelines were in', async () => {
    const reader = known();
    await read(reader, 'SET LOCAL search_path = other', inside);
    reader.endsPipeline();
    reader.learn(meaning({ searchPath: ['other'] }));
    await read(reader, 'SELECT 1', inside);
    reader.endsPipeline();
    assert.equal(await waited(reader, text('SELECT 2'), busy), undefined, 'nothing was taken back');
    await read(reader, 'ROLLBACK', inside);
    assert.equal(reader.obstacle(text('SELECT 3'), busy), 'replies');
  });

  test('keeps what an unfinished pipeline has set for something that an error takes back', async () => {
    const reader = known();
    await read(reader, 'SET LOCAL search_path = other', inside);
    reader.learn(meaning({ searchPath: ['other'] }));
    reader.settled(true);
    reader.failed();
    assert.equal(reader.obstacle(text('SELECT 1'), busy), 'replies');
  });

  const midway = [
    'SET search_path = other; SELECT * FROM t',
    'ALTER TABLE t RENAME TO u; SELECT * FROM u',
    'DROP TABLE t; SELECT * FROM t',
    'DROP TABLE t; DROP TABLE t',
    'DROP TABLE t; CREATE TABLE u AS SELECT * FROM t',
    'DROP SCHEMA s CASCADE; SELECT * FROM t',
    'DROP TABLE t; SAVEPOINT s; CREATE TABLE t (a int); ROLLBACK TO s; SELECT * FROM t',
    'DO $$ BEGIN END $$; SELECT * FROM t',
  ];
  for (const sql of midway) {
    test(`does not judge ${sql}`, async () => {
      const because = await read(known(), sql);
      assert.equal(because, 'a statement in it changes what those behind it mean');
    });
  }

  test('judges a text whose definitions hide nothing', async () => {
    const sql =
      'BEGIN; DROP TABLE IF EXISTS t; CREATE TABLE t (a int); INSERT INTO t VALUES (1); COMMIT';
    assert.equal(await read(known(), sql), 'BEGIN; DROP TABLE; CREATE TABLE; INSERT; COMMIT');
  });

  test('takes backslashes for what they may be', async () => {
    const reader = open();
    reader.learn(meaning({ standardStrings: false }));
    assert.match(await read(reader, "SELECT '\\'"), /backslashes/);
    assert.equal(await read(reader, "SELECT 'a'"), 'SELECT');
  });

  test('knows what EXECUTE runs, in SQL and in the protocol', async () => {
    const reader = known();
    assert.equal(await read(reader, 'EXECUTE p'), 'EXECUTE; EXECUTE!');
    reader.learn(meaning());
    reader.settled(false);
    await read(reader, 'PREPARE p AS DELETE FROM t');
    assert.equal(await read(reader, 'EXECUTE p'), 'EXECUTE; DELETE');
    const byName: Subject = { kind: 'name', name: 'p', known: undefined };
    assert.equal(await waited(reader, byName, idle), undefined);
    const { facts } = reader.read(byName);
    assert.ok(facts.protocol === 'Postgres');
    assert.deepEqual(facts.statements.map(({ commands }) => commands), [['DELETE']]); // prettier-ignore
  });

  test('judges under the last settings in a transaction that has failed', async () => {
    const reader = known();
    await read(reader, 'SET LOCAL search_path = other', inside);
    assert.equal(await read(reader, 'ROLLBACK', failed), 'ROLLBACK');
  });

  test('judges nothing while the backend does not say its settings, and asks again later', async () => {
    const reader = open();
    const subject = text('SELECT 1');
    for (let attempt = 0; attempt < 3; attempt += 1) {
      assert.equal(reader.obstacle(subject, idle), 'settings');
      reader.learn(undefined);
    }
    assert.equal(await waited(reader, subject, idle), undefined);
    assert.deepEqual(reader.read(subject).facts, { protocol: 'Unreadable', because: 'its settings are not known' }); // prettier-ignore
    assert.equal(reader.obstacle(text('SELECT 2'), idle), 'settings');
  });
});
