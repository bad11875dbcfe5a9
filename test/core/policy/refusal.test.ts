import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { errorCodes, type ErrorCode } from '#core/errors.ts';
import type { UnreadableCause } from '#core/operation.ts';
import { Judge } from '#core/policy/judge.ts';
import { refusalOf } from '#core/policy/refusal.ts';
import type { VerdictReason } from '#core/record/kinds.ts';
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

const byReason: Readonly<Record<VerdictReason, readonly [code: ErrorCode, hint: RegExp]>> = {
  rule: ['denied', /A rule forbids this/],
  'default-action': ['denied', /Ask the owner/],
  'not-covered': ['denied', /leave out what is not/],
  observe: ['denied', /Ask the owner/],
  unreadable: ['denied', /Ask the owner/],
  opaque: ['denied', /send its statements themselves/],
  error: ['denied', /could not be evaluated/],
  'approval-unavailable': ['denied', /needs an approval/],
  'no-policy': ['no-policy', /Ask the owner/],
  'pinned-setting': ['denied', /leave it as it is/],
  limit: ['denied', /Use less/],
  empty: ['denied', /Ask the owner/],
  'unknown-host': ['denied', /No Backend has this host/],
  'ambiguous-host': ['denied', /several Backends/],
  'denied-address': ['denied', /not for agents/],
};

const byCause: Readonly<Record<UnreadableCause, readonly [code: ErrorCode, hint: RegExp]>> = {
  'it is no SQL': ['unreadable', /^Mend the statement/],
  'nul byte': ['unreadable', /byte zero/],
  'too long': ['too-large', /as parameters/],
  'too deep': ['unreadable', /less nesting/],
  'too much in it': ['unreadable', /Send less/],
  'took too long': ['unreadable', /Send less/],
  'killed the parser': ['unreadable', /Send less/],
  'not understood': ['unreadable', /plainer form/],
  'its encoding or its backslashes may mean something else': ['unreadable', /UTF8/],
  'a statement in it changes what those behind it mean': ['unreadable', /one at a time/],
  'its names may mean something else than when it was bound': ['unreadable', /Bind it anew/],
  'too many rules for what it holds': ['unreadable', /Send less/],
  'its settings are not known': ['unreadable', /Try again/],
  'it was not read in time': ['unreadable', /Try again/],
  busy: ['unreadable', /Try again/],
  stopped: ['unreadable', /Connect again/],
};

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

  for (const [reason, [code, hint]] of Object.entries(byReason))
    test(`of the reason ${reason} has a documented code and says what to do`, () => {
      const recorded = { action: 'Deny', wouldBe: 'Deny', reason: reason as VerdictReason, revision: 'r' } as const; // prettier-ignore
      const refusal = refusalOf({ recorded, message: undefined, uncovered: [] }, 's');
      assert.equal(refusal.code, code);
      assert.ok(refusal.code in errorCodes);
      assert.match(refusal.hint ?? '', hint);
      assert.ok(refusal.details?.some(([name, value]) => name === 'explain' && value === 'chaperone explain s')); // prettier-ignore
    });

  for (const [because, [code, hint]] of Object.entries(byCause))
    test(`of what cannot be judged for "${because}" says what helps against that`, () => {
      const unreadable = { protocol: 'Unreadable', because: because as UnreadableCause } as const;
      const refusal = refusalOf(fullVerdictOf([policy({})], unreadable), 's', unreadable);
      assert.equal(refusal.code, code);
      assert.equal(refusal.message, `this cannot be judged: ${because} (AuditPolicy/local/p enforces)`); // prettier-ignore
      assert.match(refusal.hint ?? '', hint);
    });

  test('says so where rules times elements are too many to judge', () => {
    const name = (index: number): string => `t${index}`;
    const many = statement({ tables: Array.from({ length: 2_000 }, (_, index) => table(name(index))) }); // prettier-ignore
    const rules = Array.from({ length: 1_000 }, () => about('Allow', { commands: ['SELECT'] }));
    const refusal = refusalOf(fullVerdictOf([policy({ rules })], many), 's');
    assert.equal(refusal.code, 'unreadable');
    assert.match(refusal.message, /^this cannot be judged: too many rules for what it holds \(/);
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
