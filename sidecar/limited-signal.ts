/** A signal that aborts with others or when its time is up, and that leaves nothing behind once it is disposed. */
export interface LimitedSignal extends Disposable {
  readonly signal: AbortSignal;
}

export interface Limit {
  readonly timeoutMs: number;
  /** What the signal aborts with when the time is up. */
  readonly reason: Error;
}

/**
 * Combines signals with a time limit. `AbortSignal.any` and `AbortSignal.timeout` keep their timers and their entries in
 * long-lived parents until these end: thousands of short connections would add up.
 */
export function limitSignal(
  parents: readonly AbortSignal[],
  { timeoutMs, reason }: Limit,
): LimitedSignal {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(reason), timeoutMs);
  const listeners = parents.map((parent) => {
    const listener = (): void => abort.abort(parent.reason);
    if (parent.aborted) listener();
    parent.addEventListener('abort', listener, { once: true });
    return { parent, listener };
  });
  return {
    signal: abort.signal,
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      for (const { parent, listener } of listeners) parent.removeEventListener('abort', listener);
    },
  };
}
