type Cause = 'walked' | 'nudged' | 'paused';

/** What the worker's two jobs wait for: also for what came before they began to wait. A stop ends every wait. */
export class Waiter {
  readonly #stop = new AbortController();
  readonly #wakes = new Map<Cause, () => void>();
  readonly #came = new Set<Cause>();

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  get stopped(): boolean {
    return this.#stop.signal.aborted;
  }

  stop(): void {
    this.#stop.abort();
    for (const wake of this.#wakes.values()) wake();
  }

  /** Wakes what waits for more to ship. */
  walked(): void {
    this.#wake('walked');
  }

  /** Wakes what waits for more to walk, also from its linger. */
  nudged(): void {
    this.#wake('nudged');
  }

  untilWalked(): Promise<void> {
    return this.#wait('walked');
  }

  /** Waits for a nudge, for at most so long if a time is given. */
  untilNudged(atMostMs?: number): Promise<void> {
    return this.#wait('nudged', atMostMs);
  }

  pause(ms: number): Promise<void> {
    return this.#wait('paused', ms);
  }

  #wake(cause: Cause): void {
    this.#came.add(cause);
    this.#wakes.get(cause)?.();
  }

  async #wait(cause: Cause, ms?: number): Promise<void> {
    if (!this.stopped && !this.#came.has(cause)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = ms === undefined ? undefined : setTimeout(resolve, ms);
      this.#wakes.set(cause, resolve);
      await promise;
      clearTimeout(timer);
      this.#wakes.delete(cause);
    }
    this.#came.delete(cause);
  }
}
