import { ChaperoneError } from '../errors.ts';

/** A piece of a stream of messages, in the order of the stream. */
export type Piece =
  /** A whole message. `frame` includes tag and length; it may be a view into what was pushed. */
  | {
      readonly kind: 'message';
      readonly tag: number;
      readonly frame: Buffer;
      readonly body: Buffer;
    }
  /** Bytes of streamed messages of one tag as they came, cut anywhere; `ended` of them end in it. */
  | {
      readonly kind: 'run';
      readonly tag: number;
      readonly bytes: Buffer;
      readonly ended: number;
      /** Whether it ends within a message, so that nothing but more of it may follow. */
      readonly inside: boolean;
    }
  /** The beginning of a message above the limit, under `stream`. */
  | {
      readonly kind: 'open';
      readonly tag: number;
      /** Its length field. */
      readonly length: number;
      /** Tag, length and as much of the body as `openBytes`, or all of it. */
      readonly frame: Buffer;
      readonly last: boolean;
    }
  /** More of the message that `open` began. */
  | { readonly kind: 'more'; readonly tag: number; readonly bytes: Buffer; readonly last: boolean }
  /** A message above the limit, under `skip`: said once, then its body is swallowed. */
  | { readonly kind: 'oversized'; readonly tag: number; readonly length: number };

/** Which messages a splitter holds whole, and up to which length. */
export interface SplitterOptions {
  /** Tags whose messages pass in runs and are never held. */
  readonly streamed: ReadonlySet<number>;
  /** Limit of every other message's length field, in bytes. */
  readonly maxMessageBytes: number | ((tag: number) => number);
  /** What happens to one above the limit: it is swallowed, ends the stream, or is passed on piece by piece. */
  readonly oversized: 'skip' | 'throw' | 'stream';
  /** Shared by many splitters: what finds no room in it counts as above the limit. Asked for long messages alone. */
  readonly room?: Room;
}

/** Memory that is shared out, in bytes. */
export interface Room {
  take(bytes: number): boolean;
  give(bytes: number): void;
}

/** Messages up to this length, in bytes, need no room: each connection may hold one. */
export const freeBytes = 262_144;

/** So much of a message above the limit comes with its first piece: names and the beginning of a text. */
export const openBytes = 65_536;

/** Tag and length. */
const headerBytes = 5;
/** PQ_LARGE_MESSAGE_LIMIT of PostgreSQL, with the length field itself. */
const maxLength = 0x3fff_ffff + 4;

type State =
  /** Between messages; `held` are the first bytes of a header. */
  | { readonly kind: 'between' }
  | {
      readonly kind: 'gathering';
      readonly tag: number;
      readonly frame: Buffer;
      readonly filled: number;
      /** All of the message, or as much as its first piece takes. */
      readonly wanted: number;
    }
  | { readonly kind: 'running' | 'flowing'; readonly tag: number; readonly left: number }
  | { readonly kind: 'swallowing'; readonly left: number }
  /** After a violation nobody knows where a message begins: what follows must not be taken for messages. */
  | { readonly kind: 'broken' };

/**
 * Splits a byte stream into PostgreSQL messages (`Byte1 tag · Int32 length · body`) without ever holding more than one
 * message of `maxMessageBytes`. A declared length is checked before a byte of the body is held.
 */
export class FrameSplitter {
  readonly #options: SplitterOptions;
  #state: State = { kind: 'between' };
  #held: Buffer = Buffer.alloc(0);
  /** Whether the message under way is above the limit. */
  #over = false;
  /** What the message under way has taken of the shared room. */
  #taken = 0;

  constructor(options: SplitterOptions) {
    this.#options = options;
  }

  /** Whether the bytes pushed so far end where a message ends. */
  get between(): boolean {
    return this.#state.kind === 'between' && this.#held.length === 0;
  }

  /**
   * Adds what it finds to `pieces`, so that what came before a violation is there, and returns them.
   * @throws ChaperoneError `protocol-violation` for an impossible length, or one above the limit under `throw`; and from
   * then on at every call.
   */
  push(chunk: Buffer, pieces: Piece[] = []): Piece[] {
    try {
      this.#split(chunk, pieces);
      return pieces;
    } catch (error) {
      this.#state = { kind: 'broken' };
      this.giveBack();
      throw error;
    }
  }

  /** Gives the room back that a message under way has taken: nothing more will be pushed. */
  giveBack(): void {
    if (this.#taken > 0) this.#options.room?.give(this.#taken);
    this.#taken = 0;
  }

  #split(chunk: Buffer, pieces: Piece[]): void {
    const bytes = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk;
    this.#held = Buffer.alloc(0);
    for (let at = 0; at < bytes.length;) {
      const state = this.#state;
      switch (state.kind) {
        case 'between':
          at = this.#begin(bytes, at, pieces);
          break;
        case 'gathering':
          at = this.#gather(state, bytes, at, pieces);
          break;
        case 'running':
          at = this.#run(state.tag, state.left, bytes, { from: at, at }, pieces);
          break;
        case 'flowing':
          at = this.#flow(state, bytes, at, pieces);
          break;
        case 'swallowing': {
          const taken = Math.min(state.left, bytes.length - at);
          this.#state =
            taken === state.left
              ? { kind: 'between' }
              : { kind: 'swallowing', left: state.left - taken };
          at += taken;
          break;
        }
        case 'broken':
          throw violation('bytes behind a message that broke the stream');
      }
    }
  }

  #begin(bytes: Buffer, at: number, pieces: Piece[]): number {
    if (bytes.length - at < headerBytes) {
      this.#held = Buffer.from(bytes.subarray(at));
      return bytes.length;
    }
    const tag = bytes.readUInt8(at);
    const length = readLength(bytes, at + 1);
    if (this.#options.streamed.has(tag)) return this.#run(tag, 0, bytes, { from: at, at }, pieces);
    const total = 1 + length;
    let wanted = total;
    const whole = at + total <= bytes.length;
    this.#over = length > this.#limitOf(tag) || (!whole && !this.#hasRoom(length));
    if (this.#over) {
      const { oversized } = this.#options;
      if (oversized === 'throw') throw violation(`a message of ${length} bytes`);
      if (oversized === 'skip') {
        pieces.push({ kind: 'oversized', tag, length });
        this.#state = length === 4 ? { kind: 'between' } : { kind: 'swallowing', left: length - 4 };
        return at + headerBytes;
      }
      wanted = Math.min(total, headerBytes + openBytes);
    } else if (whole) {
      const frame = bytes.subarray(at, at + total);
      pieces.push({ kind: 'message', tag, frame, body: frame.subarray(headerBytes) });
      return at + total;
    }
    const there = Math.min(wanted, bytes.length - at);
    const frame = Buffer.allocUnsafe(Math.min(wanted, 2 * there + 4096));
    const filled = bytes.copy(frame, 0, at, at + there);
    if (filled === wanted) this.#gathered(tag, frame, pieces);
    else this.#state = { kind: 'gathering', tag, frame, filled, wanted };
    return at + there;
  }

  #hasRoom(length: number): boolean {
    const { room } = this.#options;
    if (!room || length <= freeBytes) return true;
    if (!room.take(length)) return false;
    this.#taken = length;
    return true;
  }

  #limitOf(tag: number): number {
    const { maxMessageBytes } = this.#options;
    return typeof maxMessageBytes === 'number' ? maxMessageBytes : maxMessageBytes(tag);
  }

  // The buffer grows as bytes arrive, at most to twice what came: a length that lies costs its sender the bytes.
  #gather(
    state: Extract<State, { kind: 'gathering' }>,
    bytes: Buffer,
    at: number,
    pieces: Piece[],
  ): number {
    const { tag, wanted } = state;
    const taken = Math.min(wanted - state.filled, bytes.length - at);
    const filled = state.filled + taken;
    let { frame } = state;
    if (filled > frame.length) {
      frame = Buffer.allocUnsafe(Math.min(wanted, 2 * filled));
      state.frame.copy(frame, 0, 0, state.filled);
    }
    bytes.copy(frame, state.filled, at, at + taken);
    if (filled < wanted) this.#state = { kind: 'gathering', tag, frame, filled, wanted };
    else this.#gathered(tag, frame.subarray(0, wanted), pieces);
    return at + taken;
  }

  #gathered(tag: number, frame: Buffer, pieces: Piece[]): void {
    const length = readLength(frame, 1);
    const left = 1 + length - frame.length;
    this.giveBack();
    if (this.#over) {
      pieces.push({ kind: 'open', tag, length, frame, last: left === 0 });
    } else pieces.push({ kind: 'message', tag, frame, body: frame.subarray(headerBytes) });
    this.#state = left > 0 ? { kind: 'flowing', tag, left } : { kind: 'between' };
  }

  #flow(
    { tag, left }: Extract<State, { left: number; tag: number }>,
    bytes: Buffer,
    at: number,
    pieces: Piece[],
  ): number {
    const end = Math.min(at + left, bytes.length);
    const rest = left - (end - at);
    pieces.push({ kind: 'more', tag, bytes: bytes.subarray(at, end), last: rest === 0 });
    this.#state = rest > 0 ? { kind: 'flowing', tag, left: rest } : { kind: 'between' };
    return end;
  }

  /** Takes as many messages of one tag as follow each other, and the part of the last that is there, as one piece. */
  #run(
    tag: number,
    left: number,
    bytes: Buffer,
    start: { from: number; at: number },
    pieces: Piece[],
  ): number {
    let { at } = start;
    let open = left;
    let ended = 0;
    for (;;) {
      if (open > 0) {
        const taken = Math.min(open, bytes.length - at);
        at += taken;
        open -= taken;
        if (open > 0) break;
        ended += 1;
      }
      if (bytes.length - at < headerBytes || bytes[at] !== tag) break;
      open = readLength(bytes, at + 1) - 4;
      at += headerBytes;
      if (open === 0) ended += 1;
    }
    pieces.push({
      kind: 'run',
      tag,
      bytes: bytes.subarray(start.from, at),
      ended,
      inside: open > 0,
    });
    this.#state = open > 0 ? { kind: 'running', tag, left: open } : { kind: 'between' };
    return at;
  }
}

function readLength(bytes: Buffer, at: number): number {
  const length = bytes.readInt32BE(at);
  if (length < 4 || length > maxLength)
    throw violation(`a message that says it has ${length} bytes`);
  return length;
}

function violation(what: string): ChaperoneError {
  return new ChaperoneError('protocol-violation', `found ${what}`);
}
