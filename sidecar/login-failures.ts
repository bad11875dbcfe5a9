/** A failed login as it is recorded. */
export interface LoginFailure {
  readonly source: string;
  readonly attempts: number;
}

const perMinute = 20;
const windowMs = 60_000;
const maxSources = 1_000;

/**
 * Bounds how many failed logins are recorded: the first 20 a minute of a source one by one, the rest of that minute as
 * one counted record. An attacker cannot fill the spool, and no attempt goes uncounted.
 */
export class LoginFailures {
  readonly #sources = new Map<string, { since: number; seen: number; held: number }>();

  /** Notes a failure. Returns what is to be recorded now; `attempts` counts those held back before as well. */
  note(source: string, nowMs: number): LoginFailure[] {
    const due = this.#expire(nowMs);
    // Past the limit of sources all further ones are counted together.
    const key = this.#sources.has(source) || this.#sources.size < maxSources ? source : 'others';
    const entry = this.#sources.get(key) ?? { since: nowMs, seen: 0, held: 0 };
    this.#sources.set(key, entry);
    entry.seen += 1;
    if (entry.seen <= perMinute) due.push({ source: key, attempts: 1 });
    else entry.held += 1;
    return due;
  }

  /** Returns what was held back and is due, when `nowMs` is past its minute; all of it at the end. */
  flush(nowMs = Number.POSITIVE_INFINITY): LoginFailure[] {
    return this.#expire(nowMs);
  }

  #expire(nowMs: number): LoginFailure[] {
    const due: LoginFailure[] = [];
    for (const [source, { since, held }] of this.#sources) {
      if (nowMs - since < windowMs) continue;
      this.#sources.delete(source);
      if (held > 0) due.push({ source, attempts: held });
    }
    return due;
  }
}
