import { BackendTag } from '#core/postgres/backend.ts';
import type { Expectations } from './expectations.ts';
import type { Effect, Reply } from './items.ts';
import type { Joined } from './joined.ts';
import { backendMisbehaved } from './misbehaved.ts';
import type { SettingsQuery } from './reading/settings-query.ts';

/**
 * Asks the backend behind everything that was sent. A Sync follows, or a Query behind it would join what the lane has
 * begun by asking; unless it would commit what the agent has begun, or end a portal that was bound.
 */
export function ask(
  query: SettingsQuery,
  joined: Joined,
  mayEnd: boolean,
  expected: Expectations,
): readonly Effect[] {
  expected.push({ kind: 'own-query', query });
  const asked: Effect = { kind: 'control', control: { kind: 'own-query', query } };
  if (mayEnd && !joined.joined) return [asked, sync(expected)];
  joined.asks();
  return [asked, { kind: 'control', control: { kind: 'own-flush' } }];
}

/** A Sync before a Query or FunctionCall of the agent, which would join what the lane alone has begun. */
export function syncBefore(joined: Joined, expected: Expectations): readonly Effect[] {
  return joined.onlyByLane ? [sync(expected)] : [];
}

function sync(expected: Expectations): Effect {
  expected.push({ kind: 'own-sync' });
  return { kind: 'control', control: { kind: 'own-sync' } };
}

/** Says what a message is that comes while a query of the lane's own is answered. @throws ChaperoneError. */
export function ownAnswer(query: SettingsQuery, tag: number): Reply {
  if (!ownAnswers.has(tag)) throw backendMisbehaved(tag);
  return { kind: 'own', query };
}

const ownAnswers: ReadonlySet<number> = new Set([
  BackendTag.ParseComplete,
  BackendTag.BindComplete,
  BackendTag.DataRow,
  BackendTag.CommandComplete,
  BackendTag.CloseComplete,
]);
