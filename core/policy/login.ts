import type { Principal } from '../identity/principal.ts';
import { Effort, parseSetting } from './expression.ts';
import type { PostgresSettings } from './resources.ts';
import { principalTerms } from './vocabulary.ts';

/** Settings by name, or why one has no value for somebody: then the login must not go on. */
export type LoginSettings =
  | { readonly settings: ReadonlyMap<string, string>; readonly problem?: never }
  | { readonly settings?: never; readonly problem: string };

const maxValueLength = 4_096;

/** Works out what a Backend's login sets for somebody. The problem says which setting, and holds nothing of the principal. */
export function settingsFor(settings: PostgresSettings['settings'], who: Principal): LoginSettings {
  const values = new Map<string, string>();
  const terms = principalTerms(who);
  const effort = new Effort();
  for (const { name, value: text } of settings) {
    const { expression, problem } = parseSetting(text);
    if (!expression) return { problem: `the setting ${name}: ${problem}` };
    const { value, error } = expression.over(terms, effort);
    if (error !== undefined) return { problem: `the setting ${name}: ${error}` };
    if (typeof value !== 'string' || value.length > maxValueLength || value.includes('\0'))
      return {
        problem: `the setting ${name}: want a string of at most ${maxValueLength} characters, without NUL`,
      };
    values.set(name, value);
  }
  return { settings: values };
}
