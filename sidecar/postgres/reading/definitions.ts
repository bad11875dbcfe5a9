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
    for (const name of drops) this.#dropped.add(name);
    for (const name of creates) this.#dropped.delete(name);
    this.#moved ||= moves || this.#dropped.size > maxDropped;
  }

  /** Whether a name of a statement may stand for something else than the catalogue says. */
  mayChange({ survey, unknown }: Pick<ResolvedStatement, 'survey' | 'unknown'>): boolean {
    if (this.#moved && unknown.length > 0) return true;
    if (this.#dropped.size === 0 || survey.changesCatalogue) return false;
    return survey.relations.some(({ schema, name }) => !schema && this.#dropped.has(name));
  }

  clear(): void {
    this.#dropped.clear();
    this.#moved = false;
    this.#any = false;
  }
}
