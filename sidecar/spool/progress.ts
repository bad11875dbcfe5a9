const seqs = { written: 0, closed: 1 } as const;
const flags = { waiting: 0, hurry: 1 } as const;
const flagsAt = 8 * Object.keys(seqs).length;

/**
 * Memory that the writer's thread and the worker share, so that a write costs no message: how far the stream is written,
 * and whether the worker waits to be told.
 */
export class Progress {
  readonly memory: SharedArrayBuffer;
  readonly #seqs: BigInt64Array;
  readonly #flags: Int32Array;

  constructor(memory = new SharedArrayBuffer(flagsAt + 4 * Object.keys(flags).length)) {
    this.memory = memory;
    this.#seqs = new BigInt64Array(memory, 0, 2);
    this.#flags = new Int32Array(memory, flagsAt, 2);
  }

  /** The last record that is whole in its file. */
  get written(): number {
    return Number(Atomics.load(this.#seqs, seqs.written));
  }

  set written(seq: number) {
    Atomics.store(this.#seqs, seqs.written, BigInt(seq));
  }

  /** The last record of a segment to which nothing is added any more. */
  get closed(): number {
    return Number(Atomics.load(this.#seqs, seqs.closed));
  }

  set closed(seq: number) {
    Atomics.store(this.#seqs, seqs.closed, BigInt(seq));
  }

  /** Somebody waits until records are committed: they are shipped without waiting for more of them. */
  get hurry(): boolean {
    return Atomics.load(this.#flags, flags.hurry) === 1;
  }

  set hurry(yes: boolean) {
    Atomics.store(this.#flags, flags.hurry, Number(yes));
  }

  /** Of the worker: it has nothing to do and wants a message. */
  wait(): void {
    Atomics.store(this.#flags, flags.waiting, 1);
  }

  /** Whether the worker waits to be told; it is told once. */
  takeWaiting(): boolean {
    return (
      Atomics.load(this.#flags, flags.waiting) === 1 &&
      Atomics.exchange(this.#flags, flags.waiting, 0) === 1
    );
  }
}
