import type { Duplex } from 'node:stream';
import { isPromise } from 'node:util/types';
import { ChaperoneError } from '#core/errors.ts';
import { BackendTag } from '#core/postgres/backend.ts';
import { FrameSplitter, type Piece } from '#core/postgres/frames.ts';
import { FrontendTag } from '#core/postgres/frontend.ts';
import type { EndReason } from '#core/record/kinds.ts';
import type { Permit } from '../gate.ts';
import type { Session } from '../lane.ts';
import type { Ready, Stop } from '../ready.ts';
import { Admission } from './admission.ts';
import { PostgresOutlet } from './outlet.ts';
import { Pipeline, type Effect, type Item, type Reply } from './pipeline.ts';
import { buildRefusal } from './refusal.ts';
import { ReleaseQueue, type Answer } from './release.ts';

/** What a client may send in one message other than COPY data; more cannot be held to be judged. */
export const maxFrontendMessageBytes = 16 * 1024 * 1024;
const maxBackendMessageBytes = 16 * 1024 * 1024; // errors, notices and descriptions; rows pass in runs
const highWaterBytes = 262_144;
const maxOutstanding = 1_000; // messages that wait for the spool or for their reply; each costs about a kilobyte
const finishMs = 5_000; // a statement that runs when its session is stopped may still end
const lingerMs = 5_000; // for the peer to close after we did

export interface RelayOptions {
  readonly agent: Duplex;
  readonly upstream: Duplex;
  readonly session: Session;
}

/** SQL that changes which text a statement's name stands for. */
const renamesStatements = /^(?:DEALLOCATE|DISCARD|PREPARE)/;
const betweenAnswers = { inside: false, idle: true };

/** Admitted items of one turn, forwarded once they are in the spool. */
interface Batch {
  readonly items: readonly Item[];
  readonly ready: Ready;
}

/** Carries one logged-in connection to its end: agent → admission → spool → pipeline → backend, and the answers back. */
export class Relay {
  readonly #agent: Duplex;
  readonly #upstream: Duplex;
  readonly #session: Session;
  readonly #admission: Admission;
  readonly #pipeline = new Pipeline();
  readonly #outlet: PostgresOutlet;
  readonly #release: ReleaseQueue;
  readonly #fromAgent = new FrameSplitter({
    streamed: new Set([FrontendTag.CopyData]),
    maxMessageBytes: maxFrontendMessageBytes,
    oversized: 'skip',
  });
  readonly #fromBackend = new FrameSplitter({
    streamed: new Set([BackendTag.DataRow, BackendTag.CopyData]),
    maxMessageBytes: maxBackendMessageBytes,
    oversized: 'throw',
  });
  readonly #inbox: Batch[] = [];
  readonly #done = Promise.withResolvers<EndReason>();
  #inboxItems = 0;
  #pumping = false;
  #pumped: Promise<void> = Promise.resolve();
  /** What waits until it is known what the names of statements mean. */
  #held: Piece[] = [];
  #crossed = false;
  #agentEnded = false;
  #upstreamEnded = false;
  #reason: EndReason | undefined;
  #stopping: Stop | undefined;
  #stopTimer: NodeJS.Timeout | undefined;
  #lingerTimer: NodeJS.Timeout | undefined;
  #defect: Error | undefined;

  constructor({ agent, upstream, session }: RelayOptions) {
    this.#agent = agent;
    this.#upstream = upstream;
    this.#session = session;
    this.#admission = new Admission(session);
    this.#outlet = new PostgresOutlet(upstream);
    this.#release = new ReleaseQueue({
      agent,
      onWithheld: () => this.#pipeline.interrupt(),
      onBroken: (stop) => this.#break(stop.reason),
      onProgress: () => this.#progress(),
    });
  }

  /** Whether the backend is working on something, so that a cancel has a target. */
  get busy(): boolean {
    return !this.#pipeline.idle;
  }

  /**
   * Resolves with the reason when both sides are closed; every operation has its result by then.
   * @throws what is neither the agent's fault nor the backend's.
   */
  async run(): Promise<EndReason> {
    this.#agent.on('data', (chunk: Buffer) => this.#guard(() => this.#fromAgentRead(chunk)));
    this.#agent.on('end', () => this.#agentEnd());
    this.#agent.on('drain', () => this.#progress());
    this.#agent.on('close', () => this.#agentClose());
    this.#upstream.on('data', (chunk: Buffer) => this.#guard(() => this.#fromBackendRead(chunk)));
    this.#upstream.on('end', () => this.#upstreamEnd());
    this.#upstream.on('drain', () => this.#progress());
    this.#upstream.on('close', () => this.#upstreamClose());
    const { signal } = this.#session;
    const stopped = (): void => this.#stop(signal.reason as Stop); // the only reason a session aborts with
    signal.addEventListener('abort', stopped, { once: true });
    if (signal.aborted) stopped();
    // What happened while the login went on was said to listeners that are gone.
    if (this.#agent.readableEnded) this.#agentEnd();
    if (this.#agent.closed) this.#agentClose();
    if (this.#upstream.readableEnded) this.#upstreamEnd();
    if (this.#upstream.closed) this.#upstreamClose();
    const reason = await this.#done.promise;
    await this.#pumped; // what was admitted and is not forwarded any more ends before the session does
    clearTimeout(this.#stopTimer);
    clearTimeout(this.#lingerTimer);
    signal.removeEventListener('abort', stopped);
    this.#pipeline.abandon();
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
        : { code: 'protocol-violation' as const, message: 'an internal error ended the session' };
      const unrecorded = known && error.code === 'audit-unavailable';
      const fault = unrecorded ? 'audit-unavailable' : 'protocol-violation';
      this.#endWith({ refusal, reason: known ? fault : 'internal-error' });
    }
  }

  #fromAgentRead(chunk: Buffer): void {
    if (this.#reason || this.#stopping) return;
    this.#admit(this.#fromAgent.push(chunk));
  }

  /**
   * Admits messages as they come, also many at once. Only where a pipeline goes on behind a Sync while the backend has
   * not said yet whether it made a statement does the rest wait: a Bind there could mean another text than it seems to.
   */
  #admit(pieces: readonly Piece[]): void {
    const items: Item[] = [];
    for (const [index, piece] of pieces.entries()) {
      if (this.#crossed || this.#held.length > 0) {
        this.#held.push(...pieces.slice(index));
        break;
      }
      const item = this.#admission.admit(piece);
      if (item) items.push(item);
      const ends = piece.tag === FrontendTag.Sync || piece.tag === FrontendTag.Query;
      this.#crossed = ends && this.#admission.uncertain;
    }
    if (items.length === 0) return;
    this.#inbox.push({ items, ready: this.#session.recorded() });
    this.#inboxItems += items.length;
    if (!this.#pumping) this.#pumped = this.#pump();
    this.#progress();
  }

  /** Every reply has come: names mean what the backend says, and what was held goes on. */
  #settleNames(): void {
    if (!this.#pipeline.idle || this.#inbox.length > 0) return;
    this.#admission.settle();
    this.#crossed = false;
    const held = this.#held;
    this.#held = [];
    if (held.length > 0 && !this.#reason && !this.#stopping) this.#admit(held);
  }

  /** Forwards what is in the spool. Never rejects: turns settle with a Stop, and `#guard` takes the rest. */
  async #pump(): Promise<void> {
    this.#pumping = true;
    for (let batch = this.#inbox[0]; batch; batch = this.#inbox[0]) {
      const stop = isPromise(batch.ready) ? await batch.ready : batch.ready;
      this.#inbox.shift();
      const { items } = batch;
      this.#inboxItems -= items.length;
      if (!this.#reason) this.#guard(() => this.#forward(items, stop));
      else dropUnsent(items);
      this.#guard(() => this.#settleNames());
      this.#progress();
    }
    this.#pumping = false;
    this.#endUpstream();
  }

  #forward(items: readonly Item[], stop: Stop | undefined): void {
    this.#upstream.cork();
    for (const item of items) {
      this.#perform(this.#pipeline.forward(stop ? unrecorded(item, stop) : item));
      if (item.kind === 'terminate') this.#reason = 'agent-closed';
    }
    this.#upstream.uncork();
  }

  #perform(effects: readonly Effect[]): void {
    for (const effect of effects) {
      switch (effect.kind) {
        case 'send':
          this.#outlet.send(effect.permit, effect.frame);
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
    const answers: Answer[] = [];
    for (const piece of this.#fromBackend.push(chunk)) this.#take(piece, answers);
    const { inside } = this.#fromBackend;
    const idle = this.#pipeline.idle;
    if (answers.length > 0) this.#release.push(answers, this.#session.recorded(), { inside, idle });
    if (this.#stopping && this.#pipeline.idle) this.#endWith(this.#stopping);
    this.#settleNames();
    this.#endUpstream();
    this.#progress();
  }

  #take(piece: Piece, answers: Answer[]): void {
    if (piece.kind === 'oversized') {
      throw new ChaperoneError(
        'protocol-violation',
        'the backend sent a message that is too large',
      );
    }
    const bytes = piece.kind === 'run' ? piece.bytes : piece.frame;
    const reply = this.#pipeline.reply(piece.tag, piece.kind === 'run' ? undefined : piece.body);
    this.#record(reply, bytes, piece.kind === 'run' ? piece.ended : 0);
    if (piece.tag === BackendTag.CommandComplete && piece.kind === 'message') {
      if (renamesStatements.test(piece.body.toString('latin1'))) this.#admission.forgetStatements();
    }
    if (reply.kind === 'copy-in') this.#perform(reply.effects);
    else if (reply.kind === 'replaced') answers.push({ bytes: reply.bytes, ready: false });
    else answers.push({ bytes, ready: reply.kind === 'ready' });
  }

  #record(reply: Reply, bytes: Buffer, rows: number): void {
    const content = { type: 'postgres.messages', bytes } as const;
    switch (reply.kind) {
      case 'answer':
      case 'copy-in':
        this.#recordAnswer(reply.permit, bytes, rows);
        if (reply.kind === 'answer' && reply.ends) reply.permit.finish(reply.ends);
        break;
      case 'layout':
        reply.statement.layout = this.#session.aside('layout', content, reply.statement.ref).ref;
        break;
      case 'aside':
        this.#session.aside(reply.channel, content);
        break;
      case 'acknowledgement':
      case 'replaced':
      case 'ready':
        break; // without content
    }
  }

  #recordAnswer(permit: Permit, bytes: Buffer, rows: number): void {
    if (permit.finished)
      this.#session.aside('message', { type: 'postgres.messages', bytes }, permit.ref);
    else permit.down(bytes, rows);
  }

  /** Reads from a side only while the other keeps up: this is all the buffering there is. */
  #progress(): void {
    const waiting =
      this.#held.length > 0 ||
      this.#inboxItems + this.#pipeline.outstanding > maxOutstanding ||
      this.#upstream.writableLength > highWaterBytes;
    if (waiting) this.#agent.pause();
    else if (this.#agent.isPaused()) this.#agent.resume();
    if (this.#release.backlogBytes > highWaterBytes) this.#upstream.pause();
    else if (this.#upstream.isPaused()) this.#upstream.resume();
    if (this.#upstreamEnded && this.#release.empty) this.#agent.end();
  }

  #agentEnd(): void {
    this.#agentEnded = true;
    this.#endUpstream();
    this.#linger();
  }

  /** Passes on that the agent has nothing more to say, once all that it said is passed on. */
  #endUpstream(): void {
    if (this.#agentEnded && !this.#pumping && this.#held.length === 0) this.#upstream.end();
  }

  #agentClose(): void {
    this.#reason ??= this.#agentEnded ? 'agent-closed' : 'agent-vanished';
    this.#upstream.destroy();
    this.#settle();
  }

  #upstreamEnd(): void {
    this.#upstreamEnded = true;
    this.#reason ??= this.#agentEnded ? 'agent-closed' : 'backend-closed';
    this.#progress();
    this.#linger();
  }

  #upstreamClose(): void {
    if (!this.#upstreamEnded) this.#upstreamEnd();
    this.#settle();
  }

  #settle(): void {
    if (this.#agent.closed && this.#upstream.closed)
      this.#done.resolve(this.#reason ?? 'agent-vanished');
  }

  /** The session is stopped from outside: at once when nothing runs, else when that has ended or its time is up. */
  #stop(stop: Stop): void {
    this.#stopping = stop;
    if (this.#pipeline.idle && this.#inbox.length === 0) return this.#endWith(stop);
    this.#stopTimer = setTimeout(() => this.#endWith(stop), finishMs);
    return undefined;
  }

  /** Tells the agent why and closes both sides. */
  #endWith({ refusal, reason }: Stop): void {
    if (this.#reason) return;
    this.#reason = reason;
    const fatal = { bytes: buildRefusal(refusal, 'FATAL'), ready: false };
    if (!this.#fromBackend.inside) this.#release.push([fatal], undefined, betweenAnswers);
    this.#upstream.destroy();
    this.#linger();
  }

  #break(reason: EndReason): void {
    this.#reason ??= reason;
    this.#agent.destroy();
    this.#upstream.destroy();
  }

  #linger(): void {
    clearTimeout(this.#lingerTimer);
    const both = (): void => {
      if (!this.#upstreamEnded && !this.#reason) return; // half closed: the agent still awaits its answers
      this.#agent.destroy();
      this.#upstream.destroy();
    };
    this.#lingerTimer = setTimeout(both, lingerMs);
  }
}

/** Turns what could not be recorded into its refusal. */
function unrecorded(item: Item, { refusal }: Stop): Item {
  if (!('permit' in item) || item.permit.ref.seq !== undefined) return item;
  return { kind: 'refused', simple: item.kind === 'query', refusal };
}

function dropUnsent(items: readonly Item[]): void {
  for (const item of items) {
    if ('permit' in item && item.kind !== 'execute') item.permit.finish({ status: 'not-executed' });
  }
}
