import type { Ready, Stop } from '../ready.ts';
import { unrecordable } from './writer.ts';

export interface CommittedOptions {
  /** How long an operation waits for a collector that does not answer, in milliseconds; read at each wait. */
  readonly waitMs: () => number;
  /** Called with true when somebody begins to wait, and with false when nobody does any more. */
  readonly onWaiting: (waiting: boolean) => void;
}

interface Waiting {
  readonly seq: number;
  readonly deadline: number;
  readonly ready: Promise<undefined | Stop>;
  settle(outcome: undefined | Stop): void;
}

/**
 * Says when records are committed by the collector, for policies under which nothing goes up before. Once the collector
 * did not commit in time, nothing more waits for it until it does again.
 */
export class Committed {
  readonly #options: CommittedOptions;
  readonly #queue: Waiting[] = [];
  #seq = 0;
  #troubledSince: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: CommittedOptions) {
    this.#options = options;
  }

  /** All records up to this one are committed. */
  get ackedSeq(): number {
    return this.#seq;
  }

  /** All records up to `seq` are committed. */
  reached(seq: number): void {
    this.#seq = Math.max(this.#seq, seq);
    this.#troubledSince = undefined;
    while (this.#queue[0] && this.#queue[0].seq <= this.#seq) this.#settleFirst(undefined);
    this.#wait();
  }

  /** Records were not committed but set aside: what waits for them, or for any behind them, will not go up. */
  setAside(): void {
    while (this.#queue.length > 0) this.#settleFirst(unrecordable);
    this.#wait();
  }

  /** The collector did not commit what it was sent. */
  troubled(): void {
    this.#troubledSince ??= performance.now();
  }

  /** Settles when the record is committed; a Stop when the collector does not commit within the policy's wait. */
  committed(seq: number): Ready {
    if (seq <= this.#seq) return undefined;
    const now = performance.now();
    const waitMs = this.#options.waitMs();
    const deadline = Math.min(now, this.#troubledSince ?? now) + waitMs;
    if (deadline <= now) return unrecordable;
    const last = this.#queue.at(-1);
    if (last?.seq === seq) return last.ready;
    const { promise, resolve } = Promise.withResolvers<undefined | Stop>();
    this.#queue.push({ seq, deadline, ready: promise, settle: resolve });
    if (this.#queue.length === 1) {
      this.#options.onWaiting(true);
      this.#wait();
    }
    return promise;
  }

  close(): void {
    while (this.#queue.length > 0) this.#settleFirst(unrecordable);
    clearTimeout(this.#timer);
  }

  #settleFirst(outcome: undefined | Stop): void {
    this.#queue.shift()?.settle(outcome);
    if (this.#queue.length === 0) this.#options.onWaiting(false);
  }

  #wait(): void {
    clearTimeout(this.#timer);
    const [first] = this.#queue;
    if (!first) return;
    this.#timer = setTimeout(
      () => {
        // It did not commit in time, whether it said so or not.
        this.#troubledSince = Math.min(
          this.#troubledSince ?? Infinity,
          performance.now() - this.#options.waitMs(),
        );
        const now = performance.now();
        while (this.#queue[0] && this.#queue[0].deadline <= now) this.#settleFirst(unrecordable);
        this.#wait();
      },
      Math.max(0, first.deadline - performance.now()),
    );
  }
}
