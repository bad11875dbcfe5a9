import type { Logger } from 'pino';

/** Files that others replace while the process runs. */
export interface Watch {
  readonly name: string;
  readonly reload: () => 'changed' | 'same' | 'unusable';
  /** Puts what was read in force. */
  readonly use: () => void;
}

/** The kubelet takes up to a minute to put a new Secret into a pod; this adds little to it. */
const reloadMs = 1_000;

/** Looks at files again and again, and says once what became of them. Returns what ends it. */
export function watchFiles(watches: readonly Watch[], log: Logger): () => void {
  const unusable = new Set<Watch>();
  const timer = setInterval(() => {
    for (const watch of watches) {
      const state = watch.reload();
      if (state === 'changed') watch.use();
      const isNews = state === 'changed' || (state === 'unusable' && !unusable.has(watch));
      if (isNews) log.info({ files: watch.name, state }, 'files were read again');
      if (state === 'unusable') unusable.add(watch);
      else unusable.delete(watch);
    }
  }, reloadMs);
  return () => clearInterval(timer);
}
