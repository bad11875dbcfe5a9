/** Times of something that is written, in milliseconds. */
export interface PaceTimes {
  /** How long is waited after a change for others that come with it. */
  readonly settleMs: number;
  /** How long after it was written it is written again at the earliest. */
  readonly leastMs: number;
  /** And at the latest, with nothing changed. */
  readonly mostMs: number;
}

/** Says when something that changes often is to be written. All times are of one clock that nobody sets. */
export class Pace {
  readonly #times: PaceTimes;
  /** Of the first change that is not written yet. */
  #changedMs = Infinity;
  #writtenMs = -Infinity;

  constructor(times: PaceTimes) {
    this.#times = times;
  }

  note(nowMs: number): void {
    this.#changedMs = Math.min(this.#changedMs, nowMs);
  }

  isDue(nowMs: number): boolean {
    const { settleMs, leastMs, mostMs } = this.#times;
    const sinceMs = nowMs - this.#writtenMs;
    return sinceMs >= mostMs || (sinceMs >= leastMs && nowMs >= this.#changedMs + settleMs);
  }

  /** It is being written: what changes from now on is for the next time. */
  begin(nowMs: number): void {
    this.#changedMs = Infinity;
    this.#writtenMs = nowMs;
  }
}
