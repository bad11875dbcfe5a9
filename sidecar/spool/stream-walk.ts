import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { KeyObject } from 'node:crypto';
import { signCheckpoint, unsigned } from '#core/record/checkpoint.ts';
import { prefixBytes } from '#core/record/frame.ts';
import type { RecordHeader } from '#core/record/kinds.ts';
import { Chain } from './chain.ts';
import { completeCheckpoint } from './checkpoint-frame.ts';
import type { Progress } from './progress.ts';
import { segmentPath } from './segment.ts';
import type { Shipment } from './shipment.ts';

const chunkBytes = 128 * 1024; // longer than any header, which is all that has to be in it
const chunksAtOnce = 32; // then the thread turns to its sockets again

export interface StreamWalkOptions {
  readonly directory: string;
  readonly progress: Progress;
  /** Of the stream's checkpoints. */
  readonly key: KeyObject;
  /** Gets what has been walked. */
  readonly shipment: Shipment;
}

interface OpenFile {
  readonly path: string;
  readonly fd: number;
  offset: number;
}

/**
 * Follows the writer through its segments: computes the links, completes each checkpoint in its place in the file, and
 * only then hands the records on to be shipped, so that what is shipped never changes.
 */
export class StreamWalk {
  readonly #options: StreamWalkOptions;
  readonly #chain: Chain;
  readonly #buffer = Buffer.allocUnsafeSlow(chunkBytes);
  #file: OpenFile | undefined;
  /** A completed checkpoint that may be in its file in part. */
  #unfinished: { readonly frame: Buffer; readonly position: number } | undefined;

  constructor(options: StreamWalkOptions) {
    this.#options = options;
    this.#chain = new Chain(options.shipment.stream);
  }

  /**
   * Walks on to the last record that is written, but not for too long. Returns whether there is more.
   * @throws when a file cannot be read, or a checkpoint not be completed; the next call tries again.
   */
  walk(): boolean {
    const { progress } = this.#options;
    const { written } = progress;
    for (let chunk = 0; this.#chain.seq < written; chunk += 1) {
      if (chunk === chunksAtOnce) return true;
      const file = (this.#file ??= this.#open());
      if (this.#unfinished) this.#overwrite(file.fd, this.#unfinished);
      const read = readSync(file.fd, this.#buffer, 0, chunkBytes, file.offset);
      if (read === 0 && file.offset > 0) this.#endSegment();
      else this.#walkChunk(file, this.#buffer.subarray(0, read), written);
    }
    if (this.#chain.seq === progress.closed) this.#endSegment();
    return this.behind;
  }

  /** Whether there is something to walk. */
  get behind(): boolean {
    const { written, closed } = this.#options.progress;
    return this.#chain.seq < written || (this.#chain.seq === closed && this.#file !== undefined);
  }

  #open(): OpenFile {
    const { directory, shipment } = this.#options;
    const path = segmentPath(directory, shipment.stream, this.#chain.seq + 1);
    return { path, fd: openSync(path, 'r+'), offset: 0 };
  }

  #walkChunk(file: OpenFile, bytes: Buffer, lastSeq: number): void {
    const chain = this.#chain;
    const start = file.offset;
    const firstSeq = chain.seq + 1;
    const before = chain.link?.toString('hex');
    let at = 0;
    try {
      while (chain.seq < lastSeq && at + prefixBytes <= bytes.length) {
        const end = at + prefixBytes + bytes.readUInt32BE(at + 8);
        if (end > bytes.length) break;
        const length = 8 + bytes.readUInt32BE(at);
        let header = JSON.parse(bytes.toString('utf8', at + prefixBytes, end)) as RecordHeader; // the writer's own
        if (header.kind === 'checkpoint' && header.signature === unsigned)
          header = this.#complete(file.fd, start + at, bytes.subarray(at, at + length), header);
        chain.add(header, bytes.subarray(at + prefixBytes, end));
        at += length;
      }
    } finally {
      file.offset = start + at;
      const { seq, link } = chain;
      if (at > 0)
        this.#options.shipment.add({
          path: file.path,
          offset: start,
          bytes: at,
          firstSeq,
          lastSeq: seq,
          before,
          link: link?.toString('hex'),
        });
    }
    if (at === 0) throw new Error(`record ${firstSeq} is not in its segment`);
  }

  /** Signs a checkpoint and writes it over the pending one. */
  #complete(
    fd: number,
    position: number,
    pending: Buffer,
    header: Extract<RecordHeader, { kind: 'checkpoint' }>,
  ): RecordHeader {
    const { stream, seq, link } = this.#chain;
    if (!link) throw new Error('a stream of our own has no link');
    const frame = Buffer.from(pending);
    const signature = signCheckpoint(this.#options.key, { stream, seq, link });
    completeCheckpoint(frame, link.toString('hex'), signature);
    this.#overwrite(fd, { frame, position });
    frame.copy(pending);
    return { ...header, link: link.toString('hex'), signature };
  }

  #overwrite(fd: number, checkpoint: { readonly frame: Buffer; readonly position: number }): void {
    const { frame, position } = (this.#unfinished = checkpoint);
    if (writeSync(fd, frame, 0, frame.length, position) !== frame.length)
      throw new Error('a checkpoint was written in part');
    this.#unfinished = undefined;
  }

  #endSegment(): void {
    const file = this.#file;
    if (!file) return;
    closeSync(file.fd);
    this.#file = undefined;
    const { path, offset: bytes } = file;
    this.#options.shipment.endSegment({ path, bytes, head: this.#chain.head });
  }
}
