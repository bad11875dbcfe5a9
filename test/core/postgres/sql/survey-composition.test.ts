import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSync } from 'libpg-query';
import type { StatementSurvey } from '../../../../core/postgres/sql/survey.ts';
import { Random, scaled } from '../../../support/random.ts';
import { notationOf, surveyText } from '../../../support/survey-notation.ts';
import { allRows } from './rows/all.ts';

/** Texts around a query, which must show all that the query shows. */
const aroundQueries: readonly ((query: string) => string)[] = [
  (query) => `select * from (${query}) zz`,
  (query) => `select 1 from other where exists (${query})`,
  (query) => `select zz.a from other, lateral (${query}) zz`,
  (query) => `(${query}) union all (select 1)`,
  (query) => `select 1 except (${query})`,
  (query) => `with zz as (${query}) select * from zz`,
  (query) => `with recursive yy as (select 1 from zz), zz as materialized (${query}) table yy`,
  (query) => `values ((${query}))`,
  (query) => `select case when a then array(${query}) end from other`,
];

/** Texts around a statement of any kind that can be planned. */
const aroundPlans: readonly ((statement: string) => string)[] = [
  (statement) => `explain ${statement}`,
  (statement) => `explain (analyze, verbose) ${statement}`,
  (statement) => `prepare zz as ${statement}`,
  (statement) => `copy (${statement}) to stdout`,
  (statement) => `with zz as (${statement}) select * from zz`,
  (statement) => `with zz as (${statement}) delete from other where a`,
  (statement) => `create function zz() returns int begin atomic ${statement}; end`,
];

const planned = new Set(['SelectStmt', 'InsertStmt', 'UpdateStmt', 'DeleteStmt', 'MergeStmt']);

function kindOf(text: string): string {
  const [statement] = parseSync(text).stmts ?? [];
  return Object.keys(statement?.stmt ?? {})[0] ?? '';
}

/** Names with their columns, functions and the rest that a statement shows, one text each. */
function elementsOf(statement: StatementSurvey): readonly string[] {
  return [
    ...statement.relations.flatMap(({ schema, name, access, only, columns }) =>
      [undefined, ...columns].map((column) => JSON.stringify([schema, name, access, only, column])),
    ),
    ...statement.functions.map(({ schema, name }) => JSON.stringify(['f', schema, name])),
    ...statement.operators.map(({ schema, name }) => JSON.stringify(['o', schema, name])),
    ...statement.settings,
    ...statement.attributes,
    `opaque ${statement.isOpaque}`,
  ];
}

function assertShows(text: string, inner: StatementSurvey): void {
  const [outer, ...others] = surveyText(text).statements;
  assert.ok(outer && others.length === 0, text);
  const shown = new Set([...elementsOf(outer), 'opaque false']);
  const missing = elementsOf(inner).filter((element) => !shown.has(element));
  assert.deepEqual(missing, [], `${text}\n${notationOf(outer)}`);
  const isRun = !/^(?:explain (?!\(analyze)|prepare)/.test(text);
  if (!inner.readOnly && isRun) assert.equal(outer.readOnly, false, text);
}

test('a text around a statement shows all that the statement shows', () => {
  const seed = 20_261_128;
  const random = new Random(seed);
  const texts = allRows.map(([text]) => text).filter((text) => !text.includes(';'));
  // SELECT INTO stands alone.
  const plans = texts.filter(
    (text) => planned.has(kindOf(text)) && !/\binto (?:temp )?n\b/.test(text),
  );
  assert.ok(plans.length > 150);
  for (let round = 0; round < scaled(20_000); round += 1) {
    const text = random.pick(plans);
    const [statement] = surveyText(text).statements;
    assert.ok(statement, text);
    let composed = text;
    for (let depth = random.below(4); depth > 0 && kindOf(composed) === 'SelectStmt'; depth -= 1)
      composed = random.pick(aroundQueries)(composed);
    assertShows(random.pick(aroundPlans)(composed), statement);
    assertShows(composed, statement);
  }
});
