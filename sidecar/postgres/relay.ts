import type { Duplex } from 'node:stream';
import { ChaperoneError } from '#core/errors.ts';
import type { RecordRef, Refusal } from '#core/operation.ts';
import type { EndReason } from '#core/record/kinds.ts';
import type { Session } from '../lane.ts';
import type { Stop } from '../ready.ts';
import { unrecordable } from '../spool/writer.ts';
import { Answers } from './answers.ts';
import { Intake, type Phase } from './intake.ts';
import { Interruption } from './interruption.ts';
import { LookAhead } from './look-ahead.ts';
import { PostgresOutlet } from './outlet.ts';
import type { Effect, Item } from './items.ts';
import { Pipeline } from './pipeline.ts';
import type { Reader } from './reading/reader.ts';
import { buildRefusal } from './refusal.ts';
import { ReleaseQueue } from './release.ts';
import { Stopping } from './stopping.ts';
import { dropUnsent, unlessCleared } from './unsent.ts';

const highWaterBytes = 262_144;
const maxOutstanding = 1_000; // messages that wait for the spool or for their reply; each costs about a kilobyte
const lingerMs = 5_000; // for the peer to close after we did
const maxLingers = 12; // while it has not read all that was said: a minute

export interface RelayOptions {
  readonly agent: Duplex;
  readonly upstream: Duplex;
  readonly session: Session;
  /** Cancels what the backend runs for this connection; resolves when it has the signal. */
  readonly cancel: () => Promise<void>;
  /** Reads what texts do, where policies may ask for it. */
  readonly reader?: Reader;
}

const overLimit: Refusal = { code: 'limit', message: 'a limit has ended this' };
const unending: Stop = {
  refusal: {
    code: 'session-ended',
    message: 'a request met a limit, and the backend did not end it',
    hint: 'Connect again.',
  },
  reason: 'limit',
};

// The agent has read an error already and sends no data, and the COPY has taken its Sync: neither would ever end.
const copyUnseen: Stop = {
  refusal: {
    code: 'session-ended',
    message: 'a COPY takes data behind an answer that was cut for a limit',
    hint: 'Connect again, and send a COPY on its own.',
  },
  reason: 'limit',
};

const betweenAnswers = { inside: false, idle: true };

/** Carries one logged-in connection to its end: agent → admission → spool → pipeline → backend, and the answers back. */
export class Relay {
  readonly #agent: Duplex;
  readonly #upstream: Duplex;
  readonly #session: Session;
  readonly #intake: Intake;
  readonly #pipeline = new Pipeline();
  readonly #outlet: PostgresOutlet;
  readonly #release: ReleaseQueue;
  readonly #stopping: Stopping;
  readonly #interruption: Interruption;
  readonly #sendCancel: () => Promise<void>;
  readonly #isCleared: (record: RecordRef) => boolean;
  readonly #answers: Answers;
  readonly #ahead = new LookAhead();
  /** Settles when the backend is gone and all that there is to say has been handed to the agent's socket. */
  readonly #over = Promise.withResolvers<void>();
  readonly #agentClosed = Promise.withResolvers<void>();
  #takingAhead = false;
  #agentEnded = false;
  #upstreamEnded = false;
  #reason: EndReason | undefined;
  #lingerTimer: NodeJS.Timeout | undefined;
  #lingers = 0;
  #defect: Error | undefined;

  constructor({ agent, upstream, session, cancel, reader }: RelayOptions) {
    this.#agent = agent;
    this.#upstream = upstream;
    this.#session = session;
    this.#sendCancel = cancel;
    this.#isCleared = (record) => session.isCleared(record);
    this.#stopping = new Stopping({
      cancel: () => this.cancel(),
      cut: (stop) => this.#endWith(stop),
    });
    this.#interruption = new Interruption({
      runs: (permit) => this.#pipeline.expected.mayRun(permit),
      cancel: () => this.#interrupt(),
      cut: () => this.#endWith(unending),
    });
    this.#intake = new Intake({
      session,
      pipeline: this.#pipeline,
      phase: () => this.#phase,
      forward: (items, stop) => this.#forwardAdmitted(items, stop),
      onProgress: () => this.#progress(),
      reader,
      onRead: () => {
        this.#guard(() => this.#intake.resume());
        this.#progress();
      },
    });
    this.#outlet = new PostgresOutlet(upstream, session);
    this.#release = new ReleaseQueue({
      agent,
      onBroken: (stop) => this.#break(stop.reason),
      onProgress: () => this.#progress(),
    });
    this.#answers = new Answers({
      session,
      pipeline: this.#pipeline,
      release: this.#release,
      onCopyIn: () => this.#intake.beginCopy(),
      onRenamed: (renames, tag) => this.#intake.forget(renames, tag),
      onFailed: () => this.#intake.forgetDoubtful(),
    });
  }

  /** Cancels what runs, if anything does. */
  cancel(): void {
    if (!this.#pipeline.idle) this.#intake.waitForCancel(this.#sendCancel());
  }

  /** Cancels what is more than it may be. A backend that awaits data of the agent's reads them whatever is cancelled. */
  #interrupt(): void {
    if (!this.#pipeline.copyIn || this.#pipeline.inside) return this.cancel();
    return this.#guard(() => {
      const refused = { kind: 'refused', simple: false, data: true, refusal: overLimit } as const;
      this.#perform(this.#pipeline.forward(refused));
      this.#outlet.flush();
    });
  }

  #overdue(): void {
    const found = this.#pipeline.expected.overdue();
    if (!found) return;
    this.#answers.limit.cancels(found.permit, found.over);
    this.#interruption.begin(found.permit);
  }

  get #phase(): Phase {
    if (this.#reason !== undefined || this.#stopping.cancelling) return 'over';
    return this.#stopping.stop ? 'finishing' : 'open';
  }

  /**
   * Ends the session once the backend is gone and the agent is told, with every operation's result. Resolves with the
   * reason when the agent has closed as well, or did not for a while.
   * @throws what is neither the agent's fault nor the backend's.
   */
  async run(): Promise<EndReason> {
    this.#agent.on('data', (chunk: Buffer) => this.#fromAgentRead(chunk));
    this.#agent.on('end', () => this.#agentEnd());
    this.#agent.on('drain', () => this.#progress());
    this.#agent.on('close', () => this.#agentClose());
    this.#upstream.on('data', (chunk: Buffer) => this.#guard(() => this.#fromBackendRead(chunk)));
    this.#upstream.on('end', () => this.#upstreamEnd());
    this.#upstream.on('drain', () => this.#progress());
    this.#upstream.on('close', () => this.#upstreamClose());
    this.#session.onOverdue(() => this.#overdue());
    const { signal, urgent } = this.#session;
    const stopped = ({ target }: Pick<Event, 'target'>): void => {
      if (target instanceof AbortSignal) this.#stop(target.reason as Stop); // the only reason a session aborts with
    };
    for (const target of [signal, urgent]) {
      target.addEventListener('abort', stopped, { once: true });
      if (target.aborted) stopped({ target });
    }
    // What happened while the login went on was said to listeners that are gone.
    if (this.#agent.readableEnded) this.#agentEnd();
    if (this.#agent.closed) this.#agentClose();
    if (this.#upstream.readableEnded) this.#upstreamEnd();
    if (this.#upstream.closed) this.#upstreamClose();
    await this.#over.promise;
    this.#stopping.end();
    this.#interruption.end();
    await this.#intake.end(); // what was admitted and is not forwarded any more ends before the session does
    for (const target of [signal, urgent]) target.removeEventListener('abort', stopped);
    this.#pipeline.abandon();
    const reason = this.#defect ? 'internal-error' : (this.#reason ?? 'agent-vanished');
    this.#session.end(reason); // an agent that does not close must not keep its record open
    await this.#agentClosed.promise;
    clearTimeout(this.#lingerTimer);
    if (this.#defect) throw this.#defect;
    return reason;
  }

  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      const known = error instanceof ChaperoneError;
      if (!known) this.#defect = new Error('a connection met a defect', { cause: error });
      const refusal = known
        ? { code: error.code, message: error.peerMessage }
        : { code: 'internal-error' as const, message: 'an internal error ended the session' };
      if (known && error.code === 'protocol-violation') this.#session.violated(error.code);
      const unrecorded = known && error.code === 'audit-unavailable';
      const fault = unrecorded ? 'audit-unavailable' : 'protocol-violation';
      this.#endWith({ refusal, reason: known ? fault : 'internal-error' });
    }
  }

  #fromAgentRead(chunk: Buffer): void {
    if (this.#phase === 'over') return;
    this.#ahead.push(chunk);
    this.#progress();
  }

  /** Takes what the agent has said while the spool and the backend keep up. */
  #takeAhead(): void {
    if (this.#takingAhead) return;
    this.#takingAhead = true;
    while (!this.#ahead.empty && !this.#waits) {
      const chunk = this.#ahead.shift();
      if (chunk && this.#phase !== 'over') this.#guard(() => this.#intake.push(chunk));
    }
    this.#takingAhead = false;
  }

  /** Whether the agent has to wait until the backend or the spool have caught up. */
  get #waits(): boolean {
    if (this.#phase === 'over') return false;
    return (
      this.#intake.holding ||
      this.#intake.items + this.#pipeline.expected.size > maxOutstanding ||
      this.#intake.bytes > highWaterBytes ||
      this.#upstream.writableLength > highWaterBytes ||
      this.#release.backlogBytes > highWaterBytes // answers of our own, to an agent that does not read
    );
  }

  #forwardAdmitted(items: readonly Item[], stop: Stop | undefined): void {
    if (this.#reason || this.#stopping.cancelling) dropUnsent(items);
    else this.#guard(() => this.#forward(items, stop));
    this.#guard(() => this.#intake.resume());
  }

  #forward(items: readonly Item[], stop: Stop | undefined): void {
    const { refusal } = stop ?? unrecordable;
    let forwarded = 0;
    try {
      for (const item of items) {
        if (stop && this.#cutShort(item, stop)) break;
        const allowed = unlessCleared(item, refusal, this.#isCleared);
        forwarded += 1;
        this.#perform(this.#pipeline.forward(allowed));
        if (item.kind === 'terminate') this.#reason = 'agent-closed';
      }
    } finally {
      dropUnsent(items.slice(forwarded));
      this.#outlet.flush();
    }
  }

  /** More of a message that was begun cannot be recorded: it cannot be finished, nor can anything be said behind it. */
  #cutShort(item: Item, stop: Stop): boolean {
    if (!this.#pipeline.inside) return false;
    if (item.kind !== 'more' && item.kind !== 'copy-data') return false;
    this.#endWith(stop);
    return true;
  }

  #perform(effects: readonly Effect[]): void {
    for (const effect of effects) {
      switch (effect.kind) {
        case 'send':
          this.#outlet.send(effect.permit, effect.frame, effect.record);
          break;
        case 'control':
          this.#outlet.control(effect.control);
          break;
        case 'answer':
          this.#release.push([{ bytes: effect.bytes, ready: false }], undefined, betweenAnswers);
          break;
      }
    }
  }

  #fromBackendRead(chunk: Buffer): void {
    if (this.#upstream.destroyed) return; // what was buffered still comes, and nothing may follow our last word
    const ready = this.#answers.push(chunk);
    if (ready && !this.#pipeline.idle) this.#stopping.goesOn();
    const { limit } = this.#answers;
    if (limit.running) this.#interruption.begin(limit.running);
    else if (limit.withholding && this.#pipeline.copyIn) this.#endWith(copyUnseen);
    this.#intake.resume();
    this.#endUpstream();
    this.#progress();
  }

  /**
   * Reads from a side only while the other keeps up, and from the agent a little further: this is all the buffering there
   * is. Once it is over the agent is read to its end, whatever it says, to learn when it closes.
   */
  #progress(): void {
    const { stop } = this.#stopping;
    if (this.#pipeline.idle && this.#intake.empty) {
      this.#session.rest();
      if (stop) this.#endWith(stop);
    }
    this.#takeAhead();
    if (this.#ahead.bytes > highWaterBytes) this.#agent.pause();
    else if (this.#agent.isPaused()) this.#agent.resume();
    if (this.#release.backlogBytes > highWaterBytes) this.#upstream.pause();
    else if (this.#upstream.isPaused()) this.#upstream.resume();
    if (this.#upstreamEnded && this.#release.empty) this.#agent.end();
    this.#endUpstream();
    this.#settle();
  }

  #agentEnd(): void {
    this.#agentEnded = true;
    if (this.#stopping.stop) this.#stop(this.#stopping.stop);
    this.#endUpstream();
    this.#linger();
  }

  /** Passes on that the agent has nothing more to say, once all that it said is passed on. */
  #endUpstream(): void {
    if (this.#agentEnded && this.#ahead.empty && this.#intake.empty) this.#upstream.end();
  }

  #agentClose(): void {
    this.#reason ??= this.#agentEnded ? 'agent-closed' : 'agent-vanished';
    this.#upstream.destroy();
    this.#agentClosed.resolve();
    this.#settle();
  }

  #upstreamEnd(): void {
    this.#upstreamEnded = true;
    this.#reason ??= this.#agentEnded ? 'agent-closed' : 'backend-closed';
    this.#upstream.destroy(); // all that it said was read
    this.#progress();
    this.#linger();
  }

  #upstreamClose(): void {
    if (!this.#upstreamEnded) this.#upstreamEnd();
    this.#settle();
  }

  #settle(): void {
    if (this.#upstream.closed && (this.#release.empty || this.#agent.closed)) this.#over.resolve();
  }

  /**
   * The session is stopped from outside: at once when nothing runs, else when that has ended or its time is up. What
   * waits for the rest of a message or of a COPY of the agent's gets it, unless the stop is an urgent one.
   */
  #stop(asked: Stop): void {
    // One whose agent has said its last is not waited for: in a pod that has ended, which looks no different, there may
    // be two seconds left until all has to be recorded and shipped.
    const stop = this.#agentEnded ? { ...asked, urgent: true as const } : asked;
    this.#stopping.begin(stop);
    const waits = this.#pipeline.copyIn !== undefined || this.#pipeline.inside;
    if (waits && stop.urgent === true) this.#endWith(stop);
    this.#progress();
  }

  /** Tells the agent why and closes both sides. */
  #endWith({ refusal, reason }: Stop): void {
    if (this.#reason && (this.#upstreamEnded || this.#upstream.destroyed)) return;
    this.#reason ??= reason; // an agent that has said its last may still be answered
    const fatal = { bytes: buildRefusal(refusal, 'FATAL'), ready: false, last: true };
    this.#upstream.destroy(); // first: saying it makes progress, which must not say it again
    if (!this.#answers.inside) this.#release.push([fatal], undefined, betweenAnswers);
    this.#linger();
  }

  #break(reason: EndReason): void {
    this.#reason ??= reason;
    this.#agent.destroy();
    this.#upstream.destroy();
  }

  #linger(): void {
    clearTimeout(this.#lingerTimer);
    this.#lingerTimer = setTimeout(() => this.#giveUp(), lingerMs);
  }

  #giveUp(): void {
    if (!this.#upstreamEnded && !this.#reason) return; // half closed: the agent still awaits its answers
    this.#upstream.destroy();
    this.#lingers += 1;
    if (this.#agent.writableLength > 0 && this.#lingers < maxLingers) this.#linger();
    else this.#agent.destroy();
  }
}
