import { openSync, readSync, closeSync } from 'node:fs';
import { hashHeader, nextLink } from '#core/record/chain.ts';
import { parseFrames } from '#core/record/frame.ts';
import type { Head } from './head.ts';

/** Records that lie one behind the other in a file, and what the collector has to answer when it has them. */
export interface Batch {
  readonly path: string;
  readonly offset: number;
  readonly firstSeq: number;
  /** Links before the first and of the last record, in hex; undefined where they are not known. */
  readonly before: string | undefined;
  bytes: number;
  lastSeq: number;
  link: string | undefined;
  /**
   * Set where the bytes cannot be read: the last record before them, which says whose they are. They are sent as they
   * are, for the collector to set aside.
   */
  readonly unreadable?: Uint8Array;
}

/** A segment to which nothing is added any more, with the stream's head at its end. */
export interface SegmentEnd {
  readonly path: string;
  readonly bytes: number;
  readonly head: Head;
}

/** Most bytes of a batch; a record is never longer. */
export const batchBytes = 2 * 1024 * 1024;

/** What of a stream is still in the spool, in the order of shipping. Its size does not grow with the number of records. */
export class Shipment {
  readonly stream: string;
  readonly #batches: Batch[] = [];
  readonly #ends: SegmentEnd[] = [];
  /** Index of the next batch to ship; those before it are done, and kept as long as their file. */
  #next = 0;
  #sending = false;
  #doneSeq = 0;
  #countedSeq = 0;

  constructor(stream: string, batches: readonly Batch[] = [], ends: readonly SegmentEnd[] = []) {
    this.stream = stream;
    this.#batches.push(...batches);
    this.#ends.push(...ends);
  }

  /** Whether something is still to be shipped. */
  get hasNext(): boolean {
    return this.#next < this.#batches.length;
  }

  get batches(): readonly Batch[] {
    return this.#batches;
  }

  get ends(): readonly SegmentEnd[] {
    return this.#ends;
  }

  /** Whether something is in a file, shipped or not. */
  get empty(): boolean {
    return this.#batches.length === 0 && this.#ends.length === 0;
  }

  /** The last record that needs no shipping any more. */
  get doneSeq(): number {
    return this.#doneSeq;
  }

  /** The last record that there is. */
  get lastSeq(): number {
    return this.#batches.at(-1)?.lastSeq ?? this.#doneSeq;
  }

  /** Adds records behind the last ones. */
  add(added: Batch): void {
    const last = this.#batches.at(-1);
    const fixed = this.#next + (this.#sending ? 1 : 0);
    if (last && this.#batches.length > fixed && joins(last, added)) extend(last, added);
    else this.#batches.push(added);
  }

  endSegment(end: SegmentEnd): void {
    this.#ends.push(end);
  }

  /** Returns what comes next; it does not grow until `done` or `retry` is called. */
  take(): Batch | undefined {
    const batch = this.#batches[this.#next];
    this.#sending = batch !== undefined;
    return batch;
  }

  retry(): void {
    this.#sending = false;
  }

  /** Says that all records up to one are committed. Returns how many of them were not before. */
  done(seq: number): number {
    this.#sending = false;
    let records = 0;
    for (;;) {
      const batch = this.#batches[this.#next];
      if (!batch || batch.lastSeq > seq) return records;
      this.#doneSeq = batch.lastSeq;
      const known = Math.max(this.#countedSeq, batch.firstSeq - 1);
      records += Math.max(0, batch.lastSeq - known);
      this.#countedSeq = Math.max(known, batch.lastSeq);
      const before = this.#batches[this.#next - 1];
      if (before && joins(before, batch)) {
        extend(before, batch);
        this.#batches.splice(this.#next, 1);
      } else this.#next += 1;
    }
  }

  /** Goes back to behind a record, since the collector has no more than that. Returns whether it is still here. */
  goBack(ackedSeq: number): boolean {
    this.#sending = false;
    const index = this.#batches.findIndex(({ lastSeq }) => lastSeq > ackedSeq);
    if (index < 0 || index >= this.#next) return false;
    if ((this.#batches[index]?.firstSeq ?? Infinity) > ackedSeq + 1) return false;
    this.#next = index;
    this.#doneSeq = ackedSeq;
    return true;
  }

  /** Returns the first segment if all of it is done. */
  firstDone(): SegmentEnd | undefined {
    const [end] = this.#ends;
    const isDone = end && end.head.seq <= this.#doneSeq;
    return isDone && this.#batches[this.#next]?.path !== end.path ? end : undefined;
  }

  /** Forgets the first segment, which is deleted. */
  dropFirst(): void {
    const end = this.#ends.shift();
    const count = this.#batches.findIndex(({ path }) => path !== end?.path);
    const dropped = count < 0 ? this.#batches.length : count;
    this.#batches.splice(0, dropped);
    this.#next -= dropped;
  }

  /** Returns the link of a record in hex; undefined where it is not here any more, or where the chain does not say it. */
  linkAt(seq: number): string | undefined {
    const batch = this.#batches.find(({ lastSeq }) => lastSeq >= seq);
    if (!batch) return undefined;
    if (batch.lastSeq === seq) return batch.link;
    if (batch.firstSeq === seq + 1) return batch.before;
    if (batch.firstSeq > seq || batch.unreadable || batch.before === undefined) return undefined;
    let link: Buffer = Buffer.from(batch.before, 'hex');
    for (const { header, headerBytes } of parseFrames(readBatch(batch))) {
      if (header.seq > seq) break;
      link = nextLink(link, hashHeader(headerBytes));
    }
    return link.toString('hex');
  }
}

function joins(last: Batch, next: Batch): boolean {
  return (
    last.path === next.path &&
    last.offset + last.bytes === next.offset &&
    last.bytes + next.bytes <= batchBytes &&
    !last.unreadable &&
    !next.unreadable
  );
}

function extend(last: Batch, next: Batch): void {
  last.bytes += next.bytes;
  last.lastSeq = next.lastSeq;
  last.link = next.link;
}

/** Reads a batch, into `buffer` if one is given that is large enough. */
export function readBatch({ path, offset, bytes, unreadable }: Batch, buffer?: Buffer): Buffer {
  const room = buffer && buffer.length >= bytes ? buffer.subarray(0, bytes) : Buffer.alloc(bytes);
  const fd = openSync(path, 'r');
  try {
    for (let done = 0; done < bytes;) {
      const read = readSync(fd, room, done, bytes - done, offset + done);
      if (read === 0) throw new Error('a segment is shorter than it was');
      done += read;
    }
  } finally {
    closeSync(fd);
  }
  return unreadable && unreadable.length > 0 ? Buffer.concat([unreadable, room]) : room;
}
