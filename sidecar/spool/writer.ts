import { closeSync, ftruncateSync, rmSync, writeSync } from 'node:fs';
import { checkpointEvery } from '#core/record/checkpoint.ts';
import type { RecordFields } from '#core/record/kinds.ts';
import type { RecordRef } from '#core/operation.ts';
import type { Ready, Stop } from '../ready.ts';
import type { Moment } from './clock.ts';
import { pendingCheckpoint } from './checkpoint-frame.ts';
import { FrameBuilder } from './frame-builder.ts';
import { beginHeader } from './header.ts';
import { createSegment, type Segment } from './segment.ts';

/** Counts the records of one session; `n` of the next record is `count + 1`. */
export interface SessionLog {
  readonly id: string;
  count: number;
}

/** A record on its way to the spool. Fields and payload are taken when it is sealed, so they may still grow. */
export interface Draft {
  readonly session?: SessionLog | undefined;
  readonly request?: RecordRef | undefined;
  /** An ending: kept until it can be written, while others are dropped with the operation that they stop. */
  readonly ending: boolean;
  /** Called when it is let go of unwritten, so that nothing more is added to it. */
  dropped?(): void;
  /** Called when it is an ending that was not written in time, so that what waited for it was stopped. */
  late?(): void;
  /** Returns undefined when there is nothing to record after all, such as the end of what was never recorded. */
  seal():
    { readonly fields: RecordFields; readonly payload?: readonly Buffer[] | undefined } | undefined;
}

export interface WriterOptions {
  readonly directory: string;
  readonly stream: string;
  readonly now: () => Moment;
  /** Limit of all segments together, in bytes; endings may pass it by `reserveBytes`. */
  readonly maxBytes: number;
  readonly reserveBytes: number;
  /** A new segment begins once one has this many bytes. */
  readonly segmentBytes: number;
  /** How long an operation waits for a spool that cannot be written, in milliseconds; read at each failure. */
  readonly waitMs: () => number;
  /** Called after every write with the number of records and bytes, and the seq of the last record. */
  readonly onWritten: (records: number, bytes: number, lastSeq: number) => void;
  /** Called when nothing more is added to the segment that ends with a record. */
  readonly onSegmentClosed: (lastSeq: number) => void;
  /** Called when the spool stops being writable, and with undefined when it is writable again. */
  readonly onTrouble: (error: Error | undefined) => void;
}

interface Entry {
  readonly draft: Draft;
  readonly ref: { seq: number | undefined };
  readonly moment: Moment;
}

/** What one turn of the event loop appended: written together, or refused together. */
interface Turn {
  readonly entries: Entry[];
  readonly ready: Promise<undefined | Stop>;
  settle(outcome: undefined | Stop): void;
  /** On the monotonic clock of `performance.now()`; set at the first failure. */
  deadline: number | undefined;
}

type State =
  | { readonly kind: 'open' }
  /** Writing failed at `since`; tried again by a timer and with every new turn. */
  | { readonly kind: 'failing'; readonly since: number }
  | { readonly kind: 'closed' };

const retryMs = 100;
const maxQueuedEntries = 50_000;
const noPayload: readonly Buffer[] = [];
/** What stops operations that cannot be recorded. */
export const unrecordable: Stop = {
  refusal: {
    code: 'audit-unavailable',
    message: 'the audit log cannot be written, so this was not run',
    hint: 'Try again later; the operator finds the cause in the log of the Chaperone sidecar.',
  },
  reason: 'audit-unavailable',
};

/**
 * Writes records to the spool: one write an event-loop turn for all that the turn appended. Seq and `n` are given out as a
 * record is sealed for its write, and taken back when the write fails, so that what is in the file is always an unbroken
 * sequence. A write goes to a fixed place behind the last whole record and is repeated at that place.
 */
export class SpoolWriter {
  readonly #options: WriterOptions;
  readonly #frames = new FrameBuilder();
  #state: State = { kind: 'open' };
  #turn: Turn | undefined;
  #waiting: Turn[] = [];
  #endings: Entry[] = [];
  /** What the stream begins with, until it is written. */
  #first: Entry | undefined;
  #file: { readonly segment: Segment; readonly fd: number } | undefined;
  #seq = 0;
  #checkpointSeq = 0;
  #totalBytes = 0;
  #retry: NodeJS.Timeout | undefined;
  #checkpoints: NodeJS.Timeout | undefined;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  get stream(): string {
    return this.#options.stream;
  }

  /** Seq of the last record in the file. */
  get lastSeq(): number {
    return this.#seq;
  }

  /** Bytes of all segments, those of earlier streams included. */
  get totalBytes(): number {
    return this.#totalBytes;
  }

  /** Queues the record that comes before all others, however long it takes until it can be written. */
  begin(draft: Draft): void {
    this.#first = { draft, ref: { seq: undefined }, moment: this.#options.now() };
    this.#turn ??= this.#beginTurn();
  }

  /** Queues a record for this turn's write. Its seq is known once `turn()` has settled. */
  append(draft: Draft): RecordRef {
    const entry: Entry = { draft, ref: { seq: undefined }, moment: this.#options.now() };
    if (this.#state.kind === 'closed') return entry.ref;
    this.#turn ??= this.#beginTurn();
    this.#turn.entries.push(entry);
    return entry.ref;
  }

  /** Settles when all that was appended so far is in the file, or with a Stop when it cannot be. */
  turn(): Ready {
    if (this.#state.kind === 'closed') return unrecordable;
    return this.#turn?.ready ?? this.#waiting.at(-1)?.ready;
  }

  /** Counts bytes of earlier streams against the limit. */
  adopt(bytes: number): void {
    this.#totalBytes += bytes;
  }

  /** Makes room: a segment is committed by the collector and deleted. */
  forget(bytes: number): void {
    this.#totalBytes -= bytes;
    if (this.#state.kind === 'failing') this.#flush();
  }

  /** Puts a checkpoint behind the records of every second, and one every few seconds when there are none. */
  startCheckpoints(): void {
    let idleMs = 0;
    this.#checkpoints = setInterval(() => {
      idleMs = this.#seq > this.#checkpointSeq ? 0 : idleMs + checkpointEvery.busyMs;
      if (idleMs === 0) this.#appendCheckpoint();
      else if (idleMs >= checkpointEvery.idleMs) {
        idleMs = 0;
        this.append({ ending: false, seal: () => ({ fields: pendingCheckpoint }) });
      }
    }, checkpointEvery.busyMs).unref();
  }

  /** Writes what is queued and closes the file. What cannot be written now is lost, and `false` is returned. */
  close(): boolean {
    clearTimeout(this.#retry);
    clearInterval(this.#checkpoints);
    this.#flush();
    const written = this.#state.kind === 'open';
    if (!written) {
      for (const turn of this.#waiting) this.#letGo(turn);
      this.#waiting = [];
      this.#flush(); // endings alone, which have room beyond the limit
    }
    clearTimeout(this.#retry);
    this.#closeSegment();
    if (this.#file) {
      closeSync(this.#file.fd);
      rmSync(this.#file.segment.path, { force: true }); // nothing was ever written to it
      this.#file = undefined;
    }
    this.#state = { kind: 'closed' };
    return written;
  }

  /** It is written beyond the limit, as endings are: what they end is to be proven as well. */
  #appendCheckpoint(): void {
    const draft: Draft = {
      ending: true,
      seal: () => (this.#seq > this.#checkpointSeq ? { fields: pendingCheckpoint } : undefined),
    };
    if (this.#state.kind === 'open') this.append(draft);
    else if (this.#endings.length === 0)
      this.#endings.push({ draft, ref: { seq: undefined }, moment: this.#options.now() });
  }

  #beginTurn(): Turn {
    const { promise, resolve } = Promise.withResolvers<undefined | Stop>();
    setImmediate(() => this.#flush());
    return { entries: [], ready: promise, settle: resolve, deadline: undefined };
  }

  #flush(): void {
    if (this.#state.kind === 'closed') return;
    if (this.#turn) this.#waiting.push(this.#turn);
    this.#turn = undefined;
    if (!this.#first && this.#waiting.length === 0 && this.#endings.length === 0) return;
    const error = this.#tryWrite(this.#waiting);
    if (error === undefined) this.#succeeded();
    else this.#failed(error);
  }

  #succeeded(): void {
    this.#endings = [];
    const turns = this.#waiting;
    this.#waiting = [];
    if (this.#state.kind === 'failing') {
      this.#state = { kind: 'open' };
      this.#options.onTrouble(undefined);
    }
    for (const turn of turns) turn.settle(undefined);
  }

  #failed(error: Error): void {
    const now = performance.now();
    if (this.#state.kind === 'open') {
      this.#state = { kind: 'failing', since: now };
      this.#options.onTrouble(error);
    }
    const since = this.#state.kind === 'failing' ? this.#state.since : now;
    const overflowing = this.#queuedEntries() > maxQueuedEntries;
    const still: Turn[] = [];
    for (const turn of this.#waiting) {
      turn.deadline ??= since + this.#options.waitMs();
      if (now < turn.deadline && !overflowing) {
        still.push(turn);
        continue;
      }
      this.#letGo(turn);
    }
    this.#waiting = still;
    // Endings have room beyond the limit: they must not wait behind what has none.
    if (this.#endings.length > 0 && this.#tryWrite([]) === undefined) this.#endings = [];
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#flush();
    }, retryMs);
  }

  /** Gives up what a turn appended, but for endings; the end of what was never recorded is none. */
  #letGo(turn: Turn): void {
    for (const entry of turn.entries) {
      const { draft } = entry;
      if (!draft.ending) draft.dropped?.();
      else if (!draft.request || draft.request.seq !== undefined) {
        draft.late?.();
        this.#endings.push(entry);
      }
    }
    turn.settle(unrecordable);
  }

  #queuedEntries(): number {
    return this.#waiting.reduce((sum, turn) => sum + turn.entries.length, this.#endings.length);
  }

  /** Seals and writes all or nothing. Returns the error that stopped it. */
  #tryWrite(turns: readonly Turn[]): Error | undefined {
    const before = { seq: this.#seq, checkpointSeq: this.#checkpointSeq };
    const sealed: Entry[] = [];
    try {
      if (this.#first) this.#sealAll([this.#first], sealed);
      this.#sealAll(this.#endings, sealed);
      for (const { entries } of turns) this.#sealAll(entries, sealed);
      const { length } = this.#frames;
      if (length > 0) {
        this.#write(this.#frames.bytes, before.seq + 1, sealed);
        this.#options.onWritten(this.#seq - before.seq, length, this.#seq);
      }
      this.#first = undefined;
      return undefined;
    } catch (error) {
      for (const { draft, ref } of sealed) {
        ref.seq = undefined;
        if (draft.session) draft.session.count -= 1;
      }
      this.#seq = before.seq;
      this.#checkpointSeq = before.checkpointSeq;
      return error instanceof Error ? error : new Error('unknown', { cause: error });
    } finally {
      this.#frames.clear();
    }
  }

  #sealAll(entries: readonly Entry[], sealed: Entry[]): void {
    for (const entry of entries) if (this.#seal(entry)) sealed.push(entry);
  }

  /** Gives a record its place and builds its frame, and a checkpoint behind it where one is due. */
  #seal({ draft, ref, moment }: Entry): boolean {
    const content = draft.seal();
    if (!content) return false;
    const { session, request } = draft;
    const { fields, payload = noPayload } = content;
    const seq = this.#seq + 1;
    let header = beginHeader(fields, this.#options.stream, seq, moment);
    if (session) header += `,"session":"${session.id}","n":${session.count + 1}`;
    if (request?.seq !== undefined) header += `,"request":${request.seq}`;
    this.#frames.append(header, payload);
    this.#seq = seq;
    ref.seq = seq;
    if (session) session.count += 1;
    if (fields.kind === 'checkpoint') this.#checkpointSeq = seq;
    else if (
      fields.kind === 'stream.end' ||
      seq + 1 - this.#checkpointSeq >= checkpointEvery.records
    )
      this.#sealCheckpoint(moment);
    return true;
  }

  #sealCheckpoint(moment: Moment): void {
    const seq = this.#seq + 1;
    this.#frames.append(
      beginHeader(pendingCheckpoint, this.#options.stream, seq, moment),
      noPayload,
    );
    this.#seq = seq;
    this.#checkpointSeq = seq;
  }

  #write(bytes: Buffer, firstSeq: number, entries: readonly Entry[]): void {
    const room = this.#options.maxBytes - this.#totalBytes - bytes.length;
    if (room < 0) {
      const onlyEndings = entries.every((entry) => entry.draft.ending);
      if (!onlyEndings || room + this.#options.reserveBytes < 0) {
        this.#makeRoom(firstSeq - 1);
        throw new Error('the spool is full');
      }
    }
    const { segment, fd } = (this.#file ??= createSegment(
      this.#options.directory,
      this.#options.stream,
      firstSeq,
    ));
    const start = segment.bytes;
    try {
      for (let done = 0; done < bytes.length;) {
        done += writeSync(fd, bytes, done, bytes.length - done, start + done);
      }
    } catch (error) {
      ftruncateSync(fd, start); // leaves no half record for a reader; the next try writes to the same place
      this.#makeRoom(firstSeq - 1);
      throw error;
    }
    segment.bytes += bytes.length;
    this.#totalBytes += bytes.length;
    if (segment.bytes >= this.#options.segmentBytes) this.#closeSegment();
  }

  /** Ends a segment that is worth it: all that is in it can be deleted once it is shipped. */
  #makeRoom(lastSeq: number): void {
    const { segmentBytes, maxBytes } = this.#options;
    const least = Math.min(segmentBytes, maxBytes) / 16;
    if (this.#file && this.#file.segment.bytes >= least) this.#closeSegment(lastSeq);
  }

  /** Ends the segment; an empty one is written to at the next try. */
  #closeSegment(lastSeq = this.#seq): void {
    if (!this.#file || this.#file.segment.bytes === 0) return;
    closeSync(this.#file.fd);
    this.#file = undefined;
    this.#options.onSegmentClosed(lastSeq);
  }
}
