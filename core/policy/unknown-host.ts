import type { RecordedVerdict } from '../record/kinds.ts';
import type { EffectivePolicy } from './combine.ts';
import { nameOf } from './resources.ts';

/**
 * Decides about a name or an address that no Backend has, as `unknownHosts` says: the policies that enforce for what
 * becomes of it, and all of them for what would.
 */
export function decideUnknownHost(
  policy: EffectivePolicy | undefined,
  revision: string,
): RecordedVerdict {
  const [first] = policy?.policies ?? [];
  if (!policy || !first) return { action: 'Deny', wouldBe: 'Deny', reason: 'no-policy', revision };
  const denying = policy.policies.filter(({ spec }) => spec.unknownHosts === 'Deny');
  const binding = denying.find(({ spec }) => spec.mode === 'Enforce');
  const enforcing = policy.policies.find(({ spec }) => spec.mode === 'Enforce');
  return {
    action: binding ? 'Deny' : 'Allow',
    wouldBe: denying.length > 0 ? 'Deny' : 'Allow',
    reason: policy.enforcing ? 'unknown-host' : 'observe',
    policy: nameOf(binding ?? enforcing ?? denying[0] ?? first),
    revision,
  };
}
