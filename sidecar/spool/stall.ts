/** Past an upgrade of the collector, and early enough for somebody to look before the spool is full. */
const longMs = 300_000;

export interface StallOptions {
  readonly nowMs: () => number;
  /** Nothing was shipped for long, or something is again. */
  readonly onChange: (state: 'stalled' | 'over') => void;
}

/**
 * How long records have waited that were to be shipped. One failure is nothing; an hour of them is a pod whose records are
 * in it alone.
 */
export class Stall {
  readonly #options: StallOptions;
  #sinceMs: number | undefined;
  #told = false;

  constructor(options: StallOptions) {
    this.#options = options;
  }

  /** Since the first failure behind the last success; 0 where there is none. */
  get seconds(): number {
    return this.#sinceMs === undefined ? 0 : (this.#options.nowMs() - this.#sinceMs) / 1_000;
  }

  /** Something was not taken; it is tried again and again. */
  failed(): void {
    this.#sinceMs ??= this.#options.nowMs();
    if (this.#told || this.#options.nowMs() - this.#sinceMs < longMs) return;
    this.#told = true;
    this.#options.onChange('stalled');
  }

  shipped(): void {
    this.#sinceMs = undefined;
    if (this.#told) this.#options.onChange('over');
    this.#told = false;
  }
}
