/** Settles at the first signal that asks to stop; later ones are answered with patience. */
export function listenForSignals(): {
  readonly signal: AbortSignal;
  readonly requested: Promise<void>;
} {
  const abort = new AbortController();
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (abort.signal.aborted) process.stdout.write('still stopping: at most 40 s more\n');
      abort.abort();
      resolve();
    });
  }
  return { signal: abort.signal, requested: promise };
}
