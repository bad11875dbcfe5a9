import { setTimeout as delay } from 'node:timers/promises';
import { ApiException } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import { LeaseObserver, microTime, type LeaseObject } from './lease.ts';

/** Times of an election, in milliseconds. */
export interface LeaseTimes {
  /** For how long a Lease that is not renewed is left to its holder; the API counts whole seconds. */
  readonly leaseMs: number;
  /** A leader that could not renew for so long stops: some time before anybody else may begin. */
  readonly renewWithinMs: number;
  readonly retryMs: number;
}

/** As Kubernetes' own controllers have them. */
const usualTimes: LeaseTimes = { leaseMs: 15_000, renewWithinMs: 10_000, retryMs: 2_000 };

/** Others come a little later by chance, so that not all ask at once. */
const jitter = 1.2;

export interface LeaderOptions {
  readonly lease: LeaseObject;
  /** Who this is, unlike any other process, and unlike this pod's last one. */
  readonly identity: string;
  /**
   * What one replica alone does. It goes on until the signal aborts, and then ends soon: nothing it begins after that
   * may change anything. Where it ends before, the lead is given up.
   */
  readonly lead: (signal: AbortSignal) => Promise<void>;
  readonly log: Logger;
  readonly times?: LeaseTimes;
}

/** What came of a try to hold the Lease. */
type Outcome =
  | { readonly kind: 'held'; readonly untilMs: number }
  /** Another holds it. */
  | { readonly kind: 'taken' }
  /** The API did not say, or somebody else wrote at the same time. */
  | { readonly kind: 'failed' }
  /** There is no reason to go on: asked to stop, out of time, or the work is done. */
  | { readonly kind: 'ended' };

/** Takes part in the election of one leader among all replicas, as long as the process runs. */
export class Leader {
  readonly #options: LeaderOptions;
  readonly #times: LeaseTimes;
  readonly #observer = new LeaseObserver();
  readonly #stopping = new AbortController();
  readonly #ended: Promise<void>;
  /** Until when this one leads unless it renews; by the clock of `performance.now()`. */
  #untilMs = -Infinity;
  #lastProblem: string | undefined;

  private constructor(options: LeaderOptions) {
    this.#options = options;
    this.#times = options.times ?? usualTimes;
    this.#ended = this.#run();
  }

  static start(options: LeaderOptions): Leader {
    return new Leader(options);
  }

  get leading(): boolean {
    return performance.now() < this.#untilMs;
  }

  /** Ends what is done as the leader, waits for that, and gives the Lease back, so that another need not wait. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#ended;
  }

  async #run(): Promise<void> {
    const stop = this.#stopping.signal;
    while (!stop.aborted) {
      const outcome = await this.#tryHold();
      if (outcome.kind === 'held') await this.#lead(outcome.untilMs);
      await pause(this.#times.retryMs * (1 + Math.random() * jitter), stop);
    }
  }

  async #lead(untilMs: number): Promise<void> {
    const { log, lead } = this.#options;
    const stop = this.#stopping.signal;
    const term = new AbortController();
    this.#untilMs = untilMs;
    log.info('leads');
    const work = lead(term.signal)
      .catch((error: unknown) => log.error({ name: nameOf(error) }, 'what a leader does failed'))
      .then((): Outcome => ({ kind: 'ended' }));
    let attempt: Promise<Outcome> = Promise.resolve({ kind: 'failed' });
    for (;;) {
      attempt = this.#renew();
      const round = new AbortController();
      // Whatever becomes of the request, the lead ends in time.
      const outcome = await Promise.race([work, attempt, this.#end(round.signal)]);
      round.abort();
      if (outcome.kind === 'held') this.#untilMs = outcome.untilMs;
      if (outcome.kind === 'taken' || outcome.kind === 'ended' || !this.leading) break;
    }
    const held = this.leading;
    this.#untilMs = -Infinity;
    term.abort();
    log.info({ held }, 'leads no more');
    await Promise.all([work, attempt]);
    if (held) await this.#release();
    if (held) await pause(this.#times.leaseMs, stop); // another may do better
  }

  async #renew(): Promise<Outcome> {
    await pause(this.#times.retryMs, this.#stopping.signal);
    return this.#stopping.signal.aborted ? { kind: 'ended' } : this.#tryHold();
  }

  /** Settles when the lead ends unless it is renewed, or is asked to. */
  async #end(round: AbortSignal): Promise<Outcome> {
    const signal = AbortSignal.any([this.#stopping.signal, round]);
    await pause(Math.max(0, this.#untilMs - performance.now()), signal);
    return { kind: 'ended' };
  }

  /** Takes or renews the Lease where that may be done. The time counts from before it was asked for. */
  async #tryHold(): Promise<Outcome> {
    const { lease, identity, log } = this.#options;
    const untilMs = performance.now() + this.#times.renewWithinMs;
    try {
      const found = await lease.read();
      this.#lastProblem = undefined;
      if (this.#observer.isTaken(found, identity, performance.now())) return { kind: 'taken' };
      const now = microTime(new Date());
      const isOurs = found.holder === identity;
      const written = await lease.write(found.version, {
        holder: identity,
        durationMs: this.#times.leaseMs,
        renewTime: now,
        acquireTime: isOurs ? found.acquireTime : now,
        transitions: found.transitions + (isOurs ? 0 : 1),
      });
      return written ? { kind: 'held', untilMs } : { kind: 'failed' }; // who wrote is seen at the next try
    } catch (error) {
      const problem = problemOf(error);
      if (problem !== this.#lastProblem) log.warn({ problem }, 'the Lease cannot be had');
      this.#lastProblem = problem;
      return { kind: 'failed' };
    }
  }

  async #release(): Promise<void> {
    const { lease, identity, log } = this.#options;
    try {
      const found = await lease.read();
      if (found.holder !== identity) return;
      await lease.write(found.version, {
        ...found,
        holder: '',
        durationMs: 1_000,
        renewTime: microTime(new Date()),
      });
    } catch (error) {
      log.warn({ problem: problemOf(error) }, 'the Lease was not given back'); // it expires
    }
  }
}

function problemOf(error: unknown): string {
  return error instanceof ApiException ? `status ${error.code}` : nameOf(error);
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : 'unknown';
}

/** Settles after a time, or when the signal aborts. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined); // what has been waited for has come
}
