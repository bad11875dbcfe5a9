import type { Limits } from './rules.ts';

/** A limit that would be, or is, exceeded. */
export interface Over {
  readonly limit: keyof Limits;
  readonly most: number;
  /** How long until less is in use again; undefined where waiting does not help. */
  readonly retryMs: number | undefined;
}

/** So much of answers, in rows and in bytes of the protocol. */
export interface Amount {
  readonly rows: number;
  readonly bytes: number;
}

const nothing: Amount = { rows: 0, bytes: 0 };
const one: Amount = { rows: 1, bytes: 1 };

const minuteMs = 60_000;
const hourMs = 3_600_000;

/**
 * Counts what happened within a time that ends now. Kept in slots, so that its memory does not grow: what happened
 * counts for as long as the window, and up to a slot longer, never less.
 */
export class SlidingCount {
  readonly #slotMs: number;
  readonly #slots: number[];
  #newest = 0;
  #total = 0;

  constructor(windowMs: number, slots: number) {
    this.#slotMs = windowMs / slots;
    this.#slots = Array.from({ length: slots + 1 }, () => 0);
  }

  add(amount: number, nowMs: number): void {
    this.#advance(nowMs);
    const at = this.#newest % this.#slots.length;
    this.#slots[at] = (this.#slots[at] ?? 0) + amount;
    this.#total += amount;
  }

  total(nowMs: number): number {
    this.#advance(nowMs);
    return this.#total;
  }

  /** Milliseconds until no more than `most` is left of what is counted now. */
  untilAtMost(most: number, nowMs: number): number {
    let left = this.total(nowMs);
    const { length } = this.#slots;
    for (let age = length - 1; age >= 0 && left > most; age -= 1) {
      left -= this.#slots[(this.#newest - age + length * 2) % length] ?? 0;
      if (left <= most) return (this.#newest - age + length) * this.#slotMs - nowMs;
    }
    return 0;
  }

  // A clock that goes back moves nothing.
  #advance(nowMs: number): void {
    const slot = Math.floor(nowMs / this.#slotMs);
    const { length } = this.#slots;
    for (let step = 0; step < length && this.#newest < slot; step += 1) {
      this.#newest = Math.max(this.#newest + 1, slot - length + 1);
      const at = this.#newest % length;
      this.#total -= this.#slots[at] ?? 0;
      this.#slots[at] = 0;
    }
  }
}

/** What one pod uses of one Backend, over all its sessions there. Times are milliseconds of a clock that never goes back. */
export class BackendUse {
  #sessions = 0;
  #requests = 0;
  readonly #statements = new SlidingCount(minuteMs, 60);
  readonly #rows = new SlidingCount(hourMs, 120);
  readonly #bytes = new SlidingCount(hourMs, 120);

  /** Opens a session, or says why there may be no other. Its `close` gives back what it holds. */
  open({ sessions }: Limits, nowMs: number): SessionUse | Over {
    if (this.#sessions >= sessions) return over('sessions', sessions);
    this.#sessions += 1;
    return new SessionUse(this, nowMs);
  }

  /** Says why a request with so many statements may not begin; one that may is counted. */
  begin(limits: Limits, statements: number, nowMs: number): Over | undefined {
    const { statementsPerMinute } = limits;
    if (this.#statements.total(nowMs) + statements > statementsPerMinute) {
      const room = statementsPerMinute - statements;
      const retryMs = room < 0 ? undefined : this.#statements.untilAtMost(room, nowMs);
      return over('statementsPerMinute', statementsPerMinute, retryMs);
    }
    const used = this.resume(limits, nowMs);
    if (!used) this.#statements.add(statements, nowMs);
    return used;
  }

  /** Says why a request that has rested may not go on; one that may is counted as running. */
  resume(limits: Limits, nowMs: number): Over | undefined {
    const { concurrentRequests } = limits;
    if (this.#requests >= concurrentRequests) return over('concurrentRequests', concurrentRequests);
    const used = this.answered(limits, nowMs, one);
    if (!used) this.#requests += 1;
    return used;
  }

  /** Ends or rests a request that has run. */
  end(): void {
    this.#requests -= 1;
  }

  close(): void {
    this.#sessions -= 1;
  }

  add(rows: number, bytes: number, nowMs: number): void {
    this.#rows.add(rows, nowMs);
    this.#bytes.add(bytes, nowMs);
  }

  /** What of an hour's answers is over when `more` comes on top. */
  answered(
    { rowsPerHour, bytesPerHour }: Limits,
    nowMs: number,
    more: Amount = nothing,
  ): Over | undefined {
    const hours = [
      ['rowsPerHour', this.#rows, rowsPerHour, more.rows],
      ['bytesPerHour', this.#bytes, bytesPerHour, more.bytes],
    ] as const;
    for (const [limit, count, most, added] of hours)
      if (count.total(nowMs) + added > most)
        return over(limit, most, count.untilAtMost(Math.max(0, most - 1), nowMs));
    return undefined;
  }

  /** What is left of an hour's answers. */
  room({ rowsPerHour, bytesPerHour }: Limits, nowMs: number): Amount {
    return {
      rows: rowsPerHour - this.#rows.total(nowMs),
      bytes: bytesPerHour - this.#bytes.total(nowMs),
    };
  }
}

/** What one session uses. Made by `BackendUse.open`. */
export class SessionUse {
  readonly #backend: BackendUse;
  readonly #startedMs: number;
  /** Requests that run. */
  readonly #running = new Set<RequestUse>();
  #lastMs: number;
  #rows = 0;
  #bytes = 0;
  #closed = false;

  constructor(backend: BackendUse, nowMs: number) {
    this.#backend = backend;
    this.#startedMs = nowMs;
    this.#lastMs = nowMs;
  }

  /** Begins a request, or says what it would be too much for. */
  begin(limits: Limits, statements: number, nowMs: number): RequestUse | Over {
    const refused = this.#answered(limits, one) ?? this.#backend.begin(limits, statements, nowMs);
    if (refused) return refused;
    const request = new RequestUse(nowMs, limits.requestDurationMs, {
      add: (rows, bytes, atMs) => {
        this.touch(atMs);
        this.add(rows, bytes, atMs);
      },
      answered: (now, atMs, more) =>
        this.#answered(now, more) ?? this.#backend.answered(now, atMs, more),
      room: (now, atMs) => this.#room(now, atMs),
      resume: (now, atMs) => this.#resume(request, now, atMs),
      end: (atMs) => this.#stop(request, atMs),
    });
    this.#running.add(request);
    return request;
  }

  /** Says that something was done that is no request. */
  touch(nowMs: number): void {
    this.#lastMs = nowMs;
  }

  /** Says that nothing runs: what was begun and has not ended waits for the agent, such as a portal that is suspended. */
  rest(nowMs: number): void {
    for (const request of this.#running) {
      request.rest(nowMs);
      this.#stop(request, nowMs);
    }
  }

  /** What has taken too long by now. */
  overdue(limits: Limits, nowMs: number): Over | undefined {
    for (const { limit, most, atMs } of this.#deadlines(limits))
      if (nowMs >= atMs) return over(limit, most);
    return undefined;
  }

  /** When `overdue` is to be asked next; Infinity where nothing is limited. */
  dueMs(limits: Limits): number {
    return Math.min(...this.#deadlines(limits).map(({ atMs }) => atMs));
  }

  /** Gives back what it holds, once; also of requests that have not ended. */
  close(nowMs: number): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const request of this.#running) request.end(nowMs);
    this.#backend.close();
  }

  #deadlines({ sessionDurationMs, idleMs }: Limits): readonly Deadline[] {
    return [
      {
        limit: 'sessionDurationMs',
        most: sessionDurationMs,
        atMs: this.#startedMs + sessionDurationMs,
      },
      this.#firstDue() ?? { limit: 'idleMs', most: idleMs, atMs: this.#lastMs + idleMs },
    ];
  }

  /** Of what runs, which is due first: by what held when it began, and what has rested is not as old as its place says. */
  #firstDue(): Deadline | undefined {
    let first: Deadline | undefined;
    for (const { dueMs, durationMs } of this.#running)
      if (!first || dueMs < first.atMs)
        first = { limit: 'requestDurationMs', most: durationMs, atMs: dueMs };
    return first;
  }

  #answered({ rowsPerSession, bytesPerSession }: Limits, more: Amount = nothing): Over | undefined {
    if (this.#rows + more.rows > rowsPerSession) return over('rowsPerSession', rowsPerSession);
    if (this.#bytes + more.bytes > bytesPerSession) return over('bytesPerSession', bytesPerSession);
    return undefined;
  }

  #room(limits: Limits, nowMs: number): Amount {
    const { rows, bytes } = this.#backend.room(limits, nowMs);
    return {
      rows: Math.min(rows, limits.rowsPerSession - this.#rows),
      bytes: Math.min(bytes, limits.bytesPerSession - this.#bytes),
    };
  }

  /** Counts what the agent gets, also what answers no request. */
  add(rows: number, bytes: number, nowMs: number): void {
    this.#rows += rows;
    this.#bytes += bytes;
    this.#backend.add(rows, bytes, nowMs);
  }

  #resume(request: RequestUse, limits: Limits, nowMs: number): Over | undefined {
    const refused = this.#answered(limits, one) ?? this.#backend.resume(limits, nowMs);
    if (!refused) this.#running.add(request);
    return refused;
  }

  #stop(request: RequestUse, nowMs: number): void {
    if (!this.#running.delete(request)) return;
    this.#lastMs = nowMs;
    this.#backend.end();
  }
}

interface Deadline {
  readonly limit: keyof Limits;
  readonly most: number;
  readonly atMs: number;
}

interface RequestOwner {
  readonly add: (rows: number, bytes: number, nowMs: number) => void;
  readonly answered: (limits: Limits, nowMs: number, more?: Amount) => Over | undefined;
  readonly room: (limits: Limits, nowMs: number) => Amount;
  readonly resume: (limits: Limits, nowMs: number) => Over | undefined;
  readonly end: (nowMs: number) => void;
}

/** What one request uses. Made by `SessionUse.begin`. */
export class RequestUse {
  /** How long it may run, as the limits were when it began. */
  readonly durationMs: number;
  readonly #owner: RequestOwner;
  #runningSinceMs: number;
  /** When it began to rest, if it does. */
  #restingSinceMs: number | undefined;
  #ended = false;
  #rows = 0;
  #bytes = 0;

  constructor(startedMs: number, durationMs: number, owner: RequestOwner) {
    this.#runningSinceMs = startedMs;
    this.durationMs = durationMs;
    this.#owner = owner;
  }

  /** When it will have run for too long; what it has rested is not counted. */
  get dueMs(): number {
    return this.#runningSinceMs + this.durationMs;
  }

  /** Counts a piece of an answer before it is released, and says what is over with it. */
  answer(limits: Limits, rows: number, bytes: number, nowMs: number): Over | undefined {
    this.#rows += rows;
    this.#bytes += bytes;
    this.#owner.add(rows, bytes, nowMs);
    return this.exceeds(limits, nothing, nowMs);
  }

  /** What would be over with a piece of an answer that is not counted yet. */
  exceeds(limits: Limits, more: Amount, nowMs: number): Over | undefined {
    const { rowsPerRequest, bytesPerRequest } = limits;
    if (this.#rows + more.rows > rowsPerRequest) return over('rowsPerRequest', rowsPerRequest);
    if (this.#bytes + more.bytes > bytesPerRequest) return over('bytesPerRequest', bytesPerRequest);
    return this.#owner.answered(limits, nowMs, more);
  }

  /** How much its answer may still have. */
  room(limits: Limits, nowMs: number): Amount {
    const { rows, bytes } = this.#owner.room(limits, nowMs);
    return {
      rows: Math.min(rows, limits.rowsPerRequest - this.#rows),
      bytes: Math.min(bytes, limits.bytesPerRequest - this.#bytes),
    };
  }

  /** Whether it has run for too long by now. */
  overdue(nowMs: number): Over | undefined {
    if (this.#ended || this.#restingSinceMs !== undefined) return undefined;
    return nowMs >= this.dueMs ? over('requestDurationMs', this.durationMs) : undefined;
  }

  /** Called by its session. */
  rest(nowMs: number): void {
    this.#restingSinceMs = nowMs;
  }

  /** Goes on after a rest, or says what that would be too much for; one that runs goes on anyway. */
  resume(limits: Limits, nowMs: number): Over | undefined {
    if (this.#ended || this.#restingSinceMs === undefined) return undefined;
    const refused = this.#owner.resume(limits, nowMs);
    if (refused) return refused;
    this.#runningSinceMs += nowMs - this.#restingSinceMs;
    this.#restingSinceMs = undefined;
    return undefined;
  }

  /** Ends it, once. */
  end(nowMs: number): void {
    this.#ended = true;
    this.#owner.end(nowMs);
  }
}

/** Tells what is over from what may go on. */
export function isOver(value: object): value is Over {
  return 'limit' in value;
}

function over(limit: keyof Limits, most: number, retryMs?: number): Over {
  return { limit, most, retryMs };
}
