import { BackendTag } from '#core/postgres/backend.ts';
import type { Expectations } from './expectations.ts';
import type { Effect, Reply } from './items.ts';
import { backendMisbehaved } from './misbehaved.ts';
import type { SettingsQuery } from './reading/settings-query.ts';

/**
 * Asks the backend behind everything that was sent. Where nothing was executed since the last Sync one follows, so that no
 * transaction stays open, which a Query behind it would join; else it must not, since it would commit what came before.
 */
export function ask(
  query: SettingsQuery,
  where: 'between' | 'within',
  expected: Expectations,
): readonly Effect[] {
  expected.push({ kind: 'own-query', query });
  const asked: Effect = { kind: 'control', control: { kind: 'own-query', query } };
  if (where === 'within') return [asked, { kind: 'control', control: { kind: 'own-flush' } }];
  expected.push({ kind: 'own-sync' });
  return [asked, { kind: 'control', control: { kind: 'own-sync' } }];
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
