import type { Stop } from '../ready.ts';

const finishMs = 5_000; // a statement that runs when its session is stopped may still end
const cancelMs = 1_500; // for the backend to say that it was cancelled; a drain leaves room for both
const againMs = 100; // a cancel that comes between two statements, when nothing runs, meets neither

export interface StoppingOptions {
  /** Cancels what the backend runs now. */
  readonly cancel: () => void;
  /** Ends the session whatever runs. */
  readonly cut: (stop: Stop) => void;
}

/**
 * How a session ends that is stopped while statements run. They have a while to end by themselves, unless the stop is an
 * urgent one; what has not ended then is cancelled, since a backend does not notice that nobody waits for it any more.
 */
export class Stopping {
  readonly #options: StoppingOptions;
  #stop: Stop | undefined;
  #cancelling = false;
  #ended = false;
  #timer: NodeJS.Timeout | undefined;
  #again: NodeJS.Timeout | undefined;

  constructor(options: StoppingOptions) {
    this.#options = options;
  }

  /** Why the session is being stopped, if it is. */
  get stop(): Stop | undefined {
    return this.#stop;
  }

  /** Whether nothing further may begin to run. */
  get cancelling(): boolean {
    return this.#cancelling;
  }

  /** An urgent stop takes the place of one that is not, and ends its patience; any other comes too late. */
  begin(stop: Stop): void {
    if (this.#ended) return;
    const escalates = this.#stop !== undefined;
    if (escalates && (this.#cancelling || stop.urgent !== true)) return;
    this.#clear();
    this.#stop = stop;
    if (stop.urgent === true) this.#cancel(stop, escalates ? cancelMs : finishMs);
    else this.#timer = setTimeout(() => this.#cancel(stop, cancelMs), finishMs);
  }

  /** A statement has ended, and one that was sent behind it runs now. */
  goesOn(): void {
    if (this.#cancelling) this.#options.cancel();
  }

  /** The session has ended, and is not stopped any more: its agent may take until then to say its last. */
  end(): void {
    this.#ended = true;
    this.#clear();
  }

  #clear(): void {
    clearTimeout(this.#timer);
    clearInterval(this.#again);
  }

  #cancel(stop: Stop, timeMs: number): void {
    this.#cancelling = true;
    this.#timer = setTimeout(() => this.#options.cut(stop), timeMs);
    this.#again = setInterval(() => this.#options.cancel(), againMs);
    this.#options.cancel();
  }
}
