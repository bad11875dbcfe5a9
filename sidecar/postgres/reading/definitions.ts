import type { Effects } from './effects.ts';
import { hasNames, type ResolvedStatement } from './readings.ts';

const maxNames = 1_000;
const any = '*';

/**
 * What definitions that nobody else can see yet, those of an open transaction or of a text's earlier statements, do to
 * names: the catalogue tells of them only once they are committed. `meaning` is the key of the settings that names are
 * looked up under.
 */
export class Definitions {
  /** Names that are gone, with the schemas that they are gone from. */
  readonly #dropped = new Map<string, Set<string>>();
  /** Names that were made where the path begins, with the meaning under which they were: nothing else shows by them. */
  readonly #made = new Map<string, string>();
  readonly #moved = new Set<string>();
  readonly #parents = new Set<string>();
  #uncertain = false;
  #any = false;

  /** Whether there are any. */
  get any(): boolean {
    return this.#any;
  }

  add({ catalogue, opaque, moves, drops, makes, adopts }: Effects, meaning: string): void {
    this.#any ||= catalogue;
    if (!this.#any) return;
    for (const { schema, name } of drops) {
      this.#dropped.set(name, (this.#dropped.get(name) ?? new Set()).add(schema ?? any));
      if (name === any) this.#made.clear();
      else this.#made.delete(name);
    }
    for (const { schema, name } of makes) {
      const places = this.#dropped.get(name);
      if (schema === undefined) this.#made.set(name, meaning);
      else if (places?.delete(schema) && places.size === 0) this.#dropped.delete(name);
    }
    for (const name of adopts) this.#parents.add(name);
    for (const name of moves) this.#moved.add(name);
    if (moves.length > 0) for (const name of this.#parents) this.#moved.add(name);
    this.#uncertain ||= opaque || moves.length > 0;
    this.#bound();
  }

  /** Whether a name of a statement may stand for something else than the catalogue says. */
  mayChange(statement: ResolvedStatement, meaning: string): boolean {
    const { survey, facts, unknown } = statement;
    if (this.#uncertain && unknown.length > 0) return true;
    if (this.#moved.has(any) && hasNames(statement)) return true;
    // What is defined there was what had to be defined to give it the name.
    const moved = facts.tables.some(
      ({ name, access }) => access !== 'Define' && this.#moved.has(name),
    );
    if (moved) return true;
    if (this.#dropped.size === 0) return false;
    const made = new Set(survey.makes.map(({ name }) => name));
    return survey.relations.some(
      ({ schema, name, access }) =>
        schema === undefined &&
        (this.#dropped.has(name) || this.#dropped.has(any)) &&
        this.#made.get(name) !== meaning &&
        !(made.has(name) && access === 'Define'),
    );
  }

  clear(): void {
    this.#dropped.clear();
    this.#made.clear();
    this.#moved.clear();
    this.#parents.clear();
    this.#uncertain = false;
    this.#any = false;
  }

  /** Past so many names all count. */
  #bound(): void {
    if (this.#dropped.size > maxNames) {
      this.#dropped.clear();
      this.#dropped.set(any, new Set([any]));
    }
    if (this.#moved.size > maxNames || this.#parents.size > maxNames) {
      this.#moved.clear();
      this.#parents.clear();
      this.#moved.add(any);
    }
    if (this.#made.size > maxNames) this.#made.clear();
  }
}
