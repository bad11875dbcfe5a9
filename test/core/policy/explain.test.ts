import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decide } from '#core/policy/decide.ts';
import { explain } from '#core/policy/explain.ts';
import type { Rule } from '#core/policy/rules.ts';
import {
  about,
  ada,
  compiled,
  factsOf,
  harmless,
  policy,
  relation,
  rule,
  statement,
  table,
  tables,
  workload,
} from '../../support/policies.ts';

const asker = { backend: 'shop', who: ada, workload };
const named = (name: string, each: Rule): Rule => ({ ...each, name });

describe('an explanation', () => {
  const policies = compiled([
    policy({
      rules: [
        named('a-reads', about('Allow', { commands: ['SELECT'], tables: tables('orders') })),
        named('b-salaries', about('Deny', { tables: tables('salaries') })),
        named('c-writers', about('Allow', { readOnly: false })),
        named('d-other-table', about('Deny', { tables: tables('none') })),
        named('e-condition', about('Deny', {}, { when: 'principal.user == "bob"' })),
        named('f-broken', about('Allow', {}, { when: 'statement.hasWhere' })),
        named('g-elsewhere', rule('Deny', { where: { kind: 'backends', names: ['other'] } })),
        named('h-others', rule('Deny', { subjects: [] })),
      ],
    }),
  ]);
  const facts = factsOf(
    statement({
      tables: [table('public.orders'), table('public.salaries')],
      functions: [harmless, relation('public.pay')],
    }),
  );
  const explained = explain(policies, asker, facts);

  test('says what became of each rule, and why', () => {
    assert.deepEqual(
      explained.parts[0]?.rules.map(({ rule: name, outcome }) => [name, outcome]),
      [
        ['a-reads', 'counts'],
        ['b-salaries', 'decided'],
        ['c-writers', 'read-only'],
        ['d-other-table', 'no-element'],
        ['e-condition', 'condition'],
        ['f-broken', 'error'],
        ['g-elsewhere', 'other-backend'],
        ['h-others', 'other-subject'],
      ],
    );
    assert.match(explained.parts[0]?.rules[5]?.error ?? '', /hasWhere/);
  });

  test('says of each element what covers it and what stops it', () => {
    const names = (of: readonly { rule: string }[]): string => of.map(({ rule: name }) => name).join(); // prettier-ignore
    assert.deepEqual(
      explained.parts[0]?.elements.map((each) => [each.text, each.needsCover, names(each.coveredBy), names(each.stoppedBy)]),
      [
        ['SELECT', true, 'a-reads', ''],
        ['Read on public.orders', true, 'a-reads', ''],
        ['Read on public.salaries', true, '', 'b-salaries'],
        ['function pg_catalog.sum', false, '', ''],
        ['function public.pay', true, '', ''],
      ],
    ); // prettier-ignore
  });

  test('decides as it is decided, part by part of what can be read', () => {
    const two = factsOf([statement({}), statement({ commands: ['UPDATE'] })]);
    for (const each of [facts, two, factsOf([]), { protocol: 'TCP' } as const])
      assert.deepEqual(explain(policies, asker, each).verdict, decide(policies, asker, each));
    assert.equal(explain(policies, asker, two).parts.length, 2);
    const unreadable = explain(policies, asker, { protocol: 'Unreadable', because: 'too deep' });
    assert.deepEqual([unreadable.parts, unreadable.unreadable], [[], 'too deep']);
  });

  test('names the deciding rule in the part that decided alone', () => {
    const rules = [
      named('reads', about('Allow', {}, { when: 'statement.readOnly' })),
      named('small', about('Deny', {}, { when: 'has(statement.limit) && statement.limit < 5' })),
    ];
    const outcomes = (...limits: (number | undefined)[]): unknown =>
      explain(
        compiled([policy({ rules })]),
        asker,
        factsOf(limits.map((limit) => statement({ limit }))),
      ).parts.map((part) => part.rules.map(({ outcome }) => outcome));
    assert.deepEqual(outcomes(1, 2), [
      ['counts', 'decided'],
      ['counts', 'counts'],
    ]);
    assert.deepEqual(outcomes(9, 2), [
      ['counts', 'condition'],
      ['counts', 'decided'],
    ]);
    assert.deepEqual(outcomes(9, 9), [
      ['decided', 'condition'],
      ['counts', 'condition'],
    ]);
  });

  test('comes to the end of its effort where deciding does', () => {
    const rules = [named('dear', about('Deny', {}, { when: 'statement.tables.exists(t, t.name in principal.groups)' }))]; // prettier-ignore
    const many = Array.from({ length: 800 }, (_, index) => table(`t${index}`));
    const explanation = explain(
      compiled([policy({ defaultAction: 'Allow', rules })]),
      asker,
      factsOf([statement({ tables: many }), statement({ tables: many })]),
    );
    assert.equal(explanation.verdict.recorded.reason, 'error');
    const outcomes = explanation.parts.flatMap((part) => part.rules.map(({ outcome }) => outcome));
    assert.deepEqual(outcomes, ['condition', 'decided']);
    assert.match(explanation.parts[1]?.rules[0]?.error ?? '', /too long/);
  });

  test('says which name of a rule is none', () => {
    const rules = [rule('Deny', about('Deny', { tables: tables('orders', 'a.b.c') }))];
    const [part] = explain(compiled([policy({ rules })]), asker, facts).parts;
    assert.equal(part?.rules[0]?.error, 'it names "a.b.c", which is no name');
  });

  test('shows no name that steers a terminal', () => {
    const hostile = statement({ tables: [table('x', 'Read', { name: 'a\u001b[2J\u202e' })] });
    const [, element] = explain(policies, asker, factsOf(hostile)).parts[0]?.elements ?? [];
    assert.doesNotMatch(element?.text ?? '\u001b', /\p{C}/u);
  });
});
