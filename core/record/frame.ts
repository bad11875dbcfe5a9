import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { ChaperoneError } from '../errors.ts';
import type { RecordHeader } from './kinds.ts';

/** Largest header in bytes; an honest one has about 400. */
export const maxHeaderBytes = 65_536;
/** Largest frame that a reader takes, in bytes; an honest one has at most 64 KiB of payload. */
export const maxFrameBytes = 4 * 1024 * 1024;

/** Length of the salt before a payload: its hash tells nobody who guesses what the payload was. */
export const saltBytes = 16;
/** u32 n, u32 crc, u32 h. */
export const prefixBytes = 12;

/** One record taken out of its frame. Header and payload are views into the bytes that were read. */
export interface Frame {
  readonly header: RecordHeader;
  readonly headerBytes: Buffer;
  /** Empty where the record has no payload, or where it was erased. */
  readonly salt: Buffer;
  readonly payload: Buffer;
  /** Length of the whole frame in bytes. */
  readonly length: number;
}

/** Returns SHA-256(salt ‖ payload) in lower-case hex. */
export function hashPayload(salt: Buffer, payload: Buffer): string {
  return hash('sha256', Buffer.concat([salt, payload]), 'hex');
}

/** Builds a frame: `u32 n · u32 CRC-32 · u32 h · header · salt and payload, if there is a payload`. */
export function encodeFrame(header: Buffer, salt: Buffer, payload: Buffer): Buffer {
  const body = payload.length > 0 ? saltBytes + payload.length : 0;
  const frame = Buffer.allocUnsafe(prefixBytes + header.length + body);
  frame.writeUInt32BE(frame.length - 8, 0);
  frame.writeUInt32BE(header.length, 8);
  header.copy(frame, prefixBytes);
  if (body > 0) {
    salt.copy(frame, prefixBytes + header.length);
    payload.copy(frame, prefixBytes + header.length + saltBytes);
  }
  frame.writeUInt32BE(crc32(frame.subarray(8)), 4);
  return frame;
}

/**
 * Reads the frame at `offset`. Returns undefined when the bytes end before the frame does.
 * @throws ChaperoneError `record-invalid` when the length, the CRC, the header or the payload's length is wrong.
 */
export function tryParseFrame(bytes: Buffer, offset = 0): Frame | undefined {
  if (bytes.length - offset < prefixBytes) return undefined;
  const n = bytes.readUInt32BE(offset);
  if (n < 4 + 2 || n > maxFrameBytes) throw invalid(`a frame of ${n} bytes`);
  if (bytes.length - offset < 8 + n) return undefined;
  const end = offset + 8 + n;
  if (crc32(bytes.subarray(offset + 8, end)) !== bytes.readUInt32BE(offset + 4)) {
    throw invalid('a frame whose CRC does not fit');
  }
  const h = bytes.readUInt32BE(offset + 8);
  if (h > maxHeaderBytes || prefixBytes + h > 8 + n) throw invalid(`a header of ${h} bytes`);
  const headerBytes = bytes.subarray(offset + prefixBytes, offset + prefixBytes + h);
  const rest = bytes.subarray(offset + prefixBytes + h, end);
  if (rest.length > 0 && rest.length <= saltBytes) throw invalid('a payload without its salt');
  const header = parseHeader(headerBytes);
  const payload = rest.subarray(Math.min(saltBytes, rest.length));
  if (payload.length > 0 && header.payload?.length !== payload.length) {
    throw invalid('a payload whose length is not that of its header');
  }
  return { header, headerBytes, salt: rest.subarray(0, saltBytes), payload, length: 8 + n };
}

/** Splits bytes into whole frames. @throws ChaperoneError `record-invalid`, also for a torn tail. */
export function* parseFrames(bytes: Buffer): Generator<Frame> {
  for (let offset = 0; offset < bytes.length;) {
    const frame = tryParseFrame(bytes, offset);
    if (!frame) throw invalid('a frame that is cut short');
    yield frame;
    offset += frame.length;
  }
}

/** Whether the payload is the one that the header names. An erased payload is absent, which is not a mismatch. */
export function payloadMatches(frame: Frame): boolean {
  const { salt, payload } = frame;
  if (payload.length === 0) return true;
  const joined =
    salt.buffer === payload.buffer && salt.byteOffset + salt.length === payload.byteOffset;
  const found = joined
    ? hash('sha256', Buffer.from(salt.buffer, salt.byteOffset, salt.length + payload.length), 'hex')
    : hashPayload(salt, payload);
  return found === frame.header.payload?.hash;
}

function parseHeader(bytes: Buffer): RecordHeader {
  let header: unknown;
  try {
    header = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new ChaperoneError('record-invalid', 'a header that is not JSON', { cause });
  }
  if (!isEnvelope(header)) throw invalid('a header without its envelope');
  return header;
}

// The fields of a kind are checked where they are used; chain and store rely on these alone.
function isEnvelope(value: unknown): value is RecordHeader {
  if (typeof value !== 'object' || value === null) return false;
  const { v, kind, stream, seq, time } = value as Record<string, unknown>; // narrowed field by field below
  return (
    v === 1 &&
    typeof kind === 'string' &&
    typeof stream === 'string' &&
    typeof time === 'string' &&
    Number.isSafeInteger(seq) &&
    (seq as number) > 0 // isSafeInteger does not narrow
  );
}

function invalid(what: string): ChaperoneError {
  return new ChaperoneError('record-invalid', `found ${what}`);
}
