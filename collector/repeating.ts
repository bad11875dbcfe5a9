import type { Logger } from 'pino';

export interface RepeatingOptions {
  readonly name: string;
  readonly everyMs: number;
  readonly work: () => Promise<void>;
  /** What is not ready is left out. */
  readonly ready: () => boolean;
  readonly log: Logger;
}

const unreadyMs = 200;

/** Does something again and again, and once more when it is nudged. A failure is logged, and tried again in its turn. */
export class Repeating {
  readonly #options: RepeatingOptions;
  readonly #done: Promise<void>;
  #stopping = false;
  #nudged = false;
  #wake: (() => void) | undefined;

  constructor(options: RepeatingOptions) {
    this.#options = options;
    this.#done = this.#run();
  }

  nudge(): void {
    this.#nudged = true;
    this.#wake?.();
  }

  /** Waits for what is under way. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#wake?.();
    await this.#done;
  }

  async #run(): Promise<void> {
    const { name, everyMs, work, ready, log } = this.#options;
    while (!this.#stopping) {
      const isReady = ready();
      this.#nudged &&= !isReady;
      try {
        if (isReady) await work();
      } catch (error) {
        // Only names and codes: a message of the database may quote content.
        const { code, name: kind } = error as { code?: unknown; name?: unknown };
        log.error({ task: name, code, name: kind }, 'a task failed');
      }
      if (!this.#nudged && !this.#stopping) await this.#sleep(isReady ? everyMs : unreadyMs);
    }
  }

  async #sleep(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#wake = resolve;
    await promise;
    clearTimeout(timer);
    this.#wake = undefined;
  }
}
