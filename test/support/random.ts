/** A seeded generator (mulberry32): a failing test names its seed and can be run again. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to, and without, `below`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4_294_967_296) * limit);
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }
}

/** A tenth of a large count in `npm test`, all of it in `npm run test:long`. */
export function scaled(count: number): number {
  return Math.ceil(count * Number(process.env['CHAPERONE_TEST_SCALE'] ?? '0.1'));
}

/** Whether counts are whole. */
export const isWhole = scaled(10) === 10;
