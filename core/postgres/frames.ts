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
  | { readonly kind: 'run'; readonly tag: number; readonly bytes: Buffer; readonly ended: number }
  /** A message above the limit: said once, then its body is swallowed. */
  | { readonly kind: 'oversized'; readonly tag: number; readonly length: number };

export interface SplitterOptions {
  /** Tags whose messages pass in runs and are never held. */
  readonly streamed: ReadonlySet<number>;
  /** Limit of every other message's length field, in bytes. */
  readonly maxMessageBytes: number;
  /** What happens to one above the limit: swallowed, or the end of the stream. */
  readonly oversized: 'skip' | 'throw';
}

/** Tag and length. */
const headerBytes = 5;
/** PQ_LARGE_MESSAGE_LIMIT of PostgreSQL, with the length field itself. */
const maxLength = 0x3fff_ffff + 4;

type State =
  /** Between messages; `held` are the first bytes of a header. */
  | { readonly kind: 'between' }
  | { readonly kind: 'gathering'; readonly tag: number; readonly frame: Buffer; filled: number }
  | { readonly kind: 'running'; readonly tag: number; left: number }
  | { readonly kind: 'swallowing'; left: number }
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

  constructor(options: SplitterOptions) {
    this.#options = options;
  }

  /** Whether the bytes pushed so far end within a message that was passed on in part. */
  get inside(): boolean {
    return this.#state.kind === 'running';
  }

  /** Whether the bytes pushed so far end where a message ends. */
  get between(): boolean {
    return this.#state.kind === 'between' && this.#held.length === 0;
  }

  /**
   * @throws ChaperoneError `protocol-violation` for an impossible length, or one above the limit under `throw`; and from
   * then on at every call.
   */
  push(chunk: Buffer): Piece[] {
    try {
      return this.#split(chunk);
    } catch (error) {
      this.#state = { kind: 'broken' };
      throw error;
    }
  }

  #split(chunk: Buffer): Piece[] {
    const pieces: Piece[] = [];
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
    return pieces;
  }

  #begin(bytes: Buffer, at: number, pieces: Piece[]): number {
    if (bytes.length - at < headerBytes) {
      this.#held = Buffer.from(bytes.subarray(at));
      return bytes.length;
    }
    const tag = bytes.readUInt8(at);
    const length = readLength(bytes, at + 1);
    if (this.#options.streamed.has(tag)) return this.#run(tag, 0, bytes, { from: at, at }, pieces);
    if (length > this.#options.maxMessageBytes) {
      if (this.#options.oversized === 'throw') throw violation(`a message of ${length} bytes`);
      pieces.push({ kind: 'oversized', tag, length });
      this.#state = length === 4 ? { kind: 'between' } : { kind: 'swallowing', left: length - 4 };
      return at + headerBytes;
    }
    const end = at + 1 + length;
    if (end <= bytes.length) {
      const frame = bytes.subarray(at, end);
      pieces.push({ kind: 'message', tag, frame, body: frame.subarray(headerBytes) });
      return end;
    }
    const frame = Buffer.allocUnsafe(Math.min(1 + length, 2 * (bytes.length - at) + 4096));
    const filled = bytes.copy(frame, 0, at);
    this.#state = { kind: 'gathering', tag, frame, filled };
    return bytes.length;
  }

  // The buffer grows as bytes arrive, at most to twice what came: a length that lies costs its sender the bytes.
  #gather(
    state: Extract<State, { kind: 'gathering' }>,
    bytes: Buffer,
    at: number,
    pieces: Piece[],
  ): number {
    const total = 1 + readLength(state.frame, 1);
    const taken = Math.min(total - state.filled, bytes.length - at);
    const needed = state.filled + taken;
    let { frame } = state;
    if (needed > frame.length) {
      frame = Buffer.allocUnsafe(Math.min(total, 2 * needed));
      state.frame.copy(frame, 0, 0, state.filled);
    }
    bytes.copy(frame, state.filled, at, at + taken);
    if (needed < total) {
      this.#state = { kind: 'gathering', tag: state.tag, frame, filled: needed };
      return at + taken;
    }
    const whole = frame.subarray(0, total);
    pieces.push({
      kind: 'message',
      tag: state.tag,
      frame: whole,
      body: whole.subarray(headerBytes),
    });
    this.#state = { kind: 'between' };
    return at + taken;
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
    pieces.push({ kind: 'run', tag, bytes: bytes.subarray(start.from, at), ended });
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
