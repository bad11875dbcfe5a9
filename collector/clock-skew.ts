/** What is known of how a stream's newest records lie against the store's clock. */
export interface ClockHistory {
  readonly receivedUs: number;
  /** When its records were last found late: by how much, and how long ago that was. */
  readonly lag: { readonly ms: number; readonly agoMs: number } | undefined;
  /** Found within the last hour. */
  readonly skewKnown: boolean;
}

export interface ClockVerdict {
  /** How far the newest record lies behind the store's clock; negative for one that is ahead. */
  readonly lagMs: number;
  /** What becomes of the remembered lag: it is forgotten, taken anew, or kept. */
  readonly lag: 'none' | 'anew' | undefined;
  readonly skewed: boolean;
}

const toleratedMs = 5_000;
const steadyMs = 2_000;
const watchedMs = 5_000;
const backlogBytes = 1024 * 1024; // a batch that large is full: more is waiting behind it

/**
 * Judges a sidecar's clock by the time of its newest record. A record of the future tells by itself. A late one does not:
 * the collector may have been away. But what waited is caught up with, while a clock that is behind stays behind by the
 * same.
 */
export function judgeClock(
  { receivedUs, lag, skewKnown }: ClockHistory,
  time: string,
  batchBytes: number,
): ClockVerdict {
  const lagMs = Math.round(receivedUs / 1000 - Date.parse(time));
  if (lagMs < -toleratedMs) return { lagMs, lag: undefined, skewed: !skewKnown };
  if (lagMs <= toleratedMs) return { lagMs, lag: lag && 'none', skewed: false };
  if (batchBytes >= backlogBytes) return { lagMs, lag: undefined, skewed: false };
  if (!lag || Math.abs(lag.ms - lagMs) > steadyMs) return { lagMs, lag: 'anew', skewed: false };
  return { lagMs, lag: undefined, skewed: !skewKnown && lag.agoMs >= watchedMs };
}
