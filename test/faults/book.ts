/** What became of a statement, as far as its agent knows. */
export const fates = {
  /** No answer came. */
  sent: 0,
  answered: 1,
  /** The backend answered with an error. */
  failed: 2,
  /** A policy denied it. */
  denied: 3,
  /** It could not be recorded, and the agent was told that it was not run. */
  notRun: 4,
  /** It was run, and the agent was told that the answer could not be recorded. */
  withheld: 5,
} as const;

export type Fate = keyof typeof fates;

const names = Object.keys(fates) as Fate[]; // of the literal above

/** Keeps what became of every statement, by the number in its mark: six bytes each, so that a million are no burden. */
export class Book {
  #fates = new Uint8Array(65_536);
  #rows = new Uint32Array(65_536);
  readonly #counts = new Map<Fate, number>();
  #last = 0;

  /** How many statements were sent, whatever became of them. */
  get sent(): number {
    return this.#last;
  }

  count(fate: Fate): number {
    return fate === 'sent' ? this.sent : (this.#counts.get(fate) ?? 0);
  }

  /** Enters a statement that is about to be sent. Returns its number, from 1. */
  begin(): number {
    this.#last += 1;
    if (this.#last >= this.#fates.length) this.#grow();
    return this.#last;
  }

  end(mark: number, fate: Fate, rows = 0): void {
    this.#fates[mark] = fates[fate];
    this.#rows[mark] = rows;
    this.#counts.set(fate, (this.#counts.get(fate) ?? 0) + 1);
  }

  *entries(): Generator<{ mark: number; fate: Fate; rows: number }> {
    for (let mark = 1; mark <= this.#last; mark += 1)
      yield {
        mark,
        fate: names[this.#fates[mark] ?? 0] ?? 'sent',
        rows: this.#rows[mark] ?? 0,
      };
  }

  #grow(): void {
    const [before, rows] = [this.#fates, this.#rows];
    this.#fates = new Uint8Array(2 * before.length);
    this.#fates.set(before);
    this.#rows = new Uint32Array(2 * rows.length);
    this.#rows.set(rows);
  }
}
