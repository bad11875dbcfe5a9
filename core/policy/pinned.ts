import type { Facts } from '../facts.ts';
import type { Unreadable } from '../operation.ts';

/** Statements that give settings back the value that they had at login, which for pinned ones is the pinned one. */
const restoring: ReadonlySet<string> = new Set(['RESET', 'DISCARD']);

/**
 * Whether an operation may change a setting that the gateway has pinned at login: it names one, or nobody can say which
 * it changes, or what it does at all. `pinned` is in lower case.
 */
export function mayChangePinned(pinned: ReadonlySet<string>, facts: Facts | Unreadable): boolean {
  if (pinned.size === 0 || facts.protocol === 'TCP') return false;
  if (facts.protocol === 'Unreadable') return facts.error === undefined;
  return facts.statements.some(({ commands, settings, isOpaque }) => {
    if (isOpaque || settings.some((name) => pinned.has(name))) return true;
    return settings.includes('*') && !commands.every((command) => restores(command));
  });
}

function restores(command: string): boolean {
  const [word = ''] = command.split(' ');
  return restoring.has(word);
}
