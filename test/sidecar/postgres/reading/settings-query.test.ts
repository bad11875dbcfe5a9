import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BackendTag } from '#core/postgres/backend.ts';
import { SettingsQuery } from '../../../../sidecar/postgres/reading/settings-query.ts';

function rowOf(value: Buffer): Buffer {
  const row = Buffer.alloc(11);
  row.write('D');
  row.writeInt32BE(10 + value.length, 1);
  row.writeInt16BE(1, 5);
  row.writeInt32BE(value.length, 7);
  return Buffer.concat([row, value]);
}

interface Answers {
  readonly path?: string | Buffer;
  readonly role?: string;
  readonly strings?: string;
  readonly encoding?: string;
}

/** Answers a query as a backend does, rows cut after `cut` bytes. */
function answered(
  { path = '"$user", public', role = 'none', strings = 'on', encoding = 'UTF8' }: Answers,
  cut = 0,
): SettingsQuery {
  // prettier-ignore
  const query = new SettingsQuery();
  const empty = Buffer.alloc(0);
  const values = [path, role, 'agent', strings, encoding];
  for (const [index, value] of values.entries()) {
    query.take(BackendTag.ParseComplete, empty, 0);
    query.take(BackendTag.BindComplete, empty, 0);
    const row = rowOf(Buffer.from(value));
    if (cut > 0) query.take(BackendTag.DataRow, row.subarray(0, cut), 0);
    query.take(BackendTag.DataRow, row.subarray(cut), 1);
    query.take(BackendTag.CommandComplete, empty, 0);
    query.take(BackendTag.CloseComplete, empty, 0);
    const done = query.take(BackendTag.CloseComplete, empty, 0);
    assert.equal(done, index === values.length - 1);
  }
  return query;
}

describe('SettingsQuery', () => {
  test('reads what the backend says of its settings', () => {
    const meaning = answered({}).meaning;
    assert.deepEqual(meaning?.searchPath, ['$user', 'public']);
    assert.equal(meaning?.currentUser, 'agent');
    assert.equal(meaning?.standardStrings, true);
  });

  test('takes the role for the user where one is set', () => {
    assert.equal(answered({ role: 'other' }).meaning?.currentUser, 'other');
  });

  test('reads rows that come in pieces', () => {
    for (let cut = 1; cut < 12; cut += 1)
      assert.deepEqual(answered({}, cut).meaning?.searchPath, ['$user', 'public']);
  });

  test('reads texts as the client encoding says, and no others', () => {
    const latin = answered({ encoding: 'LATIN1', path: Buffer.from('b\u00e9', 'latin1') }).meaning;
    assert.deepEqual(latin?.searchPath, ['bé']);
    assert.equal(latin?.decode(Buffer.from([0x61, 0xe9])), 'aé');
    const utf8 = answered({}).meaning;
    assert.equal(utf8?.decode(Buffer.from([0x61, 0xe9])), undefined);
    assert.equal(utf8?.decode(Buffer.from('aé')), 'aé');
    const big5 = answered({ encoding: 'BIG5' }).meaning;
    assert.equal(big5?.decode(Buffer.from('select 1')), 'select 1');
    assert.equal(big5?.decode(Buffer.from([0xa4, 0x5c])), undefined);
  });

  test('knows nothing after a failure, or of a path that nobody can read', () => {
    const query = answered({});
    query.fail();
    assert.equal(query.meaning, undefined);
    assert.equal(answered({ path: 'a,' }).meaning, undefined);
    assert.equal(new SettingsQuery().meaning, undefined);
  });

  test('goes by a name that no other query has', () => {
    const one = new SettingsQuery().frames.toString('latin1');
    const other = new SettingsQuery().frames.toString('latin1');
    assert.notEqual(one, other);
    assert.match(one, /chaperone_[0-9a-f]{32}\0SHOW search_path\0/);
  });
});
