/** What the worker's two jobs wait for; a stop ends every wait. */
export class Waiter {
  readonly #stop = new AbortController();
  readonly #wakes = new Map<'walked' | 'nudged' | 'paused', () => void>();

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
    this.#wakes.get('walked')?.();
  }

  /** Wakes what waits for more to walk, also from its linger. */
  nudged(): void {
    this.#wakes.get('nudged')?.();
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

  async #wait(what: 'walked' | 'nudged' | 'paused', ms?: number): Promise<void> {
    if (this.stopped) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = ms === undefined ? undefined : setTimeout(resolve, ms);
    this.#wakes.set(what, resolve);
    await promise;
    clearTimeout(timer);
    this.#wakes.delete(what);
  }
}
