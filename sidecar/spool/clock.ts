/** Wall clock and monotonic clock of one moment. */
export interface Moment {
  /** RFC 3339 in UTC with microseconds. */
  readonly time: string;
  readonly monoNs: number;
}

// A wall clock that was set is followed once it is this far from where the monotonic clock puts it.
const toleranceMs = 5;

/**
 * Returns a clock with microseconds. `Date` has only milliseconds, so the monotonic clock fills in the rest, and the
 * wall clock is taken again whenever somebody sets it.
 */
export function createClock(wallMs: () => number, monoMs: () => number): () => Moment {
  let offset = wallMs() - monoMs();
  let second = Number.NaN;
  let prefix = '';
  return () => {
    const mono = monoMs();
    const wall = wallMs();
    if (Math.abs(mono + offset - wall) > toleranceMs) offset = wall - mono;
    const micros = Math.floor((mono + offset) * 1000);
    const seconds = Math.floor(micros / 1_000_000);
    if (seconds !== second) {
      second = seconds;
      prefix = new Date(seconds * 1000).toISOString().slice(0, 20); // up to and with the point
    }
    const fraction = String(micros - seconds * 1_000_000).padStart(6, '0');
    return { time: `${prefix}${fraction}Z`, monoNs: Math.round(mono * 1e6) };
  };
}
