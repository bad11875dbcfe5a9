/** Remembers things by the seq of a record, and forgets the oldest when they weigh more than `maxWeight` together. */
export class Recent<T> {
  readonly #entries = new Map<number, { readonly value: T; readonly weight: number }>();
  readonly #maxWeight: number;
  #weight = 0;

  constructor(maxWeight: number) {
    this.#maxWeight = maxWeight;
  }

  get(seq: number | undefined): T | undefined {
    return seq === undefined ? undefined : this.#entries.get(seq)?.value;
  }

  /** Returns what was forgotten to make room, which may be the value itself. */
  set(seq: number, value: T, weight = 1): readonly T[] {
    this.delete(seq);
    this.#entries.set(seq, { value, weight });
    this.#weight += weight;
    const forgotten: T[] = [];
    for (const [oldest, entry] of this.#entries) {
      if (this.#weight <= this.#maxWeight) break;
      this.delete(oldest);
      forgotten.push(entry.value);
    }
    return forgotten;
  }

  delete(seq: number): void {
    const entry = this.#entries.get(seq);
    if (entry && this.#entries.delete(seq)) this.#weight -= entry.weight;
  }
}
