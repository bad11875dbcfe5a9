import type { Facts } from '../facts.ts';
import type { Unreadable } from '../operation.ts';
import type { RecordedVerdict } from '../record/kinds.ts';
import type { EffectivePolicy } from './resolve.ts';

/**
 * Decides one operation. Nothing is allowed without a policy, and what could not be read is never allowed under
 * Enforce. The would-be verdict says what all policies, observing ones included, would have done.
 */
export function decide(
  policy: EffectivePolicy | undefined,
  facts: Facts | Unreadable,
  revision: string,
): RecordedVerdict {
  if (!policy) return { action: 'Deny', wouldBe: 'Deny', reason: 'no-policy', revision };
  const { enforcing, defaultAction, wouldBe } = policy;
  if (facts.protocol === 'Unreadable') {
    const action = enforcing ? 'Deny' : 'Allow';
    return {
      action,
      wouldBe: 'Deny',
      reason: 'unreadable',
      policy: defaultAction.policy,
      revision,
    };
  }
  return {
    action: defaultAction.action,
    wouldBe: wouldBe.action,
    reason: enforcing ? 'default-action' : 'observe',
    policy: defaultAction.policy,
    revision,
  };
}
