import { firstLink, hashHeader, nextLink } from './chain.ts';
import { payloadMatches, type Frame } from './frame.ts';

/** What an offline check of one session found. */
export type Verdict =
  /** Every record is there and fits; nothing is signed yet, so the origin stays unproven. */
  | { readonly kind: 'consistent'; readonly records: number; readonly erased: number }
  /** The same, but the session has no end yet. */
  | {
      readonly kind: 'unbroken';
      readonly upTo: number;
      readonly records: number;
      readonly erased: number;
    }
  | { readonly kind: 'broken'; readonly seq: number; readonly why: string };

/** Everything that a check of one session needs; none of it is believed. */
export interface SessionEvidence {
  readonly session: string;
  readonly stream: string;
  /** The session's own frames, in order. */
  readonly frames: AsyncIterable<Frame>;
  /** SHA-256 of every header of the stream from seq 1 on, 32 bytes each, in pieces cut anywhere. */
  readonly headerHashes: AsyncIterable<Buffer>;
  /** What the collector says of the stream: its last seq, and the link there. */
  readonly ackedSeq: number;
  readonly headLink: Buffer;
}

/** Verifies a session against its stream's chain, offline. Memory grows with neither. */
export async function verifySession(evidence: SessionEvidence): Promise<Verdict> {
  const { session, stream } = evidence;
  const hashes = chainHashes(evidence);
  let link = firstLink(stream);
  let at = 0;
  let n = 0;
  let erased = 0;
  let lastSeq = 0;
  let ended = false;
  for await (const frame of evidence.frames) {
    const { header } = frame;
    n += 1;
    const broken = (why: string): Verdict => ({ kind: 'broken', seq: header.seq, why });
    if (header.stream !== stream || header.session !== session)
      return broken('it is of another session');
    if (header.seq <= lastSeq) return broken('it is out of order');
    if (header.n !== n) return broken(`it is number ${header.n ?? 0} of the session, want ${n}`);
    if (ended) return broken('it comes after the end of the session');
    if (!payloadMatches(frame)) return broken('its payload does not have the hash in its header');
    if (header.payload && frame.payload.length === 0) erased += 1;
    for (; at < header.seq; at += 1) {
      const hash = await hashes.next();
      if (hash.done) return broken('the chain of its stream ends before it');
      link = nextLink(link, hash.value);
      const own = at + 1 === header.seq;
      if (own && !hash.value.equals(hashHeader(frame.headerBytes)))
        return broken('its header is not the one in the chain');
    }
    if (header.kind === 'session.end') {
      ended = true;
      if (header.count !== n)
        return broken(`the session says it has ${header.count} records, found ${n}`);
    }
    lastSeq = header.seq;
  }
  for (let hash = await hashes.next(); !hash.done; hash = await hashes.next(), at += 1)
    link = nextLink(link, hash.value);
  if (at !== evidence.ackedSeq)
    return { kind: 'broken', seq: at + 1, why: 'the chain of the stream is shorter than its head' };
  if (!link.equals(evidence.headLink))
    return { kind: 'broken', seq: at, why: 'the chain does not lead to the head of the stream' };
  if (n === 0) return { kind: 'broken', seq: 0, why: 'the session has no records' };
  return ended
    ? { kind: 'consistent', records: n, erased }
    : { kind: 'unbroken', upTo: n, records: n, erased };
}

async function* chainHashes({ headerHashes }: SessionEvidence): AsyncGenerator<Buffer, undefined> {
  let held: Buffer = Buffer.alloc(0);
  for await (const piece of headerHashes) {
    const bytes = held.length > 0 ? Buffer.concat([held, piece]) : piece;
    const whole = bytes.length - (bytes.length % 32);
    for (let at = 0; at < whole; at += 32) yield bytes.subarray(at, at + 32);
    held = Buffer.from(bytes.subarray(whole));
  }
  return undefined;
}
