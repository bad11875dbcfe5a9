/** Remembers things by the seq of a record, or another key, and forgets the oldest when they weigh more than `maxWeight` together. */
export class Recent<T, Key extends number | string = number> {
  readonly #entries = new Map<Key, { readonly value: T; readonly weight: number }>();
  readonly #maxWeight: number;
  #weight = 0;

  constructor(maxWeight: number) {
    this.#maxWeight = maxWeight;
  }

  get(key: Key | undefined): T | undefined {
    return key === undefined ? undefined : this.#entries.get(key)?.value;
  }

  /** Returns what was forgotten to make room, which may be the value itself. */
  set(key: Key, value: T, weight = 1): readonly T[] {
    this.delete(key);
    this.#entries.set(key, { value, weight });
    this.#weight += weight;
    const forgotten: T[] = [];
    for (const [oldest, entry] of this.#entries) {
      if (this.#weight <= this.#maxWeight) break;
      this.delete(oldest);
      forgotten.push(entry.value);
    }
    return forgotten;
  }

  delete(key: Key): void {
    const entry = this.#entries.get(key);
    if (entry && this.#entries.delete(key)) this.#weight -= entry.weight;
  }
}
