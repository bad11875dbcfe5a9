import type { Facts, StatementFacts } from '../facts.ts';
import type { Unreadable } from '../operation.ts';

/** Statements that give settings back the value that they had at login, which for pinned ones is the pinned one. */
const restoring: ReadonlySet<string> = new Set(['RESET', 'DISCARD']);

/** By these a setting is set as well: names of before (map_old_guc_names of PostgreSQL), and its value for one transaction. */
const otherNames: ReadonlyMap<string, string> = new Map([
  ['default_transaction_deferrable', 'transaction_deferrable'],
  ['default_transaction_isolation', 'transaction_isolation'],
  ['default_transaction_read_only', 'transaction_read_only'],
  ['maintenance_work_mem', 'vacuum_mem'],
  ['ssl_groups', 'ssl_ecdh_curve'],
  ['work_mem', 'sort_mem'],
]);

/** Returns the names by which pinned settings may be set, in lower case as `pinned` is. */
export function namesOfPinned(pinned: Iterable<string>): ReadonlySet<string> {
  const names = new Set(pinned);
  for (const [name, other] of otherNames)
    if (names.has(name) || names.has(other)) names.add(name).add(other);
  return names;
}

/**
 * Whether an operation may change a setting that the gateway has pinned at login: it names one, or nobody can say which
 * it changes, or what it does at all. `pinned` is what `namesOfPinned` returned. What has a mistake in its syntax may be
 * right for another version of PostgreSQL.
 */
export function mayChangePinned(pinned: ReadonlySet<string>, facts: Facts | Unreadable): boolean {
  if (pinned.size === 0 || facts.protocol === 'TCP') return false;
  if (facts.protocol === 'Unreadable') return true;
  return facts.statements.some((statement) => {
    const { commands, settings, isOpaque } = statement;
    if (isOpaque || settings.some((name) => pinned.has(name) && !onlyTakes(name, statement)))
      return true;
    return settings.includes('*') && !commands.every((command) => restores(command));
  });
}

/** A transaction that is made read-only has fewer rights than before, whatever is pinned. */
function onlyTakes(name: string, { readOnly }: StatementFacts): boolean {
  return name === 'transaction_read_only' && readOnly;
}

function restores(command: string): boolean {
  const [word = ''] = command.split(' ');
  return restoring.has(word);
}
