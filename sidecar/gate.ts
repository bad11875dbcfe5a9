import { createHash, hash, type Hash } from 'node:crypto';
import { isOver, type Over } from '#core/policy/budget.ts';
import type { EffectivePolicy } from '#core/policy/combine.ts';
import type { Judge } from '#core/policy/judge.ts';
import { nameOfLimit, refusalOfLimit } from '#core/policy/over.ts';
import { refusalOf } from '#core/policy/refusal.ts';
import { sqlStateOf } from '#core/errors.ts';
import type { Content, Operation, Outcome, RecordRef, Refusal } from '#core/operation.ts';
import type { Channel, PayloadType, RecordedVerdict, RecordFields } from '#core/record/kinds.ts';
import type { Clearance } from './clearance.ts';
import type { Ready } from './ready.ts';
import type { SessionLog, SpoolWriter } from './spool/writer.ts';
import type { LimitsInForce, RequestUsage, SessionUsage } from './usage.ts';

/** Content of one record; what is longer goes on in parts. */
export const maxPartBytes = 65_536;

/** What the gate needs of a session. */
export interface GateContext {
  readonly writer: SpoolWriter;
  readonly clearance: Pick<Clearance, 'turn'>;
  readonly log: SessionLog;
  readonly judge: Pick<Judge, 'decide'>;
  readonly usage: Pick<SessionUsage, 'begin'>;
  readonly limits: LimitsInForce;
  /** What is recorded of what is decided. */
  readonly record: EffectivePolicy['record'] | undefined;
}

/**
 * THE line: decides an operation, records it, and only then hands out the permit without which no outlet sends. The
 * request record is queued before the permit exists; lanes wait for the turn that writes it, and an outlet refuses what is
 * not in the spool.
 */
export function admit(context: GateContext, operation: Operation): Permit | Refusal {
  const verdict = context.judge.decide(operation.facts);
  if (verdict.recorded.action === 'Allow') {
    const use = context.usage.begin(operation);
    if (use && isOver(use)) return refuseUse(context, operation, verdict.recorded, use);
    const ref = recordRequest(context, operation, verdict.recorded);
    return new LivePermit({ context, operation, ref, use });
  }
  recordRequest(context, operation, verdict.recorded);
  const { facts } = operation;
  const unreadable = facts.protocol === 'Unreadable' ? facts : undefined;
  return refusalOf(verdict, context.log.id, unreadable);
}

/** Refuses what policies allow but for its being too much. */
function refuseUse(
  context: GateContext,
  operation: Operation,
  { revision }: RecordedVerdict,
  over: Over,
): Refusal {
  const policy = context.limits.policyOf(over.limit);
  recordRequest(context, operation, {
    action: 'Deny',
    wouldBe: 'Deny',
    reason: 'limit',
    ...(policy === undefined ? {} : { policy }),
    revision,
  });
  return refusalOfLimit(over, { met: 'before', policy, session: context.log.id });
}

function recordRequest(
  context: GateContext,
  operation: Operation,
  verdict: RecordedVerdict,
): RecordRef {
  const { content, statement } = operation;
  const level = context.record?.requests ?? 'Full';
  const kind = operation.kind === 'statement' ? 'statement' : 'request';
  const full = content && level === 'Full' ? content.bytes : undefined;
  const digest =
    content && level === 'Digest' && operation.open !== true ? digestOf(content.bytes) : undefined;
  const payload = full && [full.length > maxPartBytes ? full.subarray(0, maxPartBytes) : full];
  // A type without a payload and without a digest says that the content is empty, and known to be.
  const payloadType = digest || full ? content?.type : undefined;
  const ref = context.writer.append({
    session: context.log,
    ending: false,
    seal: () => ({
      fields:
        kind === 'statement'
          ? { kind, verdict, payloadType: content?.type, digest }
          : { kind, verdict, payloadType, digest, statement: statement?.seq },
      payload,
    }),
  });
  if (content && full) recordRest(context, ref, { type: content.type, bytes: full });
  return ref;
}

/** Text or parameters that are longer than one record go on in parts, before any of it goes up. */
function recordRest(context: GateContext, request: RecordRef, { type, bytes }: Content): void {
  for (let start = maxPartBytes; start < bytes.length; start += maxPartBytes) {
    const payload = bytes.subarray(start, start + maxPartBytes);
    context.writer.append({
      session: context.log,
      request,
      ending: false,
      seal: () => ({
        fields: { kind: 'part', direction: 'up', channel: 'message', payloadType: type },
        payload: [payload],
      }),
    });
  }
}

/** What a record holds in place of content under `record: Digest`. */
export function digestOf(bytes: Buffer): { sha256: string; length: number } {
  return { sha256: hash('sha256', bytes, 'hex'), length: bytes.length };
}

/** Bytes of an answer that go into one record: a part, or the result when the answer ended in the same turn. */
interface OpenPart {
  chunks: Buffer[];
  length: number;
  rows: number;
  sealed: boolean;
  outcome: Outcome | undefined;
}

/**
 * Leave to do one operation: exists only once it was decided and its record is queued. The class stays in this file, so
 * that nothing else can make one.
 */
export type Permit = LivePermit;

interface Permitted {
  readonly context: GateContext;
  readonly operation: Operation;
  readonly ref: RecordRef;
  readonly use: RequestUsage | undefined;
}

class LivePermit {
  /** Settles when the request is where it has to be; nothing may go upstream before. */
  readonly recorded: Ready;
  readonly ref: RecordRef;
  /** What it uses of what it may; undefined for what runs nothing. */
  readonly use: RequestUsage | undefined;
  readonly #context: GateContext;
  readonly #kind: Operation['kind'];
  readonly #startedMs = performance.now();
  readonly #responses: 'Full' | 'Digest' | 'None';
  readonly #digest: Hash | undefined;
  #part: OpenPart | undefined;
  #upDigest: { readonly hash: Hash; length: number } | undefined;
  #recordedBytes = 0;
  #answerType: PayloadType | undefined;
  #up = 0;
  #down = 0;
  #rows = 0;
  #durationUs: number | undefined;
  #cut: { readonly limit: string; readonly code: string } | undefined;

  constructor({ context, operation, ref, use }: Permitted) {
    this.#context = context;
    this.use = use;
    this.#kind = operation.kind;
    this.ref = ref;
    this.recorded = context.clearance.turn();
    const { content, open } = operation;
    this.#up = content?.bytes.length ?? 0;
    if (content && open === true && context.record?.requests === 'Digest') {
      const beginning = createHash('sha256').update(content.bytes);
      this.#upDigest = { hash: beginning, length: content.bytes.length };
    }
    this.#responses = context.record?.responses ?? 'Full';
    this.#digest = this.#responses === 'Digest' ? createHash('sha256') : undefined;
  }

  /** Whether the rows are in the record, for somebody to read. */
  get keepsRows(): boolean {
    return this.#responses === 'Full';
  }

  get finished(): boolean {
    return this.#durationUs !== undefined;
  }

  /**
   * Records what goes up after the request record: COPY data, and the rest of a message that is passed on piece by
   * piece. `last` ends what a digest stands for. Returns the record that has to be in the spool before it goes up.
   */
  up(channel: Channel, { type, bytes }: Content, last: boolean): RecordRef {
    this.#up += bytes.length;
    let ref = this.ref;
    switch (this.#context.record?.requests ?? 'Full') {
      case 'None':
        return ref;
      case 'Digest':
        return this.#digestUp(channel, type, bytes, last);
      case 'Full':
        for (let start = 0; start < bytes.length; start += maxPartBytes) {
          const payload = bytes.subarray(start, start + maxPartBytes);
          ref = this.#appendUp({ channel, payloadType: type }, payload);
        }
        return ref;
    }
  }

  #digestUp(channel: Channel, payloadType: PayloadType, bytes: Buffer, last: boolean): RecordRef {
    this.#upDigest ??= { hash: createHash('sha256'), length: 0 };
    this.#upDigest.hash.update(bytes);
    this.#upDigest.length += bytes.length;
    if (!last) return this.ref;
    const { hash: digest, length } = this.#upDigest;
    this.#upDigest = undefined;
    return this.#appendUp({
      channel,
      payloadType,
      digest: { sha256: digest.digest('hex'), length },
    });
  }

  #appendUp(
    fields: Pick<Extract<RecordFields, { kind: 'part' }>, 'channel' | 'payloadType' | 'digest'>,
    payload?: Buffer,
  ): RecordRef {
    return this.#context.writer.append({
      session: this.#context.log,
      request: this.ref,
      ending: false,
      seal: () => ({
        fields: { kind: 'part', direction: 'up', ...fields },
        ...(payload ? { payload: [payload] } : {}),
      }),
    });
  }

  /** Records a piece of the answer, which may be released once it is in the spool. */
  down({ type, bytes }: Content, rows: number): void {
    this.#down += bytes.length;
    this.#rows += rows;
    this.#digest?.update(bytes);
    if (this.#responses !== 'Full' || this.finished) return;
    this.#answerType = type;
    const left = (this.#context.record?.maxBytes ?? Infinity) - this.#recordedBytes;
    const kept = bytes.length > left ? bytes.subarray(0, left) : bytes;
    this.#recordedBytes += kept.length;
    for (let start = 0; start < kept.length;) start += this.#append(kept, start, rows);
  }

  /** Counts bytes that are not recorded themselves, of an opaque stream; or says why they may not pass. */
  count(up: number, down: number): Refusal | undefined {
    const over = this.use?.exceeds({ rows: 0, bytes: down });
    if (over) return this.cut(over);
    this.use?.add({ rows: 0, bytes: down });
    this.#up += up;
    this.#down += down;
    return undefined;
  }

  /** Says that a limit ends it early, whatever it ends with. Returns what the agent is to read of one that was cancelled. */
  cut(over: Over): Refusal | undefined {
    const refusal = this.use?.refusal(over, 'cancelled');
    if (refusal) this.#cut = { limit: nameOfLimit(over.limit), code: sqlStateOf(refusal.code) };
    return refusal;
  }

  /** Ends the operation, once: writes its result. A statement has one only if it failed. */
  finish(outcome: Outcome): void {
    if (this.finished) return;
    this.#durationUs = Math.round((performance.now() - this.#startedMs) * 1000);
    this.use?.end();
    if (this.#kind === 'statement' && outcome.status !== 'error') return;
    if (this.#part && !this.#part.sealed && this.#part.length > 0) {
      this.#part.outcome = outcome;
      return;
    }
    this.#appendResult({ chunks: [], length: 0, rows: 0, sealed: false, outcome });
  }

  #append(bytes: Buffer, start: number, rows: number): number {
    const open = this.#part;
    const room = open && !open.sealed ? maxPartBytes - open.length : 0;
    const part = open && room > 0 ? open : this.#openPart();
    const piece = bytes.subarray(start, start + maxPartBytes - part.length);
    part.chunks.push(piece);
    part.length += piece.length;
    part.rows += start === 0 ? rows : 0;
    return piece.length;
  }

  #openPart(): OpenPart {
    const part: OpenPart = { chunks: [], length: 0, rows: 0, sealed: false, outcome: undefined };
    this.#part = part;
    this.#appendResult(part);
    return part;
  }

  /** Queues a record that is a result if the operation has ended by the time it is sealed, else a part. */
  #appendResult(part: OpenPart): void {
    this.#context.writer.append({
      session: this.#context.log,
      request: this.ref,
      get ending() {
        return part.outcome !== undefined;
      },
      dropped: () => {
        part.sealed = true; // the result, once there is one, is a record of its own
        this.#recordedBytes -= part.length;
      },
      late: () => this.#withhold(part),
      seal: () => {
        // What was never recorded has no result: its turn could not be written, and it was refused.
        if (this.ref.seq === undefined) return undefined;
        part.sealed = true;
        const fields = this.#partFields(part);
        return fields && { fields, payload: part.chunks };
      },
    });
  }

  /** The agent does not get what a result tells of: its end alone is recorded. */
  #withhold(part: OpenPart): void {
    const { outcome, length } = part;
    if (this.#kind === 'connection' || !outcome) return;
    if (outcome.status !== 'ok' && outcome.status !== 'error') return;
    this.#recordedBytes -= length;
    part.chunks = [];
    part.length = 0;
    part.outcome = { ...outcome, status: 'incomplete' };
  }

  #partFields({ outcome, length }: OpenPart): RecordFields | undefined {
    if (outcome) return this.#resultFields(outcome, length > 0);
    const payloadType = this.#answerType;
    return payloadType && { kind: 'part', direction: 'down', channel: 'rows', payloadType };
  }

  #resultFields({ status, code, layout }: Outcome, hasPayload: boolean): RecordFields {
    const cut = this.#cut;
    const digest = this.#digest && {
      sha256: this.#digest.copy().digest('hex'),
      length: this.#down,
    };
    return {
      kind: 'result',
      status: cut && status === 'ok' ? 'incomplete' : status,
      'db.response.status_code': cut && this.#kind !== 'connection' ? cut.code : code,
      limit: cut?.limit,
      'db.response.returned_rows': this.#rows,
      bytesUp: this.#up,
      bytesDown: this.#down,
      durationUs: this.#durationUs ?? 0,
      payloadType: hasPayload ? this.#answerType : undefined,
      digest,
      truncated: this.#responses === 'Full' && this.#recordedBytes < this.#down ? true : undefined,
      layout: layout?.seq,
    };
  }
}
