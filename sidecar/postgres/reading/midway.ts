import { Definitions } from './definitions.ts';
import { hasNames, type ResolvedText } from './readings.ts';

/**
 * Whether a statement of a text may change what the names of those behind it mean: all of them are judged before any of
 * them runs. `setBefore`: the open transaction has changed settings, which its end takes back.
 */
export function changesMidway(
  { statements }: Pick<ResolvedText, 'statements'>,
  setBefore: boolean,
): boolean {
  const definitions = new Definitions();
  let set = setBefore;
  let meaningChanged = false;
  for (const statement of statements) {
    const { effects } = statement;
    if (meaningChanged && hasNames(statement)) return true;
    if (definitions.mayChange(statement, '')) return true;
    meaningChanged ||= effects.meaning || (effects.ends && set);
    set ||= effects.meaning;
    definitions.add(effects, ''); // what changes the meaning is told above
  }
  return false;
}
