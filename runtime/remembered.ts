import { hash } from 'node:crypto';

/** An answer with how long it holds; 0 for one that is not to be remembered. */
export interface Answer<T> {
  readonly value: T;
  readonly forMs: number;
}

export interface RememberedOptions<T> {
  readonly ask: (token: string) => Promise<Answer<T>>;
  /** Answers that are kept: past it the oldest is forgotten. */
  readonly maxKept: number;
  /** Questions under way at once. */
  readonly maxAsking: number;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
}

/** Answers about tokens, each asked once by however many want it, and kept by the token's hash for as long as it holds. */
export class Remembered<T> {
  readonly #options: RememberedOptions<T>;
  readonly #kept = new Map<string, { readonly value: T; readonly untilMs: number }>();
  readonly #asking = new Map<string, Promise<T>>();

  constructor(options: RememberedOptions<T>) {
    this.#options = options;
  }

  /** Undefined where too much is asked already. Rejects as the question did, which is then asked anew the next time. */
  about(token: string): Promise<T> | undefined {
    const key = hash('sha256', token, 'base64');
    const kept = this.#kept.get(key);
    if (kept && this.#options.now() < kept.untilMs) return Promise.resolve(kept.value);
    const asking = this.#asking.get(key);
    if (asking) return asking;
    if (this.#asking.size >= this.#options.maxAsking) return undefined;
    const answer = this.#ask(token, key).finally(() => this.#asking.delete(key));
    this.#asking.set(key, answer);
    return answer;
  }

  async #ask(token: string, key: string): Promise<T> {
    const { ask, now, maxKept } = this.#options;
    const askedMs = now();
    const { value, forMs } = await ask(token);
    this.#kept.delete(key);
    if (forMs <= 0) return value;
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size < maxKept) break;
      this.#kept.delete(oldest);
    }
    this.#kept.set(key, { value, untilMs: askedMs + forMs });
    return value;
  }
}
