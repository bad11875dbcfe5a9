import type { RecordHeader } from '#core/record/kinds.ts';

/** A session without an end. */
export interface OpenSession {
  /** Number of its last record. */
  n: number;
  /** When it began, on the stream's monotonic clock. */
  readonly startedNs: number;
  /** Seqs of its allowed requests that have no result. */
  readonly requests: Set<number>;
  /** Records were lost since its last one: what became of it is not known, nor how many records it has. */
  doubtful: boolean;
}

/** As a head file keeps it: id, n, startedNs, seqs of requests, doubtful. */
export type OpenSessionEntry = readonly [string, number, number, readonly number[], boolean];

/**
 * What a stream has begun and not ended, record by record. A denied request is its own end, and a statement needs none.
 */
export class OpenRecords {
  readonly #sessions = new Map<string, OpenSession>();

  static from(entries: readonly OpenSessionEntry[]): OpenRecords {
    const open = new OpenRecords();
    for (const [id, n, startedNs, requests, doubtful] of entries)
      open.#sessions.set(id, { n, startedNs, requests: new Set(requests), doubtful });
    return open;
  }

  get sessions(): ReadonlyMap<string, OpenSession> {
    return this.#sessions;
  }

  get entries(): OpenSessionEntry[] {
    return Array.from(this.#sessions, ([id, { n, startedNs, requests, doubtful }]) => [
      id,
      n,
      startedNs,
      [...requests],
      doubtful,
    ]);
  }

  add(header: RecordHeader): void {
    const { session: id, n, kind, seq, monoNs } = header;
    if (id === undefined || n === undefined) return;
    if (kind === 'session.end') {
      this.#sessions.delete(id);
      return;
    }
    let session = this.#sessions.get(id);
    if (!session) {
      session = { n, startedNs: monoNs, requests: new Set(), doubtful: false };
      this.#sessions.set(id, session);
    }
    session.n = n;
    session.doubtful = false;
    if (kind === 'request' && header.verdict.action === 'Allow') session.requests.add(seq);
    else if (kind === 'result' && header.request !== undefined)
      session.requests.delete(header.request);
  }

  /** Says that records were lost here, of whatever sessions. */
  doubt(): void {
    for (const session of this.#sessions.values()) session.doubtful = true;
  }
}
