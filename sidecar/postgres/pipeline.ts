import type { Outcome } from '#core/operation.ts';
import {
  BackendTag,
  buildReadyForQuery,
  parseReadyForQuery,
  tryParseErrorCode,
  type TransactionStatus,
} from '#core/postgres/backend.ts';
import type { Permit } from '../gate.ts';
import { CopyIn } from './copy-in.ts';
import { execute } from './executing.ts';
import { Expectations } from './expectations.ts';
import {
  control,
  ended,
  type Effect,
  type Expected,
  type Item,
  type Passing,
  type Refused,
  type Reply,
  type Segment,
} from './items.ts';
import { Joined } from './joined.ts';
import { backendMisbehaved } from './misbehaved.ts';
import { ask, ownAnswer, syncBefore } from './own-queries.ts';
import { Portals } from './portals.ts';
import type { SettingsQuery } from './reading/settings-query.ts';
import { aborted, refuse } from './refusing.ts';
import type { Statement } from './statements.ts';

/**
 * What one connection may do next. PostgreSQL answers messages in their order, drops everything after an error up to
 * the next Sync, and answers each Sync with one ReadyForQuery (manual, "Extended Query"). The pipeline holds the two
 * halves of that: what was sent and still awaits its reply, and whether the messages before the next Sync are dropped.
 * Transitions return what is to be done; decisions, records and sockets are elsewhere.
 */
export class Pipeline {
  readonly #expected = new Expectations();
  readonly #portals = new Portals();
  readonly #copyIn = new CopyIn();
  readonly #joined = new Joined();
  /** A message of which more is to come. */
  #flowing: Permit | undefined;
  /** Syncs behind a COPY: whether the backend answers them depends on how far it has come. */
  #doubtfulSyncs = 0;
  /** The operation of which a part of the answer has come. */
  #answering: Permit | undefined;
  #segment: Segment = 'clean';
  #status: TransactionStatus = 'I';

  /** Whether every message that was sent has its reply. */
  get idle(): boolean {
    return this.#expected.size === 0;
  }

  /** The replies that are still to come. */
  get expected(): Pick<Expectations, 'size' | 'mayRun' | 'overdue'> {
    return this.#expected;
  }

  /** Whether no transaction was open at the last ReadyForQuery. */
  get wasIdle(): boolean {
    return this.#status === 'I';
  }

  /** The transaction that the next message meets; a pipeline without its Sync is in one, which an error has failed. */
  get status(): TransactionStatus {
    if (this.#segment === 'clean') return this.#status;
    return this.#segment === 'open' && this.#status !== 'E' ? 'T' : 'E';
  }

  /** Whether the backend would answer a query of the lane's own that is sent now, and nothing of the agent's change by it. */
  get mayAsk(): boolean {
    const between = this.#segment === 'clean' || this.#segment === 'open';
    const certain = this.#doubtfulSyncs === 0 && !this.#copyIn.taking && !this.inside;
    return this.idle && between && certain && this.#status !== 'E';
  }

  /** The operation that takes the agent's COPY data now. */
  get copyIn(): Permit | undefined {
    return this.#copyIn.taking;
  }

  /** Whether what was sent ends within a message, so that only more of it may follow. */
  get inside(): boolean {
    return this.#flowing !== undefined || this.#copyIn.inside;
  }

  /** Takes the next message of the agent. */
  forward(item: Item): readonly Effect[] {
    switch (item.kind) {
      case 'terminate':
        return [{ kind: 'control', control: { kind: 'terminate', frame: item.frame } }];
      case 'copy-data':
      case 'copy-end':
        return this.#copyIn.forward(item);
      case 'more':
        return this.#more(item);
      case 'own-flush':
        return [{ kind: 'control', control: { kind: 'own-flush' } }];
      case 'own-query':
        return this.#ask(item.query);
      default:
        if (this.#copyIn.taking) return this.#duringCopy(item);
        if (this.#segment === 'skipping' || this.#segment === 'skipping-here')
          return this.#skip(item);
        return this.#take(item);
    }
  }

  #take(item: Exclude<Item, { kind: Passing }>): readonly Effect[] {
    if (item.kind === 'refused') return this.#refuse(item);
    if (item.kind === 'sync') return this.#sync(item.frame);
    if (item.kind === 'flush') return [control('flush', item.frame)];
    const simple = item.kind === 'query' || item.kind === 'function-call';
    this.#segment = simple ? 'clean' : 'open'; // the first is answered with a ReadyForQuery of its own
    const before = simple ? syncBefore(this.#joined, this.#expected) : [];
    switch (item.kind) {
      case 'query':
      case 'parse':
        this.#expected.push({ kind: item.kind, permit: item.permit, change: item.change });
        return [...before, ...this.#send(item)];
      case 'function-call':
        this.#expected.push({ kind: 'query', permit: item.permit, change: undefined });
        return [...before, ...this.#send(item)];
      case 'bind':
        this.#expected.push({ kind: 'bind', permit: item.permit });
        return this.#send(item);
      case 'execute':
        this.#joined.executes();
        return execute(item, this.#expected);
      case 'describe-portal':
        if (item.portal) item.portal.described = true;
        this.#expected.push({ kind: item.kind, permit: item.portal?.permit });
        return [control('describe', item.frame, item.record)];
      case 'describe-statement':
        item.statement.layout ??= 'asked';
        this.#expected.push({ kind: item.kind, statement: item.statement });
        return [control('describe', item.frame, item.record)];
      case 'close':
        this.#expected.push({ kind: 'close', change: item.change });
        return [control('close', item.frame, item.record)];
    }
  }

  #ask(query: SettingsQuery): readonly Effect[] {
    const mayEnd = this.#segment === 'clean' || this.#status === 'T' || !this.#portals.any;
    if (this.#segment === 'clean' || this.#segment === 'open')
      return ask(query, this.#joined, mayEnd, this.#expected);
    query.fail(); // the backend would not answer before the next Sync
    return [];
  }

  /** Takes a message of the backend; `body` is undefined for runs of rows and data, and may be a beginning of errors. */
  reply(tag: number, body: Buffer | undefined): Reply {
    if (tag === BackendTag.NoticeResponse) return this.#notice();
    if (tag === BackendTag.ParameterStatus) return { kind: 'aside', channel: 'parameters' };
    if (tag === BackendTag.NotificationResponse) return { kind: 'aside', channel: 'message' };
    if (tag === BackendTag.ErrorResponse && body) return this.#error(body);
    const head = this.#expected.head;
    if (!head || (tag === BackendTag.ReadyForQuery && this.#isDoubtful(head)))
      return this.#doubtfulReady(tag, body);
    switch (head.kind) {
      case 'query':
        return this.#answer(head.permit, undefined, tag, body);
      case 'execute':
        return this.#answer(head.permit, head, tag, body);
      case 'parse':
        head.change.applied = true;
        return this.#shift(tag, BackendTag.ParseComplete);
      case 'bind':
        this.#portals.hold(head.permit, 'bound');
        return this.#shift(tag, BackendTag.BindComplete);
      case 'close':
        if (head.change) head.change.applied = true;
        return this.#shift(tag, BackendTag.CloseComplete);
      case 'describe-portal':
        if (tag !== BackendTag.RowDescription && tag !== BackendTag.NoData)
          throw backendMisbehaved(tag);
        this.#expected.shift();
        if (!head.permit) return { kind: 'aside', channel: 'layout' };
        return { kind: 'answer', permit: head.permit };
      case 'describe-statement':
        return this.#layout(head.statement, tag, undefined);
      case 'own-describe':
        return this.#layout(head.statement, tag, head.permit);
      case 'sync':
        if (tag !== BackendTag.ReadyForQuery || !body) throw backendMisbehaved(tag);
        return this.#ready(body);
      case 'own-query':
        return ownAnswer(head.query, tag);
      case 'own-close':
        this.#shift(tag, BackendTag.CloseComplete);
        return { kind: 'own', query: undefined };
      case 'own-sync':
        if (tag !== BackendTag.ReadyForQuery || !body) throw backendMisbehaved(tag);
        this.#ready(body);
        return { kind: 'own', query: undefined };
      case 'poison':
        throw backendMisbehaved(tag);
    }
  }

  /** Every answer to a query of the lane's own has come. */
  answered(query: SettingsQuery): void {
    const { head } = this.#expected;
    if (head?.kind === 'own-query' && head.query === query) this.#expected.shift();
  }

  /** Whether a ReadyForQuery comes before what is expected can have been answered. */
  #isDoubtful(head: Expected): boolean {
    if (this.#doubtfulSyncs === 0 || head.kind === 'sync' || head.kind === 'own-sync') return false;
    return head.kind !== 'query' || this.#answering !== head.permit;
  }

  /** A ReadyForQuery may still come for a Sync that a COPY would have read, had it not failed before. */
  #doubtfulReady(tag: number, body: Buffer | undefined): Reply {
    if (tag !== BackendTag.ReadyForQuery || !body || this.#doubtfulSyncs === 0)
      throw backendMisbehaved(tag);
    this.#doubtfulSyncs -= 1;
    if (this.#segment === 'skipping') this.#segment = 'clean';
    return this.#settled(body, true);
  }

  /** Ends the operations whose answers will not come, for the end of the session. */
  abandon(): void {
    this.#expected.abandon();
    this.#portals.endAll();
  }

  #send(item: Extract<Item, { open: boolean }>): readonly Effect[] {
    const { permit, frame } = item;
    this.#flowing = item.open ? permit : undefined;
    return [{ kind: 'send', permit, record: permit.ref, frame }];
  }

  /** More of the message before: a message that was not sent, or not wholly admitted, has no more. */
  #more({ frame, record, last }: Extract<Item, { kind: 'more' }>): readonly Effect[] {
    const permit = this.#flowing;
    if (!permit) return [];
    if (last) this.#flowing = undefined;
    return [{ kind: 'send', permit, record, frame }];
  }

  /**
   * While it takes COPY data the backend ignores Sync and Flush; at any other message it fails the COPY and, as it cannot
   * tell where the next message begins, ends the connection.
   */
  #duringCopy(item: Exclude<Item, { kind: Passing }>): readonly Effect[] {
    if (item.kind === 'sync') this.#doubtfulSyncs += 1;
    if (item.kind === 'sync' || item.kind === 'flush') return [control(item.kind, item.frame)];
    if (item.kind === 'refused' && item.data === true)
      return [this.#copyIn.fail(`chaperone: ${item.refusal.message}`)];
    this.#copyIn.end();
    return this.#take(item);
  }

  #sync(frame: Buffer): readonly Effect[] {
    this.#segment = 'clean';
    this.#expected.push({ kind: 'sync' });
    return [control('sync', frame)];
  }

  #skip(item: Item): readonly Effect[] {
    if (item.kind === 'sync') {
      if (this.#segment === 'skipping') return this.#sync(item.frame);
      this.#segment = 'clean';
      return [{ kind: 'answer', bytes: buildReadyForQuery(this.#status) }];
    }
    if ('permit' in item && (item.kind !== 'execute' || item.cursor))
      item.permit?.finish({ status: 'not-executed' });
    return [];
  }

  #refuse(item: Refused): readonly Effect[] {
    const here = this.idle && this.#segment === 'clean' && this.#status === 'I';
    if (item.simple) this.#segment = 'clean';
    else this.#segment = here ? 'skipping-here' : 'skipping';
    return refuse(item, here, this.#expected);
  }

  #notice(): Reply {
    const head = this.#expected.head;
    if (head?.kind === 'query' || head?.kind === 'execute')
      return { kind: 'answer', permit: head.permit };
    return { kind: 'aside', channel: 'notice' };
  }

  /** `execute` is undefined for a Query, whose answer goes on to its ReadyForQuery. */
  #answer(
    permit: Permit,
    execute: { readonly statement: Statement; readonly cursor: boolean } | undefined,
    tag: number,
    body: Buffer | undefined,
  ): Reply {
    this.#answering = permit;
    switch (tag) {
      case BackendTag.RowDescription:
      case BackendTag.DataRow:
      case BackendTag.CopyOutResponse:
      case BackendTag.CopyData:
      case BackendTag.CopyDone:
        return { kind: 'answer', permit };
      case BackendTag.FunctionCallResponse:
        if (execute) throw backendMisbehaved(tag);
        return { kind: 'answer', permit };
      case BackendTag.CopyInResponse:
        this.#beginCopyIn(permit);
        return { kind: 'answer', permit };
      case BackendTag.CommandComplete:
      case BackendTag.EmptyQueryResponse:
        this.#copyIn.end();
        this.#doubtfulSyncs = 0; // the COPY has read them
        if (!execute) return { kind: 'answer', permit };
        this.#joined.executed(body);
        this.#expected.shift();
        this.#portals.delete(permit);
        return { kind: 'answer', permit, ends: ended(execute.statement) };
      case BackendTag.PortalSuspended:
        if (!execute) throw backendMisbehaved(tag);
        this.#joined.executed(undefined);
        this.#expected.shift();
        if (execute.cursor) return { kind: 'answer', permit, ends: ended(execute.statement) };
        this.#portals.hold(permit, 'suspended');
        return { kind: 'answer', permit };
      case BackendTag.ReadyForQuery:
        if (execute || !body) throw backendMisbehaved(tag);
        permit.finish({ status: 'ok' }); // does nothing where an error has finished it before
        return this.#ready(body);
      default:
        throw backendMisbehaved(tag);
    }
  }

  /** What was sent behind a COPY is read by it: the ReadyForQuery of a Sync will not come (see `#duringCopy`). */
  #beginCopyIn(permit: Permit): void {
    const { head } = this.#expected;
    if (head?.kind === 'query' && head.change) head.change.applied = true;
    const { taken, last } = this.#expected.takeSyncs();
    this.#doubtfulSyncs = taken;
    if (last) this.#copyIn.begin(permit);
  }

  #shift(tag: number, want: number): Reply {
    if (tag !== want) throw backendMisbehaved(tag);
    this.#expected.shift();
    return { kind: 'acknowledgement' };
  }

  #layout(statement: Statement, tag: number, askedFor: Permit | undefined): Reply {
    const rows = tag === BackendTag.RowDescription;
    if (rows || tag === BackendTag.NoData) this.#expected.shift();
    else if (tag !== BackendTag.ParameterDescription || askedFor) throw backendMisbehaved(tag);
    if (tag === BackendTag.NoData) statement.layout = 'none';
    return { kind: 'layout', statement, askedFor, rows };
  }

  #ready(body: Buffer): Reply {
    const head = this.#expected.shift();
    if (head?.kind === 'query' && head.change) head.change.applied = true;
    return this.#settled(body, head?.kind !== 'query');
  }

  #settled(body: Buffer, toSync: boolean): Reply {
    this.#status = parseReadyForQuery(body);
    this.#joined.ready(this.#status, toSync);
    if (this.#status === 'I') this.#portals.endAll(); // portals end with their transaction
    return { kind: 'ready' };
  }

  #error(body: Buffer): Reply {
    const head = this.#expected.head;
    // Before its end the backend speaks unasked, and after a Sync it may fail to commit: neither answers an operation.
    if (!head || head.kind === 'sync' || head.kind === 'own-sync') {
      if (!head && this.#segment === 'open') this.#segment = 'skipping'; // such as a timeout between two messages
      return { kind: 'aside', channel: 'message' };
    }
    const code = tryParseErrorCode(body);
    const outcome: Outcome = { status: 'error', ...(code === undefined ? {} : { code }) };
    this.#copyIn.end();
    if (head.kind === 'query') {
      this.#answering = head.permit;
      return { kind: 'answer', permit: head.permit, ends: outcome };
    }
    const permit = 'permit' in head ? head.permit : undefined;
    const alone = this.#expected.ownAlone;
    if (!this.#expected.dropUntilSync(permit)) this.#segment = 'skipping';
    if (alone) return { kind: 'own', query: undefined };
    if (head.kind === 'poison') {
      const inFailed = this.#status === 'E' && head.yields;
      return { kind: 'replaced', bytes: inFailed ? aborted : head.error };
    }
    if (permit) return { kind: 'answer', permit, ends: outcome };
    return { kind: 'aside', channel: 'message' };
  }
}
