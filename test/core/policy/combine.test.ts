import assert from 'node:assert/strict';
import { test } from 'node:test';
import { combine } from '#core/policy/combine.ts';
import { noLimits } from '#core/policy/rules.ts';
import type { AuditPolicy } from '#core/policy/resources.ts';
import { policy, type PolicyGiven } from '../../support/policies.ts';

function made(given: PolicyGiven, spec: Partial<AuditPolicy['spec']>): AuditPolicy {
  const made = policy(given);
  return { ...made, spec: { ...made.spec, ...spec } };
}

test('the least limits hold of those that enforce, and none of those that observe', () => {
  const a = made({ name: 'a' }, { limits: { ...noLimits, sessions: 5, rowsPerHour: 10 } });
  const b = made({ name: 'b' }, { limits: { ...noLimits, sessions: 3 } });
  const trial = made({ name: 'c', mode: 'Observe' }, { limits: { ...noLimits, sessions: 1 } });
  assert.deepEqual(combine([a, b, trial])?.limits, { ...noLimits, sessions: 3, rowsPerHour: 10 });
  assert.deepEqual(combine([trial])?.limits, noLimits);
});

test('unknown hosts are denied as soon as one that enforces says so', () => {
  const denies = { unknownHosts: 'Deny' } as const;
  const recorded = policy({ name: 'a' });
  assert.equal(combine([recorded, made({ name: 'b' }, denies)])?.unknownHosts, 'Deny');
  assert.equal(combine([recorded, made({ name: 'b', mode: 'Observe' }, denies)])?.unknownHosts, 'Record'); // prettier-ignore
});

test('inbound ports are those that any names', () => {
  const a = made({ name: 'a' }, { inboundPorts: [9000, 80] });
  const b = made({ name: 'b', mode: 'Observe' }, { inboundPorts: [80, 443] });
  assert.deepEqual(combine([a, b])?.inboundPorts, [80, 443, 9000]);
});

test('policies are kept sorted, whatever order they came in', () => {
  const [a, b] = [policy({ name: 'a' }), policy({ name: 'b' })];
  assert.deepEqual(combine([b, a]), combine([a, b]));
  assert.deepEqual(combine([b, a])?.policies, [a, b]);
});
