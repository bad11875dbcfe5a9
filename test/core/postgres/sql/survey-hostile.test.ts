import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseSync } from 'libpg-query';
import { ChaperoneError, type ErrorCode } from '../../../../core/errors.ts';
import { surveyTree } from '../../../../core/postgres/sql/survey-tree.ts';
import type { StatementSurvey } from '../../../../core/postgres/sql/survey.ts';
import { Random, scaled } from '../../../support/random.ts';
import { surveyText } from '../../../support/survey-notation.ts';
import { allRows } from './rows/all.ts';

/** As many as make a walk that calls itself run out of stack. */
const many = 50_000;

type Tree = Readonly<Record<string, unknown>>;

function surveyOf(statement: Tree): StatementSurvey {
  const [first] = surveyTree({ stmts: [{ stmt: statement }] }).statements;
  assert.ok(first);
  return first;
}

function failsWith(code: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof ChaperoneError && error.code === code;
}

const range = (relname: string): Tree => ({ RangeVar: { relname, inh: true } });
const column = (sval: string): Tree => ({ ColumnRef: { fields: [{ String: { sval } }] } });
const call = (sval: string): Tree => ({ FuncCall: { funcname: [{ String: { sval } }] } });

/** Wraps a value in itself again and again. */
function nested(value: Tree, times: number, wrap: (inner: Tree) => Tree): Tree {
  let tree = value;
  for (let at = 0; at < times; at += 1) tree = wrap(tree);
  return tree;
}

describe('of hostile trees', () => {
  test('a sum of many terms is walked to its last', () => {
    const sum = nested(call('deep'), many, (lexpr) => ({
      A_Expr: { kind: 'AEXPR_OP', name: [{ String: { sval: '+' } }], lexpr, rexpr: column('a') },
    }));
    const { functions } = surveyOf({
      SelectStmt: { targetList: [{ ResTarget: { val: sum } }], fromClause: [range('t')] },
    });
    assert.deepEqual(functions, [{ schema: undefined, name: 'deep' }]);
  });

  test('a union of many branches is walked to its first', () => {
    const branch = (name: string): Tree => ({ fromClause: [range(name)] });
    const union = nested(branch('deep'), many, (larg) => ({
      op: 'SETOP_UNION',
      larg,
      rarg: branch('t'),
    }));
    const { relations, hasWhere } = surveyOf({ SelectStmt: union });
    assert.deepEqual(relations.map(({ name }) => name).toSorted(), ['deep', 't']);
    assert.equal(hasWhere, false);
  });

  test('a chain of many joins is walked to its first', () => {
    const chain = nested(range('deep'), many, (larg) => ({
      JoinExpr: { isNatural: true, larg, rarg: range('t') },
    }));
    const { relations } = surveyOf({ SelectStmt: { fromClause: [chain] } });
    assert.deepEqual(relations.map(({ name }) => name).toSorted(), ['deep', 't']);
  });

  test('60 queries inside each other are surveyed to the innermost', () => {
    for (const around of ['(select ', 'array(select ', '(with x as (select 1) select ']) {
      const text = `select ${around.repeat(60)} deep from t ${')'.repeat(60)}`;
      assert.deepEqual(surveyText(text).statements[0]?.relations[0]?.columns, ['deep']);
    }
  });

  for (const depth of [250, many])
    test(`${depth} queries inside each other are too large, wherever they nest`, () => {
      const select: Tree = { SelectStmt: { fromClause: [range('t')] } };
      const wraps: readonly ((inner: Tree) => Tree)[] = [
        (subquery) => ({ SelectStmt: { fromClause: [{ RangeSubselect: { subquery } }] } }),
        (subselect) => ({ SelectStmt: { whereClause: { SubLink: { subselect } } } }),
        (ctequery) => ({
          SelectStmt: {
            withClause: { ctes: [{ CommonTableExpr: { ctename: 'x', ctequery } }] },
          },
        }),
        (query) => ({ ExplainStmt: { query } }),
        (action) => ({ RuleStmt: { relation: { relname: 't' }, actions: [action] } }),
      ];
      for (const wrap of wraps)
        assert.throws(() => surveyOf(nested(select, depth, wrap)), failsWith('too-large'));
      const joins = nested(range('t'), depth, (rarg) => ({ JoinExpr: { larg: range('t'), rarg } }));
      assert.throws(
        () => surveyOf({ SelectStmt: { fromClause: [joins] } }),
        failsWith('too-large'),
      );
    });

  test('many relations with many columns between them take all columns, not each pair', () => {
    const names = Array.from({ length: 2_000 }, (_, at) => `n${at}`);
    const { relations } = surveyOf({
      SelectStmt: { targetList: names.map(column), fromClause: names.map(range) },
    });
    assert.equal(relations.length, names.length);
    for (const { columns } of relations) assert.deepEqual(columns, ['*']);
  });

  test('many columns of an inner query that may be an outer one take all of its columns', () => {
    const inner = Array.from({ length: 2_000 }, (_, at) => `c${at}`).join(', ');
    const [outer] = surveyText(`select 1 from t where exists (select ${inner} from u)`).statements;
    assert.deepEqual(outer?.relations.find(({ name }) => name === 't')?.columns, ['*']);
  });

  test('an alias of a join of many takes all columns of each', () => {
    const chain = Array.from({ length: 100 }, (_, at) => `t${at}`).join(' cross join ');
    const [statement] = surveyText(`select j.a, j.b from (${chain}) j`).statements;
    assert.equal(statement?.relations.length, 100);
    for (const { columns } of statement?.relations ?? []) assert.deepEqual(columns, ['*']);
  });

  test('aliases of joins inside each other count what they stand for once each', () => {
    const depth = 90;
    const joins = Array.from({ length: depth }, (_, at) => `join t${at} on true) j${at}`);
    const [statement] = surveyText(
      `select a, j20.b from ${'('.repeat(depth)}t ${joins.join(' ')}`,
    ).statements;
    assert.equal(statement?.relations.length, depth + 1);
    assert.deepEqual(statement.relations[0]?.columns, ['b', 'a']);
    assert.deepEqual(statement.relations.at(-1)?.columns, ['a']);
  });

  test('many relations of one name take all columns of all of them', () => {
    const name = { String: { sval: 't' } };
    const { relations } = surveyOf({
      SelectStmt: {
        targetList: Array.from({ length: many }, (_, at) => ({
          ColumnRef: { fields: [name, { String: { sval: `c${at}` } }] },
        })),
        fromClause: Array.from({ length: many }, (_, at) => ({
          RangeVar: { schemaname: `s${at}`, relname: 't' },
        })),
      },
    });
    assert.equal(relations.length, many);
    assert.ok(relations.slice(64).every(({ columns }) => columns[0] === '*'));
  });

  test('rights on many columns of many tables are rights on all of their columns', () => {
    const { relations } = surveyOf({
      GrantStmt: {
        objects: Array.from({ length: many }, (_, at) => range(`t${at}`)),
        privileges: [
          {
            AccessPriv: {
              cols: Array.from({ length: many }, (_, at) => ({ String: { sval: `c${at}` } })),
            },
          },
        ],
      },
    });
    assert.ok(relations.every(({ columns }) => columns.length === 1 && columns[0] === '*'));
  });

  test('many locks of many relations are noted once', () => {
    const { relations } = surveyOf({
      SelectStmt: {
        fromClause: Array.from({ length: many }, (_, at) => range(`t${at}`)),
        lockingClause: Array.from({ length: many }, () => ({ LockingClause: {} })),
      },
    });
    assert.equal(relations.length, 2 * many);
  });

  test('relations and functions are found inside nodes that nobody knows', () => {
    const unknown = { NewExpr: { what: [{ relname: 't' }, call('f')], who: { funcname: [] } } };
    const { relations, functions } = surveyOf({
      SelectStmt: { targetList: [{ ResTarget: { val: unknown } }] },
    });
    assert.deepEqual(
      relations.map(({ name, access }) => [name, access]),
      [['t', 'Read']],
    );
    assert.deepEqual(
      functions.map(({ name }) => name),
      ['f'],
    );
  });

  test('a statement of an unknown kind is refused, also inside another', () => {
    const unknown = { NewStmt: {} };
    const unsupported = failsWith('unsupported');
    assert.throws(() => surveyOf(unknown), unsupported);
    assert.throws(() => surveyOf({ ExplainStmt: { query: unknown } }), unsupported);
    assert.throws(() => surveyOf({ PrepareStmt: {} }), unsupported);
  });

  test('what is no tree is refused, and one without statements shows none', () => {
    for (const tree of [
      undefined,
      null,
      5,
      'x',
      [],
      { stmts: 5 },
      { stmts: [null] },
      { stmts: [{}] },
    ])
      assert.throws(() => surveyTree(tree), failsWith('unsupported'));
    assert.deepEqual(surveyTree({}).statements, []);
    for (const text of [' ;; ; ', '-- nothing', '/* /* */ */'])
      assert.deepEqual(surveyText(text).statements, []);
  });

  test('names of a prototype are names', () => {
    const text =
      'with "__proto__" as (select "constructor"."toString" from "constructor") ' +
      'select "valueOf"("hasOwnProperty") from "__proto__", s."__proto__" as "toString"';
    const [statement] = surveyText(text).statements;
    assert.deepEqual(
      statement?.relations.map(({ schema, name, columns }) => [schema, name, columns]),
      [
        [undefined, 'constructor', ['toString']],
        ['s', '__proto__', ['hasOwnProperty']],
      ],
    );
  });

  test('a tree with anything in any place is surveyed or refused', () => {
    const seed = 20_261_129;
    const random = new Random(seed);
    const odd = [null, 5, '', 'x', [], {}, true, [[null]], { String: 5 }, { A: {} }];
    for (let round = 0; round < scaled(50_000); round += 1) {
      const tree: unknown = JSON.parse(JSON.stringify(parseSync(random.pick(allRows)[0])));
      const places: { readonly holder: Record<string, unknown>; readonly key: string }[] = [];
      const collect = (holder: unknown): void => {
        if (typeof holder !== 'object' || holder === null) return;
        for (const key of Object.keys(holder)) {
          places.push({ holder: holder as Record<string, unknown>, key }); // a list as well
          collect((holder as Record<string, unknown>)[key]);
        }
      };
      collect(tree);
      if (places.length === 0) continue; // a text without statements
      for (let times = 1 + random.below(3); times > 0; times -= 1) {
        const { holder, key } = random.pick(places);
        holder[key] = random.pick(odd);
      }
      try {
        surveyTree(tree);
      } catch (error) {
        if (!(error instanceof ChaperoneError)) throw error;
      }
    }
  });
});
