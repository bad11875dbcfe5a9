import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hasFixedColumns, renamesOf, renamesOfTag } from '#core/postgres/command.ts';

describe('hasFixedColumns', () => {
  for (const text of [
    'SELECT 1',
    'select*from t',
    '\n\t (SELECT 1)',
    '/* a /* nested */ comment */ WITH x AS (SELECT 1) TABLE x',
    '-- FETCH\nINSERT INTO t VALUES (1) RETURNING *',
    'VALUES(1)',
  ])
    test(`is sure of: ${text}`, () => assert.equal(hasFixedColumns(Buffer.from(text)), true));
  for (const text of [
    '',
    'FETCH c',
    '/* SELECT */ FETCH 1 FROM c',
    '-- SELECT\rEXECUTE p',
    '/* open SELECT',
    'selected',
    'SELECTé',
    'EXPLAIN SELECT 1',
    'SHOW ALL',
    'CALL p()',
  ])
    test(`is not sure of: ${text}`, () => assert.equal(hasFixedColumns(Buffer.from(text)), false));
});

describe('renamesOf', () => {
  const long = ' '.repeat(5_000);
  const cases: [text: string, renames: string][] = [
    ['', 'nothing'],
    ['SELECT 1', 'nothing'],
    ['INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING', 'nothing'],
    ['SELECT close FROM prices', 'nothing'],
    ['DEALLOCATED', 'nothing'],
    ['do\u00e9', 'nothing'],
    ['DeAllocate s', 'statements'],
    ['PREPARE s AS SELECT 1', 'statements'],
    ['CLOSE ALL', 'portals'],
    ['declare p cursor for select 1', 'portals'],
    ["DO'BEGIN END'", 'all'],
    ['do language plpgsql $$ BEGIN END $$', 'all'],
    ['CALL"p"()', 'all'],
    ['EXECUTE s', 'all'],
    ['DISCARD ALL', 'all'],
    ['SELECT 1; SELECT 2', 'nothing'],
    ['SELECT 1;DEALLOCATE s', 'statements'],
    ['SELECT 1;;\n/* ; /* ; */ */ -- x\n deallocate s', 'statements'],
    ['DEALLOCATE s; CLOSE p', 'all'],
    [`${long}SELECT 1`, 'all'],
    [`SELECT 1${long}`, 'nothing'],
    [`SELECT 1${long};DEALLOCATE s`, 'statements'],
    [`SELECT 1;/*${long}*/ DEALLOCATE s`, 'all'],
    [`SELECT 1${';'.repeat(2_000)}DEALLOCATE s`, 'all'],
  ];
  for (const [text, renames] of cases)
    test(`finds ${renames} in ${text.replaceAll(long, ' … ').slice(0, 60)}`, () =>
      assert.equal(renamesOf(Buffer.from(text)), renames));

  test('knows the tags of what was run', () => {
    const tags = ['DO', 'CALL', 'DISCARD ALL', 'DEALLOCATE ALL', 'PREPARE', 'CLOSE CURSOR', 'DECLARE CURSOR', 'DELETE 1', 'SELECT 1']; // prettier-ignore
    assert.deepEqual(
      tags.map((tag) => renamesOfTag(`${tag}\0`)),
      ['all', 'all', 'all', 'statements', 'statements', 'portals', 'portals', 'nothing', 'nothing'],
    );
  });
});
