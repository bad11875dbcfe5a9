import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { sqlStateOf } from '#core/errors.ts';
import { combine } from '#core/policy/combine.ts';
import { nameOfLimit, policyOfLimit, refusalOfLimit } from '#core/policy/over.ts';
import { noLimits, type Limits } from '#core/policy/rules.ts';
import { policy } from '../../support/policies.ts';

const names = Object.keys(noLimits) as (keyof Limits)[]; // its keys are those of its type

describe('the refusal of a limit', () => {
  for (const limit of names)
    test(`names ${limit} as the policy does, the policy, and what is to be done`, () => {
      const over = { limit, most: 7, retryMs: undefined };
      const meeting = { met: 'before', policy: 'AuditPolicy/n/p', session: 'abc' } as const;
      const { message, hint, details, code } = refusalOfLimit(over, meeting);
      const name = nameOfLimit(limit);
      assert.doesNotMatch(name, /Ms$/);
      assert.ok(message.includes(`(limit ${name} of AuditPolicy/n/p)`), message);
      assert.match(message, /\b7\b/);
      assert.ok(hint);
      assert.match(sqlStateOf(code), /^(53300|53400|57014|57P01)$/);
      assert.deepEqual(details, [
        ['reason', 'limit'],
        ['policy', 'AuditPolicy/n/p'],
        ['limit', name],
        ['most', '7'],
        ['explain', 'chaperone explain abc'],
      ]);
    });

  test('says when to try again, where that helps', () => {
    const over = { limit: 'statementsPerMinute', most: 7, retryMs: 1_200.5 } as const;
    const meeting = { met: 'before', policy: undefined, session: undefined } as const;
    const { hint, details } = refusalOfLimit(over, meeting);
    assert.equal(hint, 'Try again in 2 s.');
    assert.deepEqual(details?.at(-1), ['retry-after-ms', '1201']);
  });

  test('says what has become of the request', () => {
    const over = { limit: 'rowsPerRequest', most: 7, retryMs: undefined } as const;
    const said = (['before', 'cancelled', 'run'] as const).map(
      (met) => refusalOfLimit(over, { met, policy: 'p', session: 's' }).message.split(')')[1],
    );
    assert.deepEqual(said, [
      '',
      '; this one was cancelled',
      '; the rest of the answer is withheld, the request itself was run',
    ]);
  });
});

describe('the policy of a limit', () => {
  const limited = (
    name: string,
    rowsPerRequest: number,
    mode: 'Enforce' | 'Observe' = 'Enforce',
  ) => {
    // prettier-ignore
    const made = policy({ name, mode });
    return { ...made, spec: { ...made.spec, limits: { ...noLimits, rowsPerRequest } } };
  };

  test('is the enforcing one that sets the least, the first of several', () => {
    const effective = combine([
      limited('z', 5),
      limited('a', 10),
      limited('m', 5),
      limited('b', 1, 'Observe'),
    ]);
    assert.equal(effective && policyOfLimit(effective, 'rowsPerRequest'), 'AuditPolicy/local/m');
  });
});
