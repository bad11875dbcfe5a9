import type { Operation, Refusal } from '#core/operation.ts';
import {
  BackendUse,
  isOver,
  type Amount,
  type Over,
  type RequestUse,
  type SessionUse,
} from '#core/policy/budget.ts';
import type { EffectivePolicy } from '#core/policy/combine.ts';
import { policyOfLimit, refusalOfLimit, type Met } from '#core/policy/over.ts';
import { noLimits, type Limits } from '#core/policy/rules.ts';
import type { Stop } from './ready.ts';

const overdueMs = 100; // how often a lane is told of a request that runs for too long
const maxTimerMs = 0x7fff_ffff;

/** The limits of the policies in force. */
export interface LimitsInForce {
  readonly limits: Limits;
  /** Whether any of them is about answers, so that these have to be counted. */
  readonly boundAnswers: boolean;
  readonly policyOf: (limit: keyof Limits) => string | undefined;
}

export const unlimited: LimitsInForce = {
  limits: noLimits,
  boundAnswers: false,
  policyOf: () => undefined,
};

/** Reads the limits of policies: once for each bundle, since every request asks for them. */
export function limitsOf(policy: EffectivePolicy | undefined): LimitsInForce {
  if (!policy) return unlimited;
  const { limits } = policy;
  const ofAnswers = [
    limits.rowsPerRequest,
    limits.bytesPerRequest,
    limits.rowsPerSession,
    limits.bytesPerSession,
    limits.rowsPerHour,
    limits.bytesPerHour,
  ];
  return {
    limits,
    boundAnswers: ofAnswers.some(Number.isFinite),
    policyOf: (limit) => policyOfLimit(policy, limit),
  };
}

/** What the pod uses, by Backend: kept over sessions, since an hour is longer than most. */
export class Usage {
  readonly #backends = new Map<string, BackendUse>();

  /** Opens a session, or says why there may be no other. */
  open(backend: string, { limits, policyOf }: LimitsInForce): SessionUse | Refusal {
    const use = this.#backends.get(backend) ?? new BackendUse();
    this.#backends.set(backend, use);
    const session = use.open(limits, performance.now());
    if (!isOver(session)) return session;
    const policy = policyOf(session.limit);
    return refusalOfLimit(session, { met: 'before', policy, session: undefined });
  }
}

export interface SessionUsageOptions {
  readonly id: string;
  readonly use: SessionUse;
  readonly inForce: () => LimitsInForce;
  readonly stop: (stop: Stop) => void;
}

/** Holds one session to its limits: what begins, and what takes too long. */
export class SessionUsage {
  readonly #options: SessionUsageOptions;
  #onOverdue: () => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;
  /** When the timer is due. */
  #dueMs = Infinity;
  #ended = false;

  constructor(options: SessionUsageOptions) {
    this.#options = options;
    this.watch();
  }

  /** Begins an operation, or says what it would be too much for. What runs nothing is never too much. */
  begin({ kind, facts }: Operation): RequestUsage | Over | undefined {
    const { id, use, inForce } = this.#options;
    const nowMs = performance.now();
    use.touch(nowMs);
    if (kind === 'statement') return undefined;
    const current = inForce();
    const limits = kind === 'connection' ? ofStreams(current.limits) : current.limits;
    const statements = facts.protocol === 'Postgres' ? facts.statements.length : 1;
    const request = use.begin(limits, Math.max(1, statements), nowMs);
    if (isOver(request)) return request;
    // Nobody knows when requests of a stream begin and end: only that bytes pass shows that it is not idle.
    if (kind === 'connection') use.rest(nowMs);
    this.#watchUntil(nowMs + limits.requestDurationMs);
    return new RequestUsage({
      use: request,
      inForce: limits === current.limits ? current : { ...current, limits },
      session: id,
      onEnd: () => this.#watchIdle(),
    });
  }

  /** Counts bytes that answer no request: they leave less for those that do. */
  aside(bytes: number): void {
    if (this.#options.inForce().boundAnswers) this.#options.use.add(0, bytes, performance.now());
  }

  /** Says that nothing of the session runs now. */
  rest(): void {
    this.#options.use.rest(performance.now());
    this.#watchIdle();
  }

  /** Sets whom to tell of a request that runs for too long: again and again while it does. */
  onOverdue(listener: () => void): void {
    this.#onOverdue = listener;
  }

  /** Looks at the limits anew, which may have changed. */
  watch(): void {
    clearTimeout(this.#timer);
    this.#dueMs = Infinity;
    this.#watchUntil(this.#options.use.dueMs(this.#options.inForce().limits));
  }

  /** Gives back what the session holds. */
  end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#options.use.close(performance.now());
  }

  #watchIdle(): void {
    const { idleMs } = this.#options.inForce().limits;
    if (idleMs < Infinity) this.#watchUntil(performance.now() + idleMs);
  }

  /** The timer is not moved when something ends: it looks again when it is due. */
  #watchUntil(dueMs: number): void {
    if (this.#ended || dueMs >= this.#dueMs) return;
    clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    const leftMs = Math.ceil(dueMs - performance.now());
    this.#timer = setTimeout(() => this.#due(), Math.min(Math.max(leftMs, 1), maxTimerMs));
  }

  #due(): void {
    const { use, inForce, id, stop } = this.#options;
    const { limits, policyOf } = inForce();
    const nowMs = performance.now();
    const over = use.overdue(limits, nowMs);
    if (!over) return this.watch();
    if (over.limit === 'requestDurationMs') {
      this.#onOverdue();
      this.#dueMs = Infinity;
      return this.#watchUntil(nowMs + overdueMs);
    }
    const policy = policyOf(over.limit);
    return stop({
      refusal: refusalOfLimit(over, { met: 'before', policy, session: id }),
      reason: 'limit',
    });
  }
}

interface RequestUsageOptions {
  readonly use: RequestUse;
  readonly inForce: LimitsInForce;
  /** Its id. */
  readonly session: string;
  readonly onEnd: () => void;
}

/** What one permitted operation uses, under the limits that were in force when it began. */
export class RequestUsage {
  readonly #use: RequestUse;
  readonly #inForce: LimitsInForce;
  readonly #session: string;
  readonly #onEnd: () => void;

  constructor({ use, inForce, session, onEnd }: RequestUsageOptions) {
    this.#use = use;
    this.#inForce = inForce;
    this.#session = session;
    this.#onEnd = onEnd;
  }

  /** Whether its answer has to be counted before it is released. */
  get boundAnswers(): boolean {
    return this.#inForce.boundAnswers;
  }

  /** How much its answer may still have. */
  room(): Amount {
    return this.#use.room(this.#inForce.limits, performance.now());
  }

  /** What would be over with so much more of an answer. */
  exceeds(more: Amount): Over | undefined {
    return this.#use.exceeds(this.#inForce.limits, more, performance.now());
  }

  /** Counts what is released of an answer. */
  add({ rows, bytes }: Amount): void {
    this.#use.answer(this.#inForce.limits, rows, bytes, performance.now());
  }

  /** Whether it has run for too long. */
  overdue(): Over | undefined {
    return this.#use.overdue(performance.now());
  }

  /** Goes on after a rest, or says why it may not. */
  resume(): Refusal | undefined {
    const over = this.#use.resume(this.#inForce.limits, performance.now());
    return over && this.refusal(over, 'before');
  }

  refusal(over: Over, met: Met): Refusal {
    const policy = this.#inForce.policyOf(over.limit);
    return refusalOfLimit(over, { met, policy, session: this.#session });
  }

  end(): void {
    this.#use.end(performance.now());
    this.#onEnd();
  }
}

/** The limits that an opaque stream can be held to. */
function ofStreams({ bytesPerSession, bytesPerHour }: Limits): Limits {
  return { ...noLimits, bytesPerSession, bytesPerHour };
}
