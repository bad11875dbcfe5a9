import type { Effects } from './effects.ts';
import type { ResolvedStatement } from './readings.ts';

const maxDropped = 1_000;

/**
 * What definitions that nobody else can see yet, those of an open transaction or of a text's earlier statements, do to
 * names: the catalogue tells of them only once they are committed.
 */
export class Definitions {
  readonly #dropped = new Set<string>();
  #moved = false;
  #any = false;

  /** Whether there are any. */
  get any(): boolean {
    return this.#any;
  }

  add({ catalogue, moves, drops, creates }: Effects): void {
    this.#any ||= catalogue;
    if (this.#any) for (const name of drops) this.#dropped.add(name);
    for (const name of creates) this.#dropped.delete(name);
    this.#moved ||= moves || this.#dropped.size > maxDropped;
  }

  /** Whether a name of a statement may stand for something else than the catalogue says. */
  mayChange({ survey, unknown }: Pick<ResolvedStatement, 'survey' | 'unknown'>): boolean {
    if (this.#moved && unknown.length > 0) return true;
    if (this.#dropped.size === 0) return false;
    const creates = survey.commands[0].startsWith('CREATE');
    return survey.relations.some(
      ({ schema, name, access }) =>
        schema === undefined &&
        (this.#dropped.has(name) || this.#dropped.has('*')) &&
        !(creates && access === 'Define'), // what it creates itself
    );
  }

  clear(): void {
    this.#dropped.clear();
    this.#moved = false;
    this.#any = false;
  }
}
