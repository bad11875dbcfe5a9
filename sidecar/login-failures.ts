import type { TokenFault } from '#core/identity/token.ts';
import type { Protocol } from '#core/policy/resources.ts';

/** Why a login failed or was refused. */
export type LoginFailureReason =
  | TokenFault
  | 'no token'
  | 'no policy'
  | 'not encrypted'
  | 'replication'
  | 'too many sessions'
  | 'session limit'
  // of logins of the agent's own, which are relayed
  | 'refused by the backend'
  | 'channel binding'
  | 'protocol violation'
  | 'timeout';

/** A failed login as it is recorded. */
export interface LoginFailure {
  /** The client's address. */
  readonly source: string;
  readonly protocol: Protocol;
  readonly backend: string;
  /** Why, in one of a closed set of words. */
  readonly reason: LoginFailureReason;
}

/** A failure, and how many it stands for. */
export interface CountedFailure extends LoginFailure {
  readonly attempts: number;
}

interface Source {
  readonly sinceMs: number;
  seen: number;
  held: number;
  last: LoginFailure;
}

const perMinute = 20;
const windowMs = 60_000;
const maxSources = 1_000;

/**
 * Bounds how many failed logins are recorded: the first 20 a minute of a source one by one, the rest of that minute as
 * one counted record. An attacker cannot fill the spool, and no attempt goes uncounted.
 */
export class LoginFailures {
  readonly #sources = new Map<string, Source>();

  /** Notes a failure. Returns what is to be recorded now. */
  note(failure: LoginFailure, nowMs: number): CountedFailure[] {
    const due = this.due(nowMs);
    // Past the limit of sources all further ones are counted together.
    const known = this.#sources.has(failure.source) || this.#sources.size < maxSources;
    const last = known ? failure : { ...failure, source: 'others' };
    const source = this.#sources.get(last.source) ?? { sinceMs: nowMs, seen: 0, held: 0, last };
    this.#sources.set(last.source, source);
    source.last = last;
    source.seen += 1;
    if (source.seen <= perMinute) due.push({ ...last, attempts: 1 });
    else source.held += 1;
    return due;
  }

  /** Returns what was held back and whose minute is over; all of it when no time is given. */
  due(nowMs = Number.POSITIVE_INFINITY): CountedFailure[] {
    const due: CountedFailure[] = [];
    for (const [name, { sinceMs, held, last }] of this.#sources) {
      if (nowMs - sinceMs < windowMs) continue;
      this.#sources.delete(name);
      if (held > 0) due.push({ ...last, attempts: held });
    }
    return due;
  }
}
