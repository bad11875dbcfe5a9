import { setTimeout as delay } from 'node:timers/promises';
import { ApiException } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import { Pace } from './pace.ts';
import { formatReport } from './report.ts';
import type { Standings } from './standing.ts';
import type { StatusObjects } from './status-objects.ts';

/** A leader forgets who says nothing for three times as long as that. */
export const beatMs = 30_000;

export const pollMs = 250;

export interface ReportWriterOptions {
  readonly objects: Pick<StatusObjects, 'writeReports'>;
  /** This replica's name. */
  readonly name: string;
  readonly standings: () => Standings;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** Tells the leader what the sidecars have that follow this replica: every few seconds at most, and every half minute at least. */
export class ReportWriter {
  readonly #options: ReportWriterOptions;
  readonly #pace = new Pace({ settleMs: pollMs, leastMs: 5_000, mostMs: beatMs });
  #beat = Date.now(); // a replica of the same name began before
  #lastProblem: string | undefined;

  constructor(options: ReportWriterOptions) {
    this.#options = options;
    void this.#run(); // rejects never
  }

  changed(): void {
    this.#pace.note(performance.now());
  }

  async #run(): Promise<void> {
    const { signal, objects, name, standings, log } = this.#options;
    while (!signal.aborted) {
      if (this.#pace.isDue(performance.now())) {
        this.#pace.begin(performance.now());
        this.#beat += 1;
        const report = formatReport(standings(), this.#beat);
        try {
          await objects.writeReports(new Map([[name, report]]));
          this.#lastProblem = undefined;
        } catch (error) {
          this.changed();
          const problem = problemOf(error);
          if (problem !== this.#lastProblem)
            log.warn({ problem }, 'what sidecars have cannot be told to the leader');
          this.#lastProblem = problem;
        }
      }
      await delay(pollMs, undefined, { signal }).catch(() => undefined); // asked to stop
    }
  }
}

/** Says what went wrong, and nothing that was to be written. */
export function problemOf(error: unknown): string {
  if (error instanceof ApiException) return `status ${error.code}`;
  return error instanceof Error ? error.name : 'unknown';
}
