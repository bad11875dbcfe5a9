import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { combine } from '#core/policy/combine.ts';
import { decideUnknownHost } from '#core/policy/unknown-host.ts';
import { policy } from '../../support/policies.ts';

function made(name: string, mode: 'Observe' | 'Enforce', unknownHosts: 'Record' | 'Deny') {
  const made = policy({ name, mode });
  return { ...made, spec: { ...made.spec, unknownHosts } };
}

describe('of what no Backend has', () => {
  const cases: [string, Parameters<typeof made>[], string][] = [
    ['nothing passes without a policy', [], 'Deny Deny no-policy undefined'],
    ['everything passes under Observe', [['a', 'Observe', 'Record']], 'Allow Allow observe AuditPolicy/local/a'],
    ['a trial says what it would do', [['a', 'Observe', 'Record'], ['b', 'Observe', 'Deny']], 'Allow Deny observe AuditPolicy/local/b'],
    ['a trial does not bind', [['a', 'Observe', 'Deny'], ['b', 'Enforce', 'Record']], 'Allow Deny unknown-host AuditPolicy/local/b'],
    ['one policy that enforces can deny', [['a', 'Enforce', 'Record'], ['b', 'Enforce', 'Deny']], 'Deny Deny unknown-host AuditPolicy/local/b'],
  ]; // prettier-ignore
  for (const [title, policies, verdict] of cases)
    test(title, () => {
      const decided = decideUnknownHost(combine(policies.map((each) => made(...each))), 'r');
      assert.equal(`${decided.action} ${decided.wouldBe} ${decided.reason} ${decided.policy}`, verdict);
      assert.equal(decided.revision, 'r');
    });
}); // prettier-ignore
