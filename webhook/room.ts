/** How much is held at once, in a unit of whoever holds it. */
export interface RoomOptions {
  readonly size: number;
  /** Of that one asker's; undefined: all. */
  readonly sizeOfOne?: number;
  /** How long somebody waits for room, in milliseconds. */
  readonly waitMs: number;
  /** Who waits beyond them is sent away at once. */
  readonly maxWaiting: number;
}

interface Waiting {
  readonly who: string;
  readonly size: number;
  readonly begin: (leave: (() => void) | undefined) => void;
}

/** Bounds what is held at once, however many ask: who finds no room waits a moment, in turn with all who would fit. */
export class Room {
  readonly #options: RoomOptions;
  readonly #ofOne = new Map<string, number>();
  readonly #waiting = new Set<Waiting>();
  #held = 0;

  constructor(options: RoomOptions) {
    this.#options = options;
  }

  /** Returns what is to be called, once, when the room is free again; undefined where there was none in time. */
  async enter(who: string, size: number): Promise<(() => void) | undefined> {
    if (this.#fits(who, size)) return this.#take(who, size);
    if (this.#waiting.size >= this.#options.maxWaiting) return undefined;
    const { promise, resolve: begin } = Promise.withResolvers<(() => void) | undefined>();
    const waiting = { who, size, begin };
    this.#waiting.add(waiting);
    const timer = setTimeout(() => {
      this.#waiting.delete(waiting);
      begin(undefined);
    }, this.#options.waitMs);
    return promise.finally(() => clearTimeout(timer));
  }

  #fits(who: string, size: number): boolean {
    const { size: all, sizeOfOne: own = all } = this.#options;
    return this.#held + size <= all && (this.#ofOne.get(who) ?? 0) + size <= own;
  }

  #take(who: string, size: number): () => void {
    this.#count(who, size);
    return () => {
      this.#count(who, -size);
      for (const waiting of this.#waiting) {
        if (!this.#fits(waiting.who, waiting.size)) continue;
        this.#waiting.delete(waiting);
        waiting.begin(this.#take(waiting.who, waiting.size));
      }
    };
  }

  #count(who: string, size: number): void {
    this.#held += size;
    const own = (this.#ofOne.get(who) ?? 0) + size;
    if (own === 0) this.#ofOne.delete(who);
    else this.#ofOne.set(who, own);
  }
}
