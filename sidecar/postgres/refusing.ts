import { buildErrorResponse, buildReadyForQuery } from '#core/postgres/backend.ts';
import type { Expectations } from './expectations.ts';
import type { Effect, Refused } from './items.ts';
import { buildRefusal } from './refusal.ts';

/** What PostgreSQL says of any statement in a transaction that has failed. */
export const aborted = buildErrorResponse({
  severity: 'ERROR',
  code: '25P02',
  message: 'current transaction is aborted, commands ignored until end of transaction block',
});

/**
 * Refuses in the place of a message. `here`: nothing is under way and no transaction is open, so that the answer is made
 * here. Else the backend is made to fail at this place: an Execute of a portal, or a CLOSE of a cursor, that does not
 * exist rolls back or fails the transaction exactly as an error of the refused message would have done, and takes away
 * what that would have taken.
 */
export function refuse(
  { simple, drops = false, ends = false, refusal }: Refused,
  here: boolean,
  expected: Expectations,
): readonly Effect[] {
  const error = buildRefusal(refusal);
  // In a transaction that has failed PostgreSQL takes nothing but its end, before it looks at rights.
  const yields = refusal.code === 'denied' && !ends;
  if (here) {
    const bytes = simple ? Buffer.concat([error, buildReadyForQuery('I')]) : error;
    const answer: Effect = { kind: 'answer', bytes };
    if (!drops) return [answer];
    expected.push({ kind: 'own-close' });
    expected.push({ kind: 'own-sync' });
    return [answer, own('own-close'), own('own-sync')];
  }
  if (simple) {
    expected.push({ kind: 'poison', error, yields });
    expected.push({ kind: 'sync' });
    return [own('poison-query')]; // which takes the unnamed statement away itself
  }
  if (drops) expected.push({ kind: 'own-close' });
  expected.push({ kind: 'poison', error, yields });
  return drops ? [own('own-close'), own('poison')] : [own('poison')];
}

type Plain = 'poison' | 'poison-query' | 'own-sync' | 'own-close';

function own(kind: Plain): Effect {
  return { kind: 'control', control: { kind } };
}
