/** What is held at once, in bytes. */
export interface RoomOptions {
  readonly bytes: number;
  /** Of these one asker's; undefined: all. */
  readonly bytesOfOne?: number;
  /** How long somebody waits for room, in milliseconds. */
  readonly waitMs: number;
  /** Who waits beyond them is sent away at once. */
  readonly maxWaiting: number;
}

interface Waiting {
  readonly who: string;
  readonly bytes: number;
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
  async enter(who: string, bytes: number): Promise<(() => void) | undefined> {
    if (this.#fits(who, bytes)) return this.#take(who, bytes);
    if (this.#waiting.size >= this.#options.maxWaiting) return undefined;
    const { promise, resolve: begin } = Promise.withResolvers<(() => void) | undefined>();
    const waiting = { who, bytes, begin };
    this.#waiting.add(waiting);
    const timer = setTimeout(() => {
      this.#waiting.delete(waiting);
      begin(undefined);
    }, this.#options.waitMs);
    return promise.finally(() => clearTimeout(timer));
  }

  #fits(who: string, bytes: number): boolean {
    const { bytes: all, bytesOfOne: own = all } = this.#options;
    return this.#held + bytes <= all && (this.#ofOne.get(who) ?? 0) + bytes <= own;
  }

  #take(who: string, bytes: number): () => void {
    this.#count(who, bytes);
    return () => {
      this.#count(who, -bytes);
      for (const waiting of this.#waiting) {
        if (!this.#fits(waiting.who, waiting.bytes)) continue;
        this.#waiting.delete(waiting);
        waiting.begin(this.#take(waiting.who, waiting.bytes));
      }
    };
  }

  #count(who: string, bytes: number): void {
    this.#held += bytes;
    const own = (this.#ofOne.get(who) ?? 0) + bytes;
    if (own === 0) this.#ofOne.delete(who);
    else this.#ofOne.set(who, own);
  }
}
