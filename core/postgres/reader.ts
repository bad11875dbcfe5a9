import { ChaperoneError } from '../errors.ts';
import type { DecodeText } from './encoding.ts';

const utf8: DecodeText = (bytes) => bytes.toString('utf8');

/** Reads a message body field by field; every read is checked against what is left. */
export class BodyReader {
  readonly #bytes: Buffer;
  readonly #decode: DecodeText;
  #at = 0;

  /** `decode` reads strings; without it they are ASCII or names that are compared and not shown. */
  constructor(bytes: Buffer, decode: DecodeText = utf8) {
    this.#bytes = bytes;
    this.#decode = decode;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  byte(): number {
    return this.#bytes.readUInt8(this.#step(1));
  }

  int16(): number {
    return this.#bytes.readInt16BE(this.#step(2));
  }

  /** Counts are sent as Int16 and mean 0 to 65535. */
  count(): number {
    return this.#bytes.readUInt16BE(this.#step(2));
  }

  int32(): number {
    return this.#bytes.readInt32BE(this.#step(4));
  }

  uint32(): number {
    return this.#bytes.readUInt32BE(this.#step(4));
  }

  /** Returns a view. */
  bytes(length: number): Buffer {
    const start = this.#step(length);
    return this.#bytes.subarray(start, this.#at);
  }

  /** Steps over bytes that are there, and returns where they begin. */
  #step(length: number): number {
    if (length < 0 || length > this.left) throw malformed();
    this.#at += length;
    return this.#at - length;
  }

  /** Returns a view of the bytes before the next NUL, and steps over it. */
  cstringBytes(): Buffer {
    const end = this.#bytes.indexOf(0, this.#at);
    if (end < 0) throw malformed();
    const value = this.#bytes.subarray(this.#at, end);
    this.#at = end + 1;
    return value;
  }

  cstring(): string {
    return this.#decode(this.cstringBytes());
  }

  /** A value with its length; undefined for NULL. */
  value(): Buffer | undefined {
    const length = this.int32();
    return length === -1 ? undefined : this.bytes(length);
  }

  rest(): Buffer {
    return this.bytes(this.left);
  }

  restText(): string {
    return this.#decode(this.rest());
  }

  /** @throws ChaperoneError `protocol-violation` when the body is longer than its fields. */
  end(): void {
    if (this.left > 0) throw malformed();
  }
}

/** Builds `tag · length · fields`. @throws ChaperoneError when a string holds a NUL, which would end it early. */
export function buildMessage(tag: string, ...fields: readonly (Buffer | string)[]): Buffer {
  const body = Buffer.concat(
    fields.map((field) => (typeof field === 'string' ? cstring(field) : field)),
  );
  const frame = Buffer.allocUnsafe(tag.length + 4 + body.length);
  frame.write(tag, 'latin1');
  frame.writeInt32BE(4 + body.length, tag.length);
  body.copy(frame, tag.length + 4);
  return frame;
}

/** Encodes a field of 2 bytes, without sign. */
export function int16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

/** Encodes a field of 4 bytes, with sign. */
export function int32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function cstring(text: string): Buffer {
  if (text.includes('\0'))
    throw new ChaperoneError('protocol-violation', 'a string with a NUL in it');
  return Buffer.from(`${text}\0`, 'utf8');
}

function malformed(): ChaperoneError {
  return new ChaperoneError(
    'protocol-violation',
    'found a message that does not hold what its type says',
  );
}
