import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hasFixedColumns } from '#core/postgres/command.ts';

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
