import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkExpression, checkSetting, Effort, parseCondition } from '#core/policy/expression.ts';
import { operationTerms } from '#core/policy/vocabulary.ts';
import { ada, agent, statement, table, workload } from '../../support/policies.ts';

const facts = statement({
  commands: ['UPDATE'],
  tables: [
    table('public.orders', 'Write', { columns: ['amount'] }),
    table('salaries', 'Read', { columns: ['*'] }),
  ],
  functions: [{ schema: 'public', name: 'pay' }],
  hasWhere: false,
  limit: 10,
  settings: ['role'],
});

function valueOf(text: string, over = facts, who = ada) {
  const { expression, problem } = parseCondition(text);
  assert.ok(expression, problem);
  return expression.over(operationTerms({ backend: 'shop', who, workload }, over), new Effort());
}

describe('the condition of a rule', () => {
  const cases: [text: string, value: boolean | RegExp][] = [
    ['true', true],
    ['!statement.hasWhere', true],
    ['"UPDATE" in statement.commands', true],
    ['statement.tables.exists(t, t.name == "orders" && t.access == "Write")', true],
    ['statement.tables.exists(t, t.columns.exists(c, c in ["amount", "ssn"]))', true],
    ['statement.tables.all(t, has(t.schema))', false],
    ['statement.tables.exists(t, t.schema == "hr")', /No such key: schema/],
    ['statement.tables.exists(t, has(t.schema) && t.schema == "hr")', false],
    ['statement.functions.exists_one(f, f.name.startsWith("pa"))', true],
    ['statement.hasLimit && statement.limit <= 10', true],
    ['has(statement.copy)', false],
    ['statement.copy.target == "Program"', /No such key: copy/],
    ['"analysts" in principal.groups', true],
    ['principal.user == "ada" && principal.provider == "idp"', true],
    ['workload.labels["app"] == "shop" && backend == "shop"', true],
    ['workload.labels["none"] == "x"', /No such key/],
    ['statement.limit / 0 == 1', /zero/],
    ['size(statement.tables) == 2 && statement.settings.size() == 1', true],
    ['principal.user.split("@")[0] == "ada"', true],
    ['principal.groups[7] == "x"', /out of bounds/],
    ['statement.hasWhere ? false : true', true],
  ];
  for (const [text, value] of cases)
    test(`${text} is ${String(value)}`, () => {
      const result = valueOf(text);
      if (typeof value === 'boolean') assert.deepEqual(result, { value });
      else assert.match(result.error ?? '', value);
    });

  test('may be nested as deep as it can be written', () => {
    assert.deepEqual(valueOf(`${'!'.repeat(1_900)}true`), { value: true });
    assert.deepEqual(valueOf(`${'false||'.repeat(290)}true`), { value: true });
  });

  test('knows no groups of a workload, and no provider', () => {
    assert.deepEqual(valueOf('size(principal.groups) == 0', facts, agent), { value: true });
    assert.deepEqual(valueOf('has(principal.provider)', facts, agent), { value: false });
  });

  test('takes a limit that no number can hold as one that it does not know', () => {
    const huge = statement({ limit: 1e300 });
    assert.deepEqual(valueOf('statement.hasLimit && !has(statement.limit)', huge), { value: true });
  });

  const wrong: [text: string, problem: RegExp][] = [
    ['', /./],
    ['1 +', /./],
    ['statement.hasWhere &&', /./],
    ['statement', /is of type Statement, want bool/],
    ['principal.user', /is of type string, want bool/],
    ['size(statement.tables)', /is of type int/],
    ['statement.tabels.size() > 0', /no.* field tabels/i],
    ['has(statement.hasWher)', /no.* field hasWher/i],
    ['statement.user == "x"', /No such key: user/],
    ['principal.user == 3', /no such overload/],
    ['unknown == 3', /Unknown variable/],
    ['statement.constructor == "x"', /field constructor/],
    ['statement.__proto__ == "x"', /./],
    ['workload.labels.app == "x"', /field app/],
    ['principal.user.matches("(a+)+$")', /matches\(\) is not offered/],
    ['statement.tables.map(t, t.name).size() > 0', /map is not offered/],
    ['statement.tables.filter(t, true).size() > 0', /filter is not offered/],
    ['cel.bind(x, "aa", x + x + x) == ""', /bind is not offered/],
    ['{"a": 1}.size() > 0', /./],
    ['b"{}".json().size() > 0', /json is not offered/],
    ['timestamp("2026-01-01T00:00:00Z").getHours("x") > 1', /not offered/],
    ['dyn(1) == 1', /dyn is not offered/],
    ['statement.?hasWhere.orValue(true)', /./],
    ['[1, 2].all(x, [3, 4].all(y, x > y))', /runs through a field/],
    ['statement.tables.all(t, statement.tables.all(u, t.name == u.name))', /the outer one’s item/],
    ['statement.tables.all(t, t.columns.all(c, t.columns.all(d, c == d)))', /the outer one’s item/],
    ['statement.tables.all(t, t.columns.all(t, t == ""))', /variable already/],
    ['statement.tables.all(t, t.name.split("").size() > 1)', /not offered in a loop/],
    ['statement.tables.all(t, principal.groups.join("") == t.name)', /not offered in a loop/],
    [`"${'x'.repeat(2_048)}" == ""`, /at most 2048 characters/],
    [`${'('.repeat(500)}true${')'.repeat(500)}`, /./],
    [`[${'1,'.repeat(1_010)}1].size() > 0`, /./],
  ];
  for (const [text, problem] of wrong)
    test(`${text.slice(0, 60)} is refused`, () =>
      assert.match(checkExpression(text) ?? '', problem));

  test('costs no more over a hostile statement than an operation may take', () => {
    const tables = Array.from({ length: 5_000 }, (_, index) => table(`public.t${index}`));
    const text = 'statement.tables.exists(t, t.name in principal.groups)';
    assert.match(valueOf(text, statement({ tables })).error ?? '', /too long/);
    const cheap = 'statement.tables.exists(t, t.name == "t4999")';
    assert.deepEqual(valueOf(cheap, statement({ tables })), { value: true });
  });

  test('counts what all conditions of an operation take together', () => {
    const { expression } = parseCondition('statement.tables.exists(t, t.name == "none")');
    const tables = Array.from({ length: 5_000 }, (_, index) => table(`public.t${index}`));
    const terms = operationTerms({ backend: 'shop', who: ada, workload }, statement({ tables }));
    const effort = new Effort();
    let evaluated = 0;
    while (evaluated < 1_000 && expression?.over(terms, effort).error === undefined) evaluated += 1;
    assert.ok(evaluated > 10 && evaluated < 100, String(evaluated));
  });
});

describe('the value of a setting', () => {
  test('is a string over the principal alone', () => {
    assert.equal(checkSetting('principal.user + ":" + principal.groups.join(",")'), undefined);
    assert.equal(checkSetting('has(principal.onBehalfOf) ? principal.onBehalfOf : ""'), undefined);
    assert.match(checkSetting('size(principal.groups)') ?? '', /want string/);
    assert.match(checkSetting('statement.commands[0]') ?? '', /Unknown variable/);
  });
});
