import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { loadModule, parseSync } from 'libpg-query';
import { surveyTree } from '#core/postgres/sql/survey-tree.ts';
import { generalForm } from '../../../../sidecar/postgres/grammar/general-form.ts';
import { Random } from '../../../support/random.ts';

describe('the general form of a text', () => {
  before(() => loadModule());

  const forms: [text: string, form: string][] = [
    ['SELECT a FROM t WHERE id = 4711;', 'SELECT a FROM t WHERE id = 1;'],
    ['select a1, b2 from t3 where x in (10,20)', 'select a1, b2 from t3 where x in (1,1)'],
    ['UPDATE t SET n = n + -5 WHERE id = 7', 'UPDATE t SET n = n + -1 WHERE id = 1'],
    ['INSERT INTO t VALUES (1, 2)', 'INSERT INTO t VALUES (1, 1)'],
    ['SELECT 1.5, 1e5, 0x1F, 1_000', 'SELECT 1.5, 1e5, 0x1F, 1_000'],
    ['SELECT x[2]', 'SELECT x[1]'],
  ];
  for (const [text, form] of forms) {
    test(`of ${text} has no integers of its own`, () => assert.equal(generalForm(text), form));
  }

  const none = [
    'SET transaction_read_only = 0',
    'SELECT 1 LIMIT 5',
    'SELECT 1 FETCH FIRST 5 ROWS ONLY',
    "SELECT 'a 5'",
    'SELECT "a 5" FROM t',
    'SELECT $1',
    'SELECT $$ 5 $$',
    'SELECT 5 -- 6',
    'SELECT 5 /* 6 */',
    'SELECT 5 \\ 6',
    'DELETE FROM t\u00e9 WHERE id = 5',
    'SELECT * FROM t\u00a05',
    'BEGIN; SELECT 5',
    `SELECT ${'1,'.repeat(3_000)} 1`,
  ];
  for (const text of none) {
    test(`is not there for ${text.slice(0, 40)}`, () => assert.equal(generalForm(text), undefined));
  }

  test('shows the same as the text, whatever its integers are', () => {
    const random = new Random(11);
    const texts = [
      'SELECT a, count(b) FROM s.t WHERE id = ? AND f(?) > ? GROUP BY ? ORDER BY ? OFFSET ?',
      'INSERT INTO t (a, b) SELECT x, ? FROM u WHERE y BETWEEN ? AND ? RETURNING a',
      'UPDATE t SET a = ?, b = g(?, c) FROM u WHERE t.id = u.id AND u.n % ? = ?',
      'DELETE FROM t USING u WHERE t.a = ? OR t.b IN (?, ?, ?)',
      'WITH w AS (UPDATE t SET a = ? RETURNING b) SELECT b::varchar(?) FROM w TABLESAMPLE system (?)',
      'SELECT sum(a) OVER (ORDER BY b ROWS ? PRECEDING), x[?] FROM t; DELETE FROM u WHERE a = ?',
    ];
    for (let round = 0; round < 300; round += 1) {
      const integer = (): string => String(random.pick([0, 1, 2, random.below(1e9), 2 ** 31 - 1]));
      const text = random.pick(texts).replaceAll('?', integer);
      const form = generalForm(text);
      assert.ok(form !== undefined);
      assert.deepEqual(surveyTree(parseSync(form)), surveyTree(parseSync(text)), text);
    }
  });
});
