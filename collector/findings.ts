import type { Logger } from 'pino';
import type { Metrics } from './metrics.ts';
import type { Finding } from './store/findings.ts';

/** Counts findings that are committed, and says each in the log. */
export function announceFindings(
  findings: readonly Finding[],
  { log, metrics }: { readonly log: Logger; readonly metrics: Metrics },
): void {
  for (const { kind, stream, session, from, to, detail } of findings) {
    metrics.findings.inc({ kind });
    log.warn({ kind, stream, session, from, to, detail }, 'a finding');
  }
}
