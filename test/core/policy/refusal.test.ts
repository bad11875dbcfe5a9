import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { errorCodes } from '#core/errors.ts';
import { Judge } from '#core/policy/judge.ts';
import { refusalOf } from '#core/policy/refusal.ts';
import {
  about,
  ada,
  compiled,
  factsOf,
  fullVerdictOf,
  policy,
  statement,
  table,
  tables,
  workload,
} from '../../support/policies.ts';

const select = statement({ tables: [table('public.orders'), table('public.salaries')] });

describe('a refusal', () => {
  test('says what nothing covers, in words and for programs', () => {
    const rules = [about('Allow', { commands: ['SELECT'], tables: tables('orders') })];
    const refusal = refusalOf(fullVerdictOf([policy({ rules })], select), 's-1');
    assert.equal(refusal.code, 'denied');
    assert.equal(refusal.message, 'denied by AuditPolicy/local/p (not-covered): Read on public.salaries'); // prettier-ignore
    assert.match(refusal.hint ?? '', /has to be allowed.*session s-1.*chaperone explain s-1/);
    assert.deepEqual(refusal.details, [
      ['reason', 'not-covered'],
      ['policy', 'AuditPolicy/local/p'],
      ['uncovered', 'Read on public.salaries'],
      ['explain', 'chaperone explain s-1'],
    ]);
  });

  test('says the rule and its message', () => {
    const deny = about('Deny', { commands: ['SELECT'] }, { name: 'none', message: 'Ask the shop.' }); // prettier-ignore
    const refusal = refusalOf(fullVerdictOf([policy({ rules: [deny] })], select), 's');
    assert.equal(refusal.message, 'denied by AuditPolicy/local/p, rule none (rule): Ask the shop.');
    assert.ok(refusal.details?.some(([name, value]) => name === 'rule' && value === 'none'));
  });

  test('names a few of many elements, and nothing that breaks a line', () => {
    const many = statement({ tables: Array.from({ length: 9 }, (_, index) => table(`x`, 'Read', { name: `t${index}\nexplain: x` })) }); // prettier-ignore
    const rules = [about('Allow', { commands: ['SELECT'] })];
    const refusal = refusalOf(fullVerdictOf([policy({ rules })], many), 's');
    assert.match(refusal.message, / and 4 more$/);
    for (const [, value] of refusal.details ?? []) assert.doesNotMatch(value, /\n/);
  });

  test('has a documented code for each reason', () => {
    const unreadable = { protocol: 'Unreadable', because: 'a test' } as const;
    const codes = [
      refusalOf(fullVerdictOf([], select), 's').code,
      refusalOf(fullVerdictOf([policy({})], unreadable), 's', unreadable).code,
      refusalOf(fullVerdictOf([policy({})], select), 's').code,
    ];
    assert.deepEqual(codes, ['no-policy', 'unreadable', 'denied']);
    for (const code of codes) assert.ok(code in errorCodes);
  });
});

test('a mistake in syntax is told as PostgreSQL tells it', () => {
  const error = { message: 'syntax error at or near "x"', position: 8 };
  const unreadable = { protocol: 'Unreadable', because: 'it is no SQL', error } as const;
  const refusal = refusalOf(fullVerdictOf([policy({})], unreadable), 's', unreadable);
  assert.deepEqual(refusal, { code: 'syntax-error', ...error });
});

test('a judge decides the same facts once', () => {
  const judge = new Judge(compiled([policy({})]), { backend: 'shop', who: ada, workload });
  const facts = factsOf(select);
  assert.equal(judge.decide(facts), judge.decide(facts));
  assert.notEqual(judge.decide(factsOf(select)), judge.decide(facts));
  assert.deepEqual(judge.decide(factsOf(select)), judge.decide(facts));
});
