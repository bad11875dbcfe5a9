import { hashHeader } from '#core/record/chain.ts';
import { ChaperoneError } from '#core/errors.ts';
import {
  maxFrameBytes,
  payloadMatches,
  prefixBytes,
  tryParseFrame,
  type Frame,
} from '#core/record/frame.ts';
import { HttpProblem } from './problem.ts';

/** A record with the hash that the chain binds. */
export interface ReceivedRecord {
  readonly frame: Frame;
  readonly headerHash: Buffer;
}

/** Why a batch does not verify. */
export interface Fault {
  /** Of the record where it shows, so far as that is known. */
  readonly seq: number | undefined;
  /** Words of ours: never content. */
  readonly why: string;
  /** `break`: records that are stored do not fit what is signed or sent again. */
  readonly kind: 'quarantine' | 'break';
}

/** Records of one stream without a gap, each with the payload that its header names, up to the first that is faulty. */
export interface Batch {
  readonly stream: string;
  /** Undefined where not even the first record could be read. */
  readonly firstSeq: number | undefined;
  readonly records: readonly ReceivedRecord[];
  readonly fault: Fault | undefined;
  /** All that came, inflated. */
  readonly bytes: Buffer;
}

/** What a sidecar sends in 2 MiB is far below; more would take too long to check. */
const maxRecords = 50_000;
export const maxCheckpoints = 10_000;
/** Parsed, a header of nothing but braces takes more than twenty times the memory of its bytes. */
const maxHeaderBytesOfAll = 4 * 1024 * 1024;
const recordsATurn = 1_000;
const bytesATurn = 512 * 1024;

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
// Years that both Date and PostgreSQL know.
const rfc3339 = /^[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z$/;

/**
 * Reads a batch and checks what can be checked without the store; undefined when it cannot be told which stream it is of.
 * Yields now and then, so that others get their turn.
 * @throws HttpProblem `batch-invalid` for an empty one, `too-large`.
 */
export function* readBatch(bytes: Buffer): Generator<void, Batch | undefined> {
  if (bytes.length === 0) throw new HttpProblem('batch-invalid', 'the batch is empty');
  const records: ReceivedRecord[] = [];
  let fault: Fault | undefined;
  let checkpoints = 0;
  let headerBytes = 0;
  let turnEnds = bytesATurn;
  for (let offset = 0; offset < bytes.length && !fault;) {
    if (records.length === maxRecords)
      throw new HttpProblem('too-large', `a batch has at most ${maxRecords} records`);
    const frame = tryRead(bytes, offset);
    const last = records.at(-1)?.frame.header;
    fault =
      typeof frame === 'string'
        ? { seq: last && last.seq + 1, why: frame, kind: 'quarantine' }
        : faultOf(frame, records[0]?.frame, records.length);
    if (fault || typeof frame === 'string') break;
    if (frame.header.kind === 'checkpoint') checkpoints += 1;
    if (checkpoints > maxCheckpoints)
      throw new HttpProblem('too-large', `a batch has at most ${maxCheckpoints} checkpoints`);
    headerBytes += frame.headerBytes.length;
    if (headerBytes > maxHeaderBytesOfAll)
      throw new HttpProblem('too-large', `a batch has at most ${maxHeaderBytesOfAll} bytes of headers`); // prettier-ignore
    records.push({ frame, headerHash: hashHeader(frame.headerBytes) });
    offset += frame.length;
    if (records.length % recordsATurn !== 0 && offset < turnEnds) continue;
    turnEnds = offset + bytesATurn;
    yield;
  }
  const first = records[0]?.frame.header;
  const stream = first?.stream ?? findStream(bytes);
  return stream === undefined ? undefined : { stream, firstSeq: first?.seq, records, fault, bytes };
}

/** The frame at an offset, or what is wrong with it. */
function tryRead(bytes: Buffer, offset: number): Frame | string {
  try {
    return tryParseFrame(bytes, offset) ?? 'found a frame that is cut short';
  } catch (error) {
    if (error instanceof ChaperoneError) return error.message;
    throw error;
  }
}

function faultOf(frame: Frame, first: Frame | undefined, index: number): Fault | undefined {
  const { header } = frame;
  const { seq } = header;
  const fault = (why: string): Fault => ({ seq, why, kind: 'quarantine' });
  if (!uuid.test(header.stream)) return fault('its stream is not a UUID');
  if (header.session !== undefined && !isUuid(header.session))
    return fault('its session is not a UUID');
  if (!isTime(header.time)) return fault('its time is not a time');
  if (first && header.stream !== first.header.stream) return fault('it is of another stream');
  if (first && seq !== first.header.seq + index) return fault('it does not follow the one before');
  if (header.payload && frame.payload.length === 0) return fault('its payload is missing');
  if (!payloadMatches(frame)) return fault('its payload does not have the hash in its header');
  return undefined;
}

function isUuid(value: unknown): boolean {
  return typeof value === 'string' && uuid.test(value);
}

/** `Date` takes a 30th of February for a day in March, which PostgreSQL does not. */
function isTime(text: string): boolean {
  const ms = rfc3339.test(text) ? Date.parse(text) : Number.NaN;
  return !Number.isNaN(ms) && new Date(ms).toISOString().slice(0, 10) === text.slice(0, 10);
}

/** Frames that are passed over because they are damaged; where there are more nothing can be made of the rest. */
const maxDamaged = 1_000;

/**
 * Yields every frame that can still be read: what is damaged is passed over by its length, as long as that can be one.
 * What nobody can read costs most to look at, and a sender may make it of any bytes.
 */
export function* readableFrames(bytes: Buffer): Generator<Frame> {
  let damaged = 0;
  for (let offset = 0; offset + prefixBytes <= bytes.length && damaged < maxDamaged;) {
    const n = bytes.readUInt32BE(offset);
    if (n < prefixBytes - 8 || n > maxFrameBytes) return;
    const frame = tryRead(bytes, offset);
    if (typeof frame === 'string') damaged += 1;
    else yield frame;
    offset += 8 + n;
  }
}

const searchedBytes = 1024 * 1024;
const searchedFrames = 1_000;

/**
 * Says which stream a batch is of whose first record cannot be read: as a readable one says it, or else as it stands in
 * the bytes. It decides only where the batch is set aside, among the sender's own streams.
 */
function findStream(bytes: Buffer): string | undefined {
  let searched = 0;
  for (const { header } of readableFrames(bytes)) {
    if (uuid.test(header.stream)) return header.stream;
    if (++searched === searchedFrames) break;
  }
  const text = bytes.subarray(0, searchedBytes).toString('latin1');
  return /"stream":"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"/.exec(text)?.[1];
}
