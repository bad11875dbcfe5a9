interface Learned {
  /** By name: when it may be forgotten, unless the address is in use. */
  readonly names: Map<string, number>;
  uses: number;
}

/** How many addresses are remembered, and names of each: an agent can ask for as many as it likes. */
export interface LearnedBounds {
  readonly maxAddresses: number;
  readonly maxNames: number;
}

const keepMs = 3_600_000; // longer than any client remembers an answer whose TTL is at most `maxTtlSeconds`
const bounds: LearnedBounds = { maxAddresses: 8_192, maxNames: 64 };

/** The longest that a client may remember an answer, in seconds: what it dials then is still known here. */
export const maxTtlSeconds = 300;

/**
 * What agents were told of names: which address stands for which. Kept for an hour after it was said or last used, and
 * while a connection uses it; past its bounds the address that was said longest ago goes first.
 */
export class LearnedNames {
  readonly #addresses = new Map<string, Learned>();
  readonly #bounds: LearnedBounds;

  constructor(limits: LearnedBounds = bounds) {
    this.#bounds = limits;
  }

  get size(): number {
    return this.#addresses.size;
  }

  /** Takes note that a name stands for an address, in canonical form. */
  learn(address: string, name: string, nowMs: number): void {
    const learned = this.#addresses.get(address) ?? { names: new Map<string, number>(), uses: 0 };
    // Last said goes last in both maps, so that what comes first is the oldest.
    this.#addresses.delete(address);
    this.#addresses.set(address, learned);
    learned.names.delete(name);
    learned.names.set(name, nowMs + keepMs);
    if (learned.names.size > this.#bounds.maxNames) {
      const [oldest] = learned.names.keys();
      if (oldest !== undefined) learned.names.delete(oldest);
    }
    if (this.#addresses.size > this.#bounds.maxAddresses) this.#forgetOne();
  }

  /** Names that stand for an address now. */
  namesOf(address: string, nowMs: number): readonly string[] {
    const learned = this.#addresses.get(address);
    if (!learned) return [];
    const kept = [...learned.names].filter(([, until]) => learned.uses > 0 || until > nowMs);
    if (kept.length === 0) this.#addresses.delete(address);
    return kept.map(([name]) => name);
  }

  /** Keeps what is known of an address until what this returns is called, and for an hour from then. */
  use(address: string): (nowMs: number) => void {
    const learned = this.#addresses.get(address);
    if (!learned) return () => undefined;
    learned.uses += 1;
    let ended = false;
    return (nowMs) => {
      if (ended) return;
      ended = true;
      learned.uses -= 1;
      for (const name of learned.names.keys()) learned.names.set(name, nowMs + keepMs);
    };
  }

  /** Of those that nothing uses. Where everything is in use connections bound it. */
  #forgetOne(): void {
    for (const [address, { uses }] of this.#addresses) {
      if (uses > 0) continue;
      this.#addresses.delete(address);
      return;
    }
  }
}
