import { ChaperoneError } from '#core/errors.ts';
import type { Outcome, Refusal } from '#core/operation.ts';
import {
  BackendTag,
  buildReadyForQuery,
  parseErrorFields,
  parseReadyForQuery,
  type TransactionStatus,
} from '#core/postgres/backend.ts';
import type { Permit } from '../gate.ts';
import { buildRefusal } from './refusal.ts';
import type { Control } from './outlet.ts';
import type { Change, Statement } from './statements.ts';

/**
 * What one connection may do next. PostgreSQL answers messages in their order, drops everything after an error up to
 * the next Sync, and answers each Sync with one ReadyForQuery (manual, "Extended Query"). The pipeline holds the two
 * halves of that: what was sent and still awaits its reply, and whether the messages before the next Sync are dropped.
 * Transitions return what is to be done; decisions, records and sockets are elsewhere.
 */

/** A message of the agent, decided on and in the order of sending. */
export type Item =
  | {
      readonly kind: 'query' | 'parse';
      readonly permit: Permit;
      readonly change: Change;
      readonly frame: Buffer;
    }
  | { readonly kind: 'bind' | 'describe-portal'; readonly permit: Permit; readonly frame: Buffer }
  | {
      readonly kind: 'execute';
      readonly permit: Permit;
      readonly statement: Statement;
      readonly frame: Buffer;
    }
  | { readonly kind: 'describe-statement'; readonly statement: Statement; readonly frame: Buffer }
  | { readonly kind: 'close'; readonly change?: Change; readonly frame: Buffer }
  | { readonly kind: 'flush' | 'sync' | 'terminate'; readonly frame: Buffer }
  /** `simple`: a refused Query, which ends with a ReadyForQuery of its own. */
  | { readonly kind: 'refused'; readonly simple: boolean; readonly refusal: Refusal };

/** What is to be done after a transition. */
export type Effect =
  | { readonly kind: 'send'; readonly permit: Permit; readonly frame: Buffer }
  | { readonly kind: 'control'; readonly control: Control }
  | { readonly kind: 'answer'; readonly bytes: Buffer };

/** What a backend's message means to us, and what becomes of it. */
export type Reply =
  | { readonly kind: 'answer'; readonly permit: Permit; readonly ends?: Outcome }
  | { readonly kind: 'layout'; readonly statement: Statement }
  | { readonly kind: 'acknowledgement' }
  | { readonly kind: 'aside'; readonly channel: 'notice' | 'parameters' | 'message' }
  | { readonly kind: 'replaced'; readonly bytes: Buffer }
  | { readonly kind: 'ready' }
  /** COPY FROM STDIN: not carried yet, so the agent's data is refused to the backend. */
  | { readonly kind: 'copy-in'; readonly permit: Permit; readonly effects: readonly Effect[] };

/** A reply that is still to come. */
type Expected =
  | { readonly kind: 'query' | 'parse'; readonly permit: Permit; readonly change: Change }
  | { readonly kind: 'bind' | 'describe-portal'; readonly permit: Permit }
  | { readonly kind: 'execute'; readonly permit: Permit; readonly statement: Statement }
  | { readonly kind: 'describe-statement'; readonly statement: Statement }
  | { readonly kind: 'close'; readonly change: Change | undefined }
  | { readonly kind: 'sync' }
  /** An Execute that must fail: its error becomes the refusal, so that the transaction fails as for any error. */
  | { readonly kind: 'poison'; readonly error: Buffer };

/** What becomes of messages up to the next Sync. */
type Segment =
  | 'clean' // nothing was sent since the last Sync
  | 'open'
  | 'skipping' // after an error: dropped, as the backend would
  | 'skipping-here'; // refused before anything went up: the Sync is answered here as well

/** A driver binds and executes at once. Past this many the oldest is taken as never executed. */
const maxPortals = 10_000;

const backendMisbehaved = (tag: number): ChaperoneError =>
  new ChaperoneError('protocol-violation', `the backend sent an unexpected message (${tag})`);

export class Pipeline {
  readonly #expected: Expected[] = [];
  /** Portals that exist at the backend and have not run to their end, by their operation. */
  readonly #portals = new Map<Permit, 'bound' | 'suspended'>();
  #segment: Segment = 'clean';
  #status: TransactionStatus = 'I';

  /** Whether every message that was sent has its reply. */
  get idle(): boolean {
    return this.#expected.length === 0;
  }

  /** How many replies are still to come. */
  get outstanding(): number {
    return this.#expected.length;
  }

  /** Takes the next message of the agent. */
  forward(item: Item): readonly Effect[] {
    if (item.kind === 'terminate')
      return [{ kind: 'control', control: { kind: 'terminate', frame: item.frame } }];
    if (this.#segment === 'skipping' || this.#segment === 'skipping-here') return this.#skip(item);
    switch (item.kind) {
      case 'refused':
        return this.#refuse(item.simple, buildRefusal(item.refusal));
      case 'query':
        this.#segment = 'clean'; // answered with a ReadyForQuery of its own
        return this.#send(item);
      case 'parse':
        this.#segment = 'open';
        return this.#send(item);
      case 'bind':
      case 'describe-portal':
        this.#segment = 'open';
        this.#expected.push({ kind: item.kind, permit: item.permit });
        return [{ kind: 'send', permit: item.permit, frame: item.frame }];
      case 'execute':
        this.#segment = 'open';
        this.#expected.push({ kind: item.kind, permit: item.permit, statement: item.statement });
        return [{ kind: 'send', permit: item.permit, frame: item.frame }];
      case 'describe-statement':
        this.#segment = 'open';
        this.#expected.push({ kind: item.kind, statement: item.statement });
        return [{ kind: 'control', control: { kind: 'describe', frame: item.frame } }];
      case 'close':
        this.#segment = 'open';
        this.#expected.push({ kind: 'close', change: item.change });
        return [{ kind: 'control', control: { kind: 'close', frame: item.frame } }];
      case 'flush':
        return [{ kind: 'control', control: { kind: 'flush', frame: item.frame } }];
      case 'sync':
        return this.#sync(item.frame);
    }
  }

  /** Takes a message of the backend; `body` is undefined for the runs of rows and COPY data. */
  reply(tag: number, body: Buffer | undefined): Reply {
    if (tag === BackendTag.NoticeResponse) return this.#notice();
    if (tag === BackendTag.ParameterStatus) return { kind: 'aside', channel: 'parameters' };
    if (tag === BackendTag.NotificationResponse) return { kind: 'aside', channel: 'message' };
    if (tag === BackendTag.ErrorResponse && body) return this.#error(body);
    const head = this.#expected[0];
    if (!head) throw backendMisbehaved(tag);
    switch (head.kind) {
      case 'query':
        return this.#answer(head.permit, undefined, tag, body);
      case 'execute':
        return this.#answer(head.permit, head.statement, tag, body);
      case 'parse':
        head.change.applied = true;
        return this.#shift(tag, BackendTag.ParseComplete);
      case 'bind':
        this.#hold(head.permit, 'bound');
        return this.#shift(tag, BackendTag.BindComplete);
      case 'close':
        if (head.change) head.change.applied = true;
        return this.#shift(tag, BackendTag.CloseComplete);
      case 'describe-portal':
        if (tag !== BackendTag.RowDescription && tag !== BackendTag.NoData)
          throw backendMisbehaved(tag);
        this.#expected.shift();
        return { kind: 'answer', permit: head.permit };
      case 'describe-statement':
        return this.#layout(head.statement, tag);
      case 'sync':
        if (tag !== BackendTag.ReadyForQuery || !body) throw backendMisbehaved(tag);
        return this.#ready(body);
      case 'poison':
        throw backendMisbehaved(tag);
    }
  }

  /** The answer under way cannot be recorded, and so not be released: its operation is incomplete. */
  interrupt(): void {
    const head = this.#expected[0];
    if (head && 'permit' in head) head.permit.finish({ status: 'incomplete' });
  }

  /** Ends the operations whose answers will not come, for the end of the session. */
  abandon(): void {
    for (const expected of this.#expected) {
      if ('permit' in expected) expected.permit.finish({ status: 'incomplete' });
    }
    this.#expected.length = 0;
    this.#closePortals();
  }

  #send(item: Extract<Item, { kind: 'query' | 'parse' }>): readonly Effect[] {
    this.#expected.push({ kind: item.kind, permit: item.permit, change: item.change });
    return [{ kind: 'send', permit: item.permit, frame: item.frame }];
  }

  #sync(frame: Buffer): readonly Effect[] {
    this.#segment = 'clean';
    this.#expected.push({ kind: 'sync' });
    return [{ kind: 'control', control: { kind: 'sync', frame } }];
  }

  #skip(item: Item): readonly Effect[] {
    if (item.kind === 'sync') {
      if (this.#segment === 'skipping') return this.#sync(item.frame);
      this.#segment = 'clean';
      return [{ kind: 'answer', bytes: buildReadyForQuery(this.#status) }];
    }
    if ('permit' in item && item.kind !== 'execute') item.permit.finish({ status: 'not-executed' });
    return [];
  }

  /**
   * Refuses in the place of the message. Outside a transaction and with nothing under way the answer is made here.
   * Else the backend is made to fail at this place: an Execute of a portal that does not exist touches no statement and
   * no portal, and rolls back or fails the transaction exactly as an error of the refused message would have done.
   */
  #refuse(simple: boolean, error: Buffer): readonly Effect[] {
    if (this.idle && this.#segment === 'clean' && this.#status === 'I') {
      if (simple)
        return [{ kind: 'answer', bytes: Buffer.concat([error, buildReadyForQuery('I')]) }];
      this.#segment = 'skipping-here';
      return [{ kind: 'answer', bytes: error }];
    }
    this.#expected.push({ kind: 'poison', error });
    const poison: Effect = { kind: 'control', control: { kind: 'poison' } };
    if (!simple) {
      this.#segment = 'skipping';
      return [poison];
    }
    this.#segment = 'clean';
    this.#expected.push({ kind: 'sync' });
    return [poison, { kind: 'control', control: { kind: 'own-sync' } }];
  }

  #notice(): Reply {
    const head = this.#expected[0];
    if (head?.kind === 'query' || head?.kind === 'execute')
      return { kind: 'answer', permit: head.permit };
    return { kind: 'aside', channel: 'notice' };
  }

  /** `statement` is undefined for a Query, whose answer goes on to its ReadyForQuery. */
  #answer(
    permit: Permit,
    statement: Statement | undefined,
    tag: number,
    body: Buffer | undefined,
  ): Reply {
    switch (tag) {
      case BackendTag.RowDescription:
      case BackendTag.DataRow:
      case BackendTag.CopyOutResponse:
      case BackendTag.CopyData:
      case BackendTag.CopyDone:
        return { kind: 'answer', permit };
      case BackendTag.CopyInResponse:
        return { kind: 'copy-in', permit, effects: this.#refuseCopyIn() };
      case BackendTag.CommandComplete:
      case BackendTag.EmptyQueryResponse:
        if (!statement) return { kind: 'answer', permit };
        this.#expected.shift();
        this.#portals.delete(permit);
        return { kind: 'answer', permit, ends: ended(statement) };
      case BackendTag.PortalSuspended:
        if (!statement) throw backendMisbehaved(tag);
        this.#expected.shift();
        this.#hold(permit, 'suspended');
        return { kind: 'answer', permit };
      case BackendTag.ReadyForQuery:
        if (statement || !body) throw backendMisbehaved(tag);
        permit.finish({ status: 'ok' }); // does nothing where an error has finished it before
        return this.#ready(body);
      default:
        throw backendMisbehaved(tag);
    }
  }

  /** A Sync that was sent already has been swallowed by the COPY, which ignores it: another one takes its place. */
  #refuseCopyIn(): readonly Effect[] {
    const fail: Effect = { kind: 'control', control: { kind: 'copy-fail' } };
    const swallowed = this.#expected.some(({ kind }) => kind === 'sync');
    return swallowed ? [fail, { kind: 'control', control: { kind: 'own-sync' } }] : [fail];
  }

  #shift(tag: number, want: number): Reply {
    if (tag !== want) throw backendMisbehaved(tag);
    this.#expected.shift();
    return { kind: 'acknowledgement' };
  }

  #layout(statement: Statement, tag: number): Reply {
    if (tag === BackendTag.RowDescription || tag === BackendTag.NoData) this.#expected.shift();
    else if (tag !== BackendTag.ParameterDescription) throw backendMisbehaved(tag);
    return { kind: 'layout', statement };
  }

  #ready(body: Buffer): Reply {
    const head = this.#expected.shift();
    if (head?.kind === 'query') head.change.applied = true;
    this.#status = parseReadyForQuery(body);
    if (this.#status === 'I') this.#closePortals(); // portals end with their transaction
    return { kind: 'ready' };
  }

  #hold(permit: Permit, state: 'bound' | 'suspended'): void {
    this.#portals.set(permit, state);
    if (this.#portals.size <= maxPortals) return;
    for (const oldest of this.#portals.keys()) {
      oldest.finish({ status: 'not-executed' });
      this.#portals.delete(oldest);
      return;
    }
  }

  #closePortals(): void {
    for (const [permit, state] of this.#portals) {
      permit.finish({ status: state === 'bound' ? 'not-executed' : 'ok' });
    }
    this.#portals.clear();
  }

  #error(body: Buffer): Reply {
    const head = this.#expected[0];
    // Before its end the backend speaks unasked, and after a Sync it may fail to commit: neither answers an operation.
    if (!head || head.kind === 'sync') return { kind: 'aside', channel: 'message' };
    const code = parseErrorFields(body).get('C');
    const outcome: Outcome = { status: 'error', ...(code === undefined ? {} : { code }) };
    if (head.kind === 'query') return { kind: 'answer', permit: head.permit, ends: outcome };
    this.#expected.shift();
    this.#dropUntilSync('permit' in head ? head.permit : undefined);
    if (head.kind === 'poison') return { kind: 'replaced', bytes: head.error };
    if ('permit' in head) return { kind: 'answer', permit: head.permit, ends: outcome };
    return { kind: 'aside', channel: 'message' };
  }

  /** The backend answers nothing more before the next Sync: what was sent up to there has not been done. */
  #dropUntilSync(failed: Permit | undefined): void {
    for (;;) {
      const next = this.#expected[0];
      if (next?.kind === 'sync') return;
      if (!next) {
        this.#segment = 'skipping';
        return;
      }
      this.#expected.shift();
      if ('permit' in next && next.permit !== failed)
        next.permit.finish({ status: 'not-executed' });
    }
  }
}

function ended({ layout }: Statement): Outcome {
  return { status: 'ok', ...(layout ? { layout } : {}) };
}
