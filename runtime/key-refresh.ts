import type { JWK } from 'jose';
import type { ResolvedProvider } from '#core/policy/resolve.ts';

export interface KeyRefreshOptions {
  readonly fetch: (provider: ResolvedProvider, signal: AbortSignal) => Promise<readonly JWK[]>;
  /** Called when a provider's keys were fetched after `track` had stopped waiting for them, or anew. */
  readonly onKeys: () => void;
  /** Called for each fetch that failed; the keys that were there stay. */
  readonly onFailure: (provider: string, error: unknown) => void;
  readonly signal: AbortSignal;
  /** Of a clock that never goes back. */
  readonly nowMs: () => number;
}

const maxAgeMs = 10 * 60_000;
const firstRetryMs = 1_000;
const maxRetryMs = 60_000;
const minAskedMs = 60_000; // between two fetches that tokens with unknown keys can cause

/** Keys of one provider, and what is under way for them. */
interface Entry {
  keys: readonly JWK[];
  failures: number;
  askedMs: number;
  fetching: Promise<void> | undefined;
  timer: NodeJS.Timeout | undefined;
}

/** Keeps the keys of issuers current: fetches them, every ten minutes anew, and after failures ever more rarely. */
export class KeyRefresh {
  readonly #options: KeyRefreshOptions;
  readonly #entries = new Map<string, Entry>();

  constructor(options: KeyRefreshOptions) {
    this.#options = options;
    options.signal.addEventListener('abort', () => this.retain([]), { once: true });
  }

  keysOf(provider: ResolvedProvider): readonly JWK[] {
    return this.#entries.get(placeOf(provider))?.keys ?? [];
  }

  /** Begins with the providers that are new, and returns once each of those was tried. Never rejects. */
  async track(providers: readonly ResolvedProvider[]): Promise<void> {
    const added = providers.filter((provider) => !this.#entries.has(placeOf(provider)));
    if (this.#options.signal.aborted) return;
    await Promise.all(
      added.map((provider) => {
        const entry: Entry = {
          keys: [],
          failures: 0,
          askedMs: -Infinity,
          fetching: undefined,
          timer: undefined,
        };
        this.#entries.set(placeOf(provider), entry);
        return this.#fetch(provider, entry);
      }),
    );
  }

  /** Forgets all other providers. */
  retain(providers: readonly ResolvedProvider[]): void {
    const places = new Set(providers.map(placeOf));
    for (const [place, entry] of this.#entries) {
      if (places.has(place)) continue;
      clearTimeout(entry.timer);
      this.#entries.delete(place);
    }
  }

  /**
   * Fetches a provider's keys now, because a token names one that is not there. All that ask at the same time share one
   * fetch, and there is at most one a minute: tokens are made by whoever likes. Returns false when it was too soon.
   */
  async refresh(provider: ResolvedProvider): Promise<boolean> {
    const entry = this.#entries.get(placeOf(provider));
    if (!entry) return false;
    if (entry.fetching === undefined) {
      const now = this.#options.nowMs();
      if (now - entry.askedMs < minAskedMs) return false;
      entry.askedMs = now;
    }
    await (entry.fetching ?? this.#fetch(provider, entry));
    return true;
  }

  #fetch(provider: ResolvedProvider, entry: Entry): Promise<void> {
    clearTimeout(entry.timer);
    entry.fetching = this.#fetchAndPlan(provider, entry).finally(
      () => (entry.fetching = undefined),
    );
    return entry.fetching;
  }

  async #fetchAndPlan(provider: ResolvedProvider, entry: Entry): Promise<void> {
    const { fetch, onKeys, onFailure, signal } = this.#options;
    const isCurrent = (): boolean => this.#entries.get(placeOf(provider)) === entry;
    try {
      const keys = await fetch(provider, signal);
      if (!isCurrent()) return;
      entry.keys = keys;
      entry.failures = 0;
      onKeys();
    } catch (error) {
      if (!isCurrent()) return;
      entry.failures += 1;
      onFailure(provider.name, error);
    }
    const delayMs =
      entry.failures === 0
        ? maxAgeMs
        : Math.min(maxRetryMs, firstRetryMs * 2 ** (entry.failures - 1));
    entry.timer = setTimeout(() => void this.#fetch(provider, entry), delayMs);
  }
}

/** A provider that moves is another one: its old keys say nothing about the new place. */
function placeOf({ name, issuer, jwksUri }: ResolvedProvider): string {
  return JSON.stringify([name, issuer, jwksUri]);
}
