/** A session as the collector lists it, and as everybody who reads from it gets it. */
export interface SessionSummary {
  readonly id: string;
  readonly stream: string;
  readonly protocol: string | null;
  readonly backend: string | null;
  readonly database: string | null;
  readonly user: string | null;
  readonly groups: readonly string[] | null;
  readonly pod: string;
  readonly namespace: string;
  /** RFC 3339 with microseconds. */
  readonly startedAt: string;
  readonly endedAt: string | null;
  readonly endReason: string | null;
  readonly requests: number;
  readonly denied: number;
  readonly errors: number;
  /** Rows that the backend returned. */
  readonly rows: number;
}
