import { setTimeout as delay } from 'node:timers/promises';

/** A process that was started, whatever it is. */
export interface Running {
  readonly pid: number;
  /** Settles when it has ended, for whatever reason. */
  readonly exited: Promise<void>;
  /** Asks it to stop and waits; kills it after `timeoutMs`. */
  stop(timeoutMs: number): Promise<void>;
}

export interface PartOptions<T extends Running> {
  readonly name: string;
  readonly start: () => Promise<T>;
  readonly say: (line: string) => void;
  readonly onRestarted: () => void;
}

const firstRetryMs = 200;
const maxRetryMs = 5_000;
const steadyMs = 2_000; // one that was ready and ran this long has recovered

/** Keeps a process running: what ends unasked is started again, at growing intervals. */
export class Part<T extends Running> {
  readonly #options: PartOptions<T>;
  #current: T;
  #stopping = new AbortController();
  #watching: Promise<void>;

  private constructor(options: PartOptions<T>, first: T) {
    this.#options = options;
    this.#current = first;
    this.#watching = this.#watch();
  }

  /** Starts it for the first time. @throws what `start` throws. */
  static async start<T extends Running>(options: PartOptions<T>): Promise<Part<T>> {
    return new Part(options, await options.start());
  }

  get current(): T {
    return this.#current;
  }

  async stop(timeoutMs: number): Promise<void> {
    this.#stopping.abort();
    await this.#current.stop(timeoutMs);
    await this.#watching;
  }

  // Never rejects: a start that fails is tried again.
  async #watch(): Promise<void> {
    const { name, say } = this.#options;
    const { signal } = this.#stopping;
    for (let retryMs = firstRetryMs; ; retryMs = Math.min(retryMs * 2, maxRetryMs)) {
      const began = performance.now();
      await this.#current.exited;
      if (signal.aborted) return;
      if (performance.now() - began > steadyMs) retryMs = firstRetryMs;
      say(`the ${name} has ended unexpectedly; starting it again`);
      while (!(await this.#tryRestart(retryMs))) {
        if (signal.aborted) return;
        retryMs = Math.min(retryMs * 2, maxRetryMs);
      }
    }
  }

  async #tryRestart(retryMs: number): Promise<boolean> {
    const { name, start, say, onRestarted } = this.#options;
    const { signal } = this.#stopping;
    try {
      await delay(retryMs, undefined, { signal });
      const started = await start();
      this.#current = started;
      if (signal.aborted) await started.stop(0);
      else onRestarted();
      return true;
    } catch (error) {
      if (!signal.aborted)
        say(`the ${name} does not start: ${error instanceof Error ? error.message : 'unknown'}`);
      return false;
    }
  }
}
