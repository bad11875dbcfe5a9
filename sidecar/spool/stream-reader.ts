import { closeSync, constants, openSync, rmSync, truncateSync, writeSync } from 'node:fs';
import { copyFile, readFile } from 'node:fs/promises';
import { prefixBytes, tryParseFrame, type Frame } from '#core/record/frame.ts';
import { ChaperoneError } from '#core/errors.ts';
import { Chain } from './chain.ts';
import { tryMendCheckpoint } from './checkpoint-frame.ts';
import type { Head } from './head.ts';
import { headerStart } from './header.ts';
import { Shipment, type Batch, type SegmentEnd } from './shipment.ts';

/** A segment of which something cannot be read, though it is no write that did not finish. */
export interface Damage {
  readonly path: string;
  /** Length of what is whole, before the damage or the place where records are missing. */
  readonly keptBytes: number;
  /** Length of the rest, of which more may be whole. */
  readonly lostBytes: number;
}

/** Records that are lost. */
export interface Gap {
  readonly from: number;
  readonly to: number;
}

export interface StreamReaderOptions {
  readonly stream: string;
  /** As it was when its last segment was deleted. */
  readonly head: Head | undefined;
  readonly onDamage: (damage: Damage) => void;
}

const leastFrameBytes = 128; // no record is shorter, so that many bytes hold at most so many records

/**
 * Reads the segments that an earlier process left. A torn tail, left by a process killed in mid-write, is cut: nothing of
 * it was ever acted on. Other damage is passed over to the next record that can be read; a copy of the file as it was is
 * kept, named `.damaged`, and what cannot be read is shipped as it is, for the collector to set aside.
 */
export class StreamReader {
  readonly chain: Chain;
  readonly #options: StreamReaderOptions;
  readonly #shipment: Shipment;
  readonly #gaps: Gap[] = [];
  readonly #recordedGaps = new Set<number>();
  /** Bytes that cannot be read, until a record behind them says how many are lost. */
  #unread: { readonly path: string; readonly offset: number; readonly bytes: number }[] = [];
  /** Where the segment that is read stops being whole. */
  #damagedAt: number | undefined;
  #lastFrame: Buffer = Buffer.alloc(0);
  readonly #headSeq: number;

  constructor(options: StreamReaderOptions) {
    this.#options = options;
    this.chain = new Chain(options.stream, options.head);
    this.#headSeq = options.head?.seq ?? 0;
    this.#shipment = new Shipment(options.stream);
  }

  get stream(): string {
    return this.#options.stream;
  }

  get batches(): readonly Batch[] {
    return this.#shipment.batches;
  }

  get ends(): readonly SegmentEnd[] {
    return this.#shipment.ends;
  }

  /** Gaps that no record tells of yet. */
  get gaps(): readonly Gap[] {
    return this.#gaps.filter(({ from }) => !this.#recordedGaps.has(from));
  }

  /** Reads a segment. Only the last one can have a torn tail. */
  async read(path: string, firstSeq: number, isLast: boolean): Promise<void> {
    if (this.chain.seq === 0 && firstSeq > 1) this.chain.skipTo(firstSeq - 1); // its beginning was shipped, and no head kept
    const bytes = await readFile(path);
    let end = bytes.length;
    this.#damagedAt = undefined;
    for (let at = 0; at < end;) {
      const frame = this.#tryRead(bytes, at) ?? this.#tryMend(path, bytes, at);
      if (frame) {
        this.#take(path, at, frame, bytes);
        at += frame.length;
        continue;
      }
      const next = this.#findNext(bytes, at + 1);
      if (next === undefined && isLast && isCutShort(bytes, at)) {
        truncateSync(path, at);
        end = at;
        break;
      }
      this.#damagedAt ??= at;
      this.#unread.push({ path, offset: at, bytes: (next ?? end) - at });
      at = next ?? end;
    }
    await this.#tell(path, bytes.length);
    const holds = this.batches.at(-1)?.path === path || this.#unread.length > 0;
    if (holds) this.#shipment.endSegment({ path, bytes: end, head: this.chain.head });
    else rmSync(path); // it is empty, or all of it is committed
  }

  /** Says that there is no further segment. */
  finish(): void {
    this.#loseTail();
    this.#lastFrame = Buffer.alloc(0);
  }

  #loseTail(): void {
    const lostBytes = this.#unread.reduce((sum, { bytes }) => sum + bytes, 0);
    if (this.chain.ended) this.#unread = [];
    // What was there may have been shipped before it was damaged: no later record may have the seq of one of those.
    else if (lostBytes > 0) this.#lose(this.chain.seq + Math.ceil(lostBytes / leastFrameBytes));
  }

  /** Adds records that were written behind all others. */
  add(path: string, bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      const frame = tryParseFrame(bytes, at);
      if (!frame) throw new Error('a frame of our own is not whole');
      this.#take(path, at, frame, bytes);
      at += frame.length;
    }
    this.#shipment.endSegment({ path, bytes: bytes.length, head: this.chain.head });
  }

  /** Returns the frame at a place, if it is a record of the stream that may come there. */
  #tryRead(bytes: Buffer, at: number): Frame | undefined {
    try {
      const frame = tryParseFrame(bytes, at);
      const { stream, seq } = frame?.header ?? { stream: '', seq: 0 };
      const committed = this.chain.seq === this.#headSeq && seq <= this.#headSeq;
      return stream === this.stream && (committed || seq > this.chain.seq) ? frame : undefined;
    } catch (error) {
      if (error instanceof ChaperoneError) return undefined;
      throw error;
    }
  }

  #tryMend(path: string, bytes: Buffer, at: number): Frame | undefined {
    const mended = tryMendCheckpoint(bytes, at, { stream: this.stream, seq: this.chain.seq + 1 });
    if (!mended) return undefined;
    mended.copy(bytes, at);
    const fd = openSync(path, 'r+');
    writeSync(fd, mended, 0, mended.length, at);
    closeSync(fd);
    return this.#tryRead(bytes, at);
  }

  #take(path: string, offset: number, frame: Frame, bytes: Buffer): void {
    const { header, headerBytes, length } = frame;
    const { chain } = this;
    if (header.seq <= chain.seq) return; // committed, as the head says
    if (header.seq > chain.seq + 1) {
      // With nothing in between that cannot be read, the record itself shows that others are missing.
      if (this.#unread.length === 0) {
        this.#unread.push({ path, offset, bytes: length });
        this.#damagedAt ??= offset;
      }
      this.#lose(header.seq - 1);
    }
    this.#unread = [];
    const before = chain.link?.toString('hex');
    chain.add(header, headerBytes);
    const { seq, link } = chain;
    this.#shipment.add({
      path,
      offset,
      bytes: length,
      firstSeq: seq,
      lastSeq: seq,
      before,
      link: link?.toString('hex'),
    });
    this.#lastFrame = bytes.subarray(offset, offset + length);
    if (header.kind === 'gap' && header.reason === 'damaged') this.#recordedGaps.add(header.from);
  }

  /** Passes over what cannot be read, up to a record that is lost with it. */
  #lose(lastSeq: number): void {
    const firstSeq = this.chain.seq + 1;
    this.#gaps.push({ from: firstSeq, to: lastSeq });
    for (const piece of this.#unread)
      this.#shipment.add({
        ...piece,
        firstSeq,
        lastSeq,
        before: undefined,
        link: undefined,
        unreadable: Buffer.from(this.#lastFrame),
      });
    this.#unread = [];
    this.chain.skipTo(lastSeq);
  }

  #findNext(bytes: Buffer, offset: number): number | undefined {
    for (let at = offset; ; at += 1) {
      at = bytes.indexOf(headerStart, at);
      if (at < 0) return undefined;
      const start = at - prefixBytes;
      if (start >= offset && this.#tryRead(bytes, start)) return start;
    }
  }

  /** Keeps a copy of what is damaged, once, for whoever finds out what happened. */
  async #tell(path: string, bytes: number): Promise<void> {
    const keptBytes = this.#damagedAt;
    if (keptBytes === undefined) return;
    try {
      await copyFile(path, `${path}.damaged`, constants.COPYFILE_EXCL);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return;
      rmSync(`${path}.damaged`, { force: true }); // no room for it: the file itself stays until it is shipped
    }
    this.#options.onDamage({ path, keptBytes, lostBytes: bytes - keptBytes });
  }
}

/** Whether what is there can be the beginning of a record that was not written to its end. */
function isCutShort(bytes: Buffer, at: number): boolean {
  try {
    return tryParseFrame(bytes, at) === undefined;
  } catch (error) {
    if (error instanceof ChaperoneError) return false;
    throw error;
  }
}
