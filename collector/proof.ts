import type { KeyObject } from 'node:crypto';
import type { WriterIdentity } from '#core/control.ts';
import { hashHeader, nextLink } from '#core/record/chain.ts';
import {
  isHex,
  judgeCheckpoint,
  publicKeyBytes,
  tryParsePublicKey,
} from '#core/record/checkpoint.ts';
import type { RecordHeader, StreamHead } from '#core/record/kinds.ts';
import {
  maxCheckpoints,
  readableFrames,
  type Batch,
  type Fault,
  type ReceivedRecord,
} from './batch.ts';

/** A stream as it is stored, so far as the next batch is judged by it. */
export interface StreamState {
  readonly ackedSeq: number;
  /** Link of record `ackedSeq`; undefined while nothing proves it, behind records that are not there. */
  readonly link: Buffer | undefined;
  /** The last record that a signature covers. */
  readonly signedSeq: number;
  /** In hex; undefined for a stream without one, whose checkpoints prove nothing. */
  readonly publicKey: string | undefined;
  /** Behind a batch that was set aside: the next may begin further on, once. */
  readonly jump: boolean;
  /** The end of what was set aside, where a signature in it proves that. */
  readonly resume: { readonly seq: number; readonly link: Buffer } | undefined;
}

/** What a batch proves, and what is to be stored of it. */
export interface Judgement {
  /** New records that verify: all, or those up to the last signed checkpoint before the fault. */
  readonly accepted: readonly ReceivedRecord[];
  /** Seqs of the checkpoints among them that are signed. */
  readonly signed: ReadonlySet<number>;
  /** The stream with them. */
  readonly state: StreamState;
  readonly start: StreamStart | undefined;
  readonly fault: Fault | undefined;
}

export type StreamStart = Extract<RecordHeader, { kind: 'stream.start' }>;

const signaturesATurn = 100; // about 100 µs each
const recordsATurn = 1_000;

/**
 * Judges a batch that begins where the stream may go on. `conflict` is what was found wrong with those of its records that
 * are stored already. Yields now and then.
 */
export function* judge(
  state: StreamState,
  batch: Batch,
  writer: WriterIdentity,
  conflict?: Fault,
): Generator<void, Judgement> {
  const jumped = batch.firstSeq !== undefined && batch.firstSeq > state.ackedSeq + 1;
  const resumes = jumped && state.resume?.seq === batch.firstSeq - 1 ? state.resume : undefined;
  const link = jumped ? resumes?.link : state.link;
  const walk = new ChainWalk({ ...state, link }, writer);
  const added = conflict
    ? []
    : batch.records.filter(({ frame }) => frame.header.seq > state.ackedSeq);
  let fault = conflict;
  for (const record of added) {
    fault = walk.take(record);
    if (fault) break;
    const { kind } = record.frame.header;
    if (kind === 'checkpoint' && walk.checkpoints % signaturesATurn === 0) yield;
  }
  fault ??= batch.fault;
  if (!fault) {
    const last = added.at(-1)?.frame.header.seq ?? state.ackedSeq;
    const reached = added.length > 0 ? walk.reached(last) : state;
    return { accepted: added, signed: walk.signed, state: reached, start: walk.start, fault };
  }
  const proven = walk.proven;
  const accepted = proven ? added.filter(({ frame }) => frame.header.seq <= proven.ackedSeq) : [];
  const publicKey = walk.publicKey;
  const resume = yield* salvage(batch, publicKey);
  return {
    accepted,
    signed: walk.signed,
    state: { ...(proven ?? state), publicKey, jump: true, resume },
    start: walk.start,
    fault,
  };
}

/** Goes along the chain, record by record. */
class ChainWalk {
  readonly #writer: WriterIdentity;
  readonly signed = new Set<number>();
  checkpoints = 0;
  publicKey: string | undefined;
  start: StreamStart | undefined;
  /** The stream as it was at the last signed checkpoint of this batch. */
  proven: StreamState | undefined;
  #key: KeyObject | undefined;
  #link: Buffer | undefined;
  #signedSeq: number;

  constructor(from: StreamState, writer: WriterIdentity) {
    this.#writer = writer;
    this.#link = from.link;
    this.#signedSeq = from.signedSeq;
    this.publicKey = from.publicKey;
    this.#key = tryParsePublicKey(from.publicKey);
  }

  take({ frame, headerHash }: ReceivedRecord): Fault | undefined {
    const { header } = frame;
    const fault = header.kind === 'stream.start' ? this.#open(header) : undefined;
    const broken = header.kind === 'checkpoint' ? this.#check(header) : undefined;
    if (fault ?? broken) return fault ?? broken;
    this.#link = this.#link && nextLink(this.#link, headerHash);
    if (this.signed.has(header.seq)) this.proven = this.reached(header.seq);
    return undefined;
  }

  /** The stream as it is behind the record of this seq, the last that was taken. */
  reached(seq: number): StreamState {
    return {
      ackedSeq: seq,
      link: this.#link,
      signedSeq: this.#signedSeq,
      publicKey: this.publicKey,
      jump: false,
      resume: undefined,
    };
  }

  #open(header: StreamStart): Fault | undefined {
    const fault = (why: string): Fault => ({ seq: header.seq, why, kind: 'quarantine' });
    if (header.seq !== 1) return fault('a stream that has begun begins again');
    const { pod, namespace, serviceAccount } = this.#writer;
    const own =
      header['k8s.pod.name'] === pod &&
      header['k8s.namespace.name'] === namespace &&
      header['service.account'] === serviceAccount;
    if (!own) return fault('it names another pod than the token that it came with');
    const publicKey = usableKey(header.publicKey);
    if (this.publicKey !== undefined && this.publicKey !== publicKey)
      return fault('its key is not the one that it had');
    this.start = header;
    this.publicKey = publicKey;
    this.#key = tryParsePublicKey(this.publicKey);
    return undefined;
  }

  #check(header: Extract<RecordHeader, { kind: 'checkpoint' }>): Fault | undefined {
    if (!this.#key) return undefined; // proves nothing, and breaks nothing
    this.checkpoints += 1;
    const { seq } = header;
    const verdict = judgeCheckpoint(this.#key, header);
    if (verdict === 'unsigned') return undefined;
    if (verdict === 'forged')
      return { seq, why: 'its signature is not of the key of its stream', kind: 'quarantine' };
    const named = Buffer.from(header.link, 'hex');
    if (this.#link && !this.#link.equals(named))
      return { seq, why: 'the chain does not lead to the link that it signs', kind: 'break' };
    this.#link = named;
    this.#signedSeq = seq - 1;
    this.signed.add(seq);
    return undefined;
  }
}

/** What a stream's start gives as its key; undefined for none, and for the zeros that stand for none. */
function usableKey(value: unknown): string | undefined {
  return isHex(value, publicKeyBytes) && !/^0*$/.test(value) ? value : undefined;
}

/**
 * Finds where a stream goes on behind a batch that does not verify: at its last record, if a signed checkpoint and
 * records without a gap lead there.
 */
function* salvage(
  batch: Batch,
  publicKey: string | undefined,
): Generator<void, StreamState['resume']> {
  const key = tryParsePublicKey(publicKey);
  if (!key) return undefined;
  let at: { seq: number; link: Buffer } | undefined;
  let checkpoints = 0;
  let records = 0;
  for (const { header, headerBytes } of readableFrames(batch.bytes)) {
    records += 1;
    if (records % recordsATurn === 0) yield;
    if (header.stream !== batch.stream || (at && header.seq !== at.seq + 1)) at = undefined;
    let before = at?.link;
    if (header.kind === 'checkpoint' && header.stream === batch.stream) {
      checkpoints += 1;
      if (checkpoints > maxCheckpoints) return undefined;
      if (checkpoints % signaturesATurn === 0) yield;
      if (judgeCheckpoint(key, header) === 'signed') before = Buffer.from(header.link, 'hex');
    }
    at = before && { seq: header.seq, link: nextLink(before, hashHeader(headerBytes)) };
  }
  return at;
}

/** The stream before this one, as its start names it; undefined where it names none that can be one. */
export function previousOf({ previous }: StreamStart): StreamHead | undefined {
  const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
  const given: unknown = previous;
  if (typeof given !== 'object' || given === null) return undefined;
  const { stream, seq, link } = given as Partial<StreamHead>; // each is checked
  const fits =
    typeof stream === 'string' && uuid.test(stream) && Number.isSafeInteger(seq) && isHex(link, 32);
  return fits ? { stream, seq: Number(seq), link } : undefined;
}
