import type { RecordedVerdict } from '#core/record/kinds.ts';
import { printable } from './terminal.ts';

/** What `chaperone explain` ends with where the answer is no. */
export const deniedCode = 5;

/** Says what became of something, and what would if policies that observe enforced. */
export function verdictWord({
  action,
  wouldBe,
}: Pick<RecordedVerdict, 'action' | 'wouldBe'>): string {
  if (action === 'Deny') return 'denied';
  return wouldBe === 'Deny' ? 'allowed, would be denied' : 'allowed';
}

/** Names who decided: `AuditPolicy/local/shop, rule no-ddl (rule)`. */
export function decidedBy({
  policy,
  rule,
  reason,
}: Pick<RecordedVerdict, 'policy' | 'rule' | 'reason'>): string {
  const named = rule === undefined ? (policy ?? 'no policy') : `${policy ?? ''}, rule ${rule}`;
  return `${printable(named)} (${reason})`;
}
