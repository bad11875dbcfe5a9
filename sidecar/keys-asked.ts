export interface KeysAskedOptions {
  /** Asks the controller to fetch a provider's keys; says whether it will. */
  readonly ask: (provider: string) => Promise<boolean>;
  /** Of a clock that never goes back. */
  readonly nowMs: () => number;
}

const minAskedMs = 60_000; // tokens are made by whoever likes
const waitMs = 5_000;
const maxProviders = 64;

/** Asks for keys of issuers, and waits for the bundle that brings them. */
export class KeysAsked {
  readonly #options: KeysAskedOptions;
  readonly #askedMs = new Map<string, number>();
  #next = Promise.withResolvers<void>();

  constructor(options: KeysAskedOptions) {
    this.#options = options;
  }

  /** Returns once a bundle came, or it has taken too long; false where this provider was asked for within the minute. */
  async refresh(provider: string): Promise<boolean> {
    const now = this.#options.nowMs();
    const last = this.#askedMs.get(provider) ?? -Infinity;
    if (now - last < minAskedMs && now - last > waitMs) return false;
    const came = this.#next.promise;
    if (now - last >= minAskedMs) {
      if (this.#askedMs.size >= maxProviders) this.#askedMs.clear();
      this.#askedMs.set(provider, now);
      if (!(await this.#options.ask(provider).catch(() => false))) return false;
    }
    await Promise.race([came, new Promise<void>((resolve) => void setTimeout(resolve, waitMs).unref())]); // prettier-ignore
    return true;
  }

  /** A bundle came. */
  came(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }
}
