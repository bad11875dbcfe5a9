import { isPromise } from 'node:util/types';
import { ChaperoneError } from '#core/errors.ts';
import type { Renames } from '#core/postgres/command.ts';
import { FrameSplitter, type Piece, type Room } from '#core/postgres/frames.ts';
import { FrontendTag } from '#core/postgres/frontend.ts';
import type { Permit } from '../gate.ts';
import type { Session } from '../lane.ts';
import type { Ready, Stop } from '../ready.ts';
import { Admission } from './admission.ts';
import type { Item } from './items.ts';
import type { Pipeline } from './pipeline.ts';
import type { Obstacle, Reader } from './reading/reader.ts';
import { SettingsQuery } from './reading/settings-query.ts';

/** A text is held whole, to be judged, up to this length; what is longer is passed on piece by piece, if at all. */
const maxHeldMessageBytes = 16 * 1024 * 1024;
/** Texts that have come in part, of all connections of the process: they would add up to gigabytes. */
const maxHeldTextBytes = 64 * 1024 * 1024;
const maxHeldBytes = 262_144; // of messages with parameters, which nobody has to see whole
const maxSmallBytes = 10_000; // of messages with names alone: PQ_SMALL_MESSAGE_LIMIT of PostgreSQL

/**
 * Messages after which the lane asks for their replies, when the agent does not. A backend keeps replies back until they
 * fill its buffer of 8 KiB; the shortest have 5 bytes, and an agent is not read while too many are awaited.
 */
const maxUnasked = 256;

const copyTags: ReadonlySet<number> = new Set([
  FrontendTag.CopyData,
  FrontendTag.CopyDone,
  FrontendTag.CopyFail,
]);

/** Messages that name statements or portals. */
const namingTags: ReadonlySet<number> = new Set([
  FrontendTag.Parse,
  FrontendTag.Bind,
  FrontendTag.Execute,
  FrontendTag.Describe,
  FrontendTag.Close,
]);

/** Command tags of what leaves no prepared statement, whatever becomes of the transaction. */
const emptying: ReadonlySet<string> = new Set(['DISCARD ALL', 'DEALLOCATE ALL']);

/** What may still be admitted: anything; the rest of what was begun; nothing. */
export type Phase = 'open' | 'finishing' | 'over';

let heldTextBytes = 0;
const heldTexts: Room = {
  take: (bytes) => {
    if (heldTextBytes + bytes > maxHeldTextBytes) return false;
    heldTextBytes += bytes;
    return true;
  },
  give: (bytes) => {
    heldTextBytes -= bytes;
  },
};

export interface IntakeOptions {
  readonly session: Session;
  readonly pipeline: Pipeline;
  readonly phase: () => Phase;
  /** Forwards items whose records are cleared, or that have to be refused because they cannot be. Must not throw. */
  readonly forward: (items: readonly Item[], stop: Stop | undefined) => void;
  /** Called after each batch; must not throw. */
  readonly onProgress: () => void;
  /** Reads what texts do; without one nothing is known of them. */
  readonly reader: Reader | undefined;
  /** Called when something that a message waited for has settled: `resume` is to be called. Must not throw. */
  readonly onRead: () => void;
}

/** Admitted items of one turn, forwarded once their records are cleared. */
interface Batch {
  readonly items: readonly Item[];
  readonly bytes: number;
  readonly ready: Ready;
}

/**
 * The way of the agent's bytes up to the pipeline: split into messages, admitted, and kept until their records are in the
 * spool. Where it is not known yet what a message means it waits, and all behind it.
 */
export class Intake {
  readonly #options: IntakeOptions;
  readonly #admission: Admission;
  readonly #splitter = new FrameSplitter({
    streamed: new Set([FrontendTag.CopyData]),
    maxMessageBytes,
    oversized: 'stream',
    room: heldTexts,
  });
  readonly #inbox: Batch[] = [];
  #inboxItems = 0;
  #inboxBytes = 0;
  #pumping = false;
  #pumped: Promise<void> = Promise.resolve();
  #held: Piece[] = [];
  /** Whether a pipeline has gone on behind a Sync while the meaning of names is uncertain. */
  #crossed = false;
  /** The COPY whose data have been admitted to their end. */
  #copied: Permit | undefined;
  /** Whether something else was admitted behind the COPY that takes data: what data follow belong to another, if any. */
  #pastCopy = false;
  /** The COPY of which a message has been admitted in part. */
  #copyInside: Permit | undefined;
  /** Messages since something made the backend send its replies. */
  #unasked = 0;
  /** Whether a message was dropped because only what was begun is finished: the next may count on it. */
  #cutOff = false;
  /** A query of the lane's own that is on its way, or that the backend has not answered yet. */
  #asking: SettingsQuery | undefined;
  /** Whether something is awaited that the first message held back needs to be judged. */
  #reading = false;
  /** Settles when cancels on their way have reached the backend. */
  #cancelling: Promise<void> | undefined;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#admission = new Admission(options.session, options.reader);
  }

  /** Messages that wait for the spool. */
  get items(): number {
    return this.#inboxItems;
  }

  /** Bytes that wait for the spool. */
  get bytes(): number {
    return this.#inboxBytes;
  }

  /** Whether messages wait for a reply to earlier ones. */
  get holding(): boolean {
    return this.#held.length > 0;
  }

  /** Whether everything that was admitted has been forwarded. */
  get empty(): boolean {
    return !this.#pumping && this.#held.length === 0;
  }

  /** Settles when everything that was admitted has been forwarded or dropped; nothing more is taken. */
  end(): Promise<void> {
    this.#splitter.giveBack();
    return this.#pumped;
  }

  /** Takes bytes of the agent. @throws ChaperoneError `protocol-violation`. */
  push(chunk: Buffer): void {
    this.#admit(this.#splitter.push(chunk));
  }

  /** SQL has changed what names mean; `tag` is that of its CommandComplete. */
  forget(renames: Renames, tag: string): void {
    this.#admission.forget(renames);
    if (emptying.has(tag)) this.#options.reader?.forgetNames();
  }

  /** Something has failed midway. */
  forgetDoubtful(): void {
    this.#admission.forgetDoubtful();
    this.#options.reader?.failed();
  }

  /**
   * A COPY takes data, it may be the next one of the same operation. Nothing was sent behind it, so everything before it
   * has been answered.
   */
  beginCopy(): void {
    this.#copied = undefined;
    this.#pastCopy = false;
    this.#settle();
  }

  /**
   * Keeps what comes from going up until a cancel has reached the backend: one that arrives late must not meet the next
   * statement.
   */
  waitForCancel(sent: Promise<void>): void {
    const done = Promise.allSettled([this.#cancelling, sent]).then(() => {
      if (this.#cancelling === done) this.#cancelling = undefined;
    });
    this.#cancelling = done;
  }

  /** Goes on with what was held, once replies have told what it means. */
  resume(): void {
    if (this.#options.pipeline.idle && this.#inbox.length === 0) {
      this.#settle();
      this.#admission.endDoubt();
      this.#learn();
    }
    const [first] = this.#held;
    if (!first || this.#reading || this.#asking) return;
    if (this.#crossed || this.#comesEarly(first, false) || this.#isDoubtful(first)) return;
    const over = this.#options.phase() === 'over';
    const obstacle = over ? undefined : this.#obstacle(first, false);
    if (obstacle) return this.#overcome(obstacle);
    const held = this.#held;
    this.#held = [];
    if (this.#options.phase() !== 'over') this.#admit(held);
  }

  /** Takes what the backend has answered to a query of the lane's own. */
  #learn(): void {
    const { reader, pipeline } = this.#options;
    if (this.#asking) reader?.learn(this.#asking.meaning);
    this.#asking = undefined;
    if (pipeline.wasIdle) reader?.settled(pipeline.status !== 'I');
  }

  /** What keeps a message from being judged now. `behind`: it follows messages that are being admitted. */
  #obstacle(piece: Piece, behind: boolean): Obstacle | undefined {
    const { pipeline } = this.#options;
    const copying = this.#taking !== undefined || this.#copyInside !== undefined;
    const obstacle = this.#admission.obstacle(piece, {
      idle: !behind && !copying && pipeline.idle && this.#inbox.length === 0,
      mayAsk: pipeline.mayAsk,
      status: pipeline.status,
    });
    // A COPY that takes data ends with the message, so that no reply comes before it goes up.
    return copying && typeof obstacle === 'string' ? undefined : obstacle;
  }

  /** Brings about what a message that is held back waits for, where nothing else does. */
  #overcome(obstacle: Obstacle): void {
    if (obstacle === 'replies') return;
    if (obstacle === 'settings') {
      this.#asking = new SettingsQuery();
      return this.#enqueue([{ kind: 'own-query', query: this.#asking }]);
    }
    this.#reading = true;
    const read = (): void => {
      this.#reading = false;
      this.#options.onRead();
    };
    obstacle.then(read, read); // what could not be read is judged as such
  }

  /** Every reply has come: names mean what the backend says. */
  #settle(): void {
    this.#admission.settle(this.#options.pipeline.status === 'I');
    this.#crossed = false;
    this.#pastCopy = false;
  }

  /**
   * Admits messages as they come, also many at once. Only where it is not known yet what they mean do they wait: where a
   * pipeline goes on behind a Sync while the backend has not said whether it made a statement, a Bind could mean another
   * text than it seems to, as it could behind SQL that gives names to other statements; and data of a COPY belong to it
   * from its CopyInResponse on.
   */
  #admit(pieces: readonly Piece[]): void {
    const items: Item[] = [];
    try {
      this.#admitTo(items, pieces);
    } finally {
      // Also when a later message breaks the protocol: what was admitted before it is to have its result.
      if (items.length > 0) this.#enqueue(items);
    }
  }

  #admitTo(items: Item[], pieces: readonly Piece[]): void {
    const finishing = this.#options.phase() === 'finishing';
    for (const [index, piece] of pieces.entries()) {
      this.#cutOff ||= finishing && !finishes(piece);
      if (this.#cutOff) return;
      const early = this.#comesEarly(piece, items.length > 0) || this.#isDoubtful(piece);
      const waits = early || this.#crossed || this.#held.length > 0;
      const obstacle = waits ? undefined : this.#obstacle(piece, items.length > 0);
      if (waits || obstacle) {
        // The replies that decide may wait for a Flush that the agent does not send.
        const flushes = early || obstacle === 'replies';
        if (flushes && this.#held.length === 0) items.push({ kind: 'own-flush' });
        this.#held.push(...pieces.slice(index));
        if (obstacle) this.#overcome(obstacle);
        break;
      }
      const item = copyTags.has(piece.tag) ? this.#admitCopy(piece) : this.#admission.admit(piece);
      if (item) items.push(item);
      if (item && this.#endsCopy(item)) this.#pastCopy = true;
      if (item && this.#needsFlush(item)) items.push({ kind: 'own-flush' });
      const ends = piece.tag === FrontendTag.Sync || piece.tag === FrontendTag.Query;
      this.#crossed = ends && this.#admission.uncertain;
    }
  }

  /** While it takes COPY data the backend minds Sync and Flush as little as we do; all else ends the COPY. */
  #endsCopy({ kind }: Item): boolean {
    if (!this.#taking) return false;
    return !['copy-data', 'copy-end', 'sync', 'flush', 'own-flush', 'more'].includes(kind);
  }

  /** Whether the replies have to be asked for behind this message. */
  #needsFlush(item: Item): boolean {
    switch (item.kind) {
      case 'copy-data':
      case 'copy-end':
      case 'more':
        return false; // has no reply of its own, and may be followed by more of itself alone
      case 'sync':
      case 'flush':
      case 'query':
      case 'function-call':
        this.#unasked = 0;
        return false;
      default:
        this.#unasked += 1;
    }
    if (this.#unasked < maxUnasked || ('open' in item && item.open)) return false;
    this.#unasked = 0;
    return true;
  }

  /**
   * Whether a piece comes before it is known whether a COPY takes it, or what has become of one that ended by another
   * message. `behind`: it follows messages that are being admitted.
   */
  #comesEarly(piece: Piece, behind: boolean): boolean {
    if (this.#copyInside || piece.kind === 'more') return false;
    const { pipeline } = this.#options;
    const awaits = behind || !pipeline.idle || this.#inbox.length > 0;
    return awaits && (this.#pastCopy || (copyTags.has(piece.tag) && !this.#taking));
  }

  /**
   * Whether a message says a name while SQL that may change what that means is under way. Within a COPY it means nothing
   * but the end of that, which waits for it.
   */
  #isDoubtful(piece: Piece): boolean {
    if (!this.#admission.doubtful || piece.kind === 'more' || !namingTags.has(piece.tag))
      return false;
    return !this.#taking && !this.#copyInside;
  }

  /** The operation that the next COPY data belong to. */
  get #taking(): Permit | undefined {
    const { copyIn } = this.#options.pipeline;
    return this.#pastCopy || copyIn === this.#copied ? undefined : copyIn;
  }

  /** Data that no COPY takes are ignored, as PostgreSQL does. */
  #admitCopy(piece: Piece): Item | undefined {
    if (piece.kind !== 'run' && piece.kind !== 'message')
      throw new ChaperoneError('protocol-violation', 'the agent sent a CopyFail without end');
    const permit = this.#copyInside ?? this.#taking;
    this.#copyInside = piece.kind === 'run' && piece.inside ? permit : undefined;
    if (!permit) return undefined;
    if (piece.kind === 'message') this.#copied = permit;
    return this.#admission.admitCopy(piece, permit);
  }

  #enqueue(items: readonly Item[]): void {
    const bytes = items.reduce((sum, item) => sum + ('frame' in item ? item.frame.length : 0), 0);
    this.#inbox.push({ items, bytes, ready: this.#options.session.cleared() });
    this.#inboxItems += items.length;
    this.#inboxBytes += bytes;
    if (!this.#pumping) this.#pumped = this.#pump();
  }

  // Never rejects: turns settle with a Stop, and what is called here does not throw.
  async #pump(): Promise<void> {
    this.#pumping = true;
    for (let batch = this.#inbox[0]; batch; batch = this.#inbox[0]) {
      const stop = isPromise(batch.ready) ? await batch.ready : batch.ready;
      while (this.#cancelling) await this.#cancelling;
      this.#inbox.shift();
      const { items, bytes } = batch;
      this.#inboxItems -= items.length;
      this.#inboxBytes -= bytes;
      this.#options.forward(items, stop);
      this.#options.onProgress();
    }
    this.#pumping = false;
    this.#options.onProgress();
  }
}

/** Whether a piece belongs to what was begun. A Sync commits it, where the agent began no transaction. */
function finishes({ kind, tag }: Piece): boolean {
  if (kind === 'more' || copyTags.has(tag)) return true;
  return tag === FrontendTag.Sync || tag === FrontendTag.Flush;
}

function maxMessageBytes(tag: number): number {
  switch (tag) {
    case FrontendTag.Query:
    case FrontendTag.Parse:
      return maxHeldMessageBytes;
    case FrontendTag.Bind:
    case FrontendTag.FunctionCall:
      return maxHeldBytes;
    default:
      return maxSmallBytes;
  }
}
