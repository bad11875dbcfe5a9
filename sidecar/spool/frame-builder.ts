import { hash, randomFillSync } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { prefixBytes, saltBytes } from '#core/record/frame.ts';

const ordinaryBytes = 512 * 1024; // one buffer for most turns; a turn that is longer grows it, and it shrinks again
const hashDigits = 64;
const salts = 256; // asking the system for 16 bytes at a time costs more than the hash

/**
 * Builds frames (`core/record/frame.ts`) one behind the other in a buffer that is used again, so that a record costs
 * neither an allocation nor a copy beside the one into the frame.
 */
export class FrameBuilder {
  readonly #salts = Buffer.allocUnsafeSlow(saltBytes * salts);
  #nextSalt = saltBytes * salts;
  #bytes = Buffer.allocUnsafeSlow(ordinaryBytes);
  #length = 0;

  /** The frames built since `clear`; valid until the next call. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  get length(): number {
    return this.#length;
  }

  clear(): void {
    this.#length = 0;
    if (this.#bytes.length > 2 * ordinaryBytes) this.#bytes = Buffer.allocUnsafeSlow(ordinaryBytes);
  }

  /** Appends a frame. `header`: JSON of an object without its last brace; the payload's length and hash are added. */
  append(header: string, payload: readonly Buffer[]): void {
    let payloadLength = 0;
    for (const { length } of payload) payloadLength += length;
    const start = this.#length;
    this.#reserve(prefixBytes + 3 * header.length + 2 * hashDigits + saltBytes + payloadLength);
    const bytes = this.#bytes;
    let at = start + prefixBytes;
    at += bytes.write(header, at);
    let hashAt = 0;
    if (payloadLength > 0) {
      at += bytes.write(`,"payload":{"length":${payloadLength},"hash":"`, at, 'latin1');
      hashAt = at;
      at += hashDigits;
    }
    at += bytes.write(payloadLength > 0 ? '"}}' : '}', at, 'latin1');
    const headerLength = at - start - prefixBytes;
    if (payloadLength > 0) at = this.#appendPayload(payload, at, hashAt);
    bytes.writeUInt32BE(at - start - 8, start);
    bytes.writeUInt32BE(headerLength, start + 8);
    bytes.writeUInt32BE(crc32(bytes.subarray(start + 8, at)), start + 4);
    this.#length = at;
  }

  /** Writes salt and payload, and their hash where the header names it. Returns where they end. */
  #appendPayload(payload: readonly Buffer[], start: number, hashAt: number): number {
    const bytes = this.#bytes;
    if (this.#nextSalt === this.#salts.length) {
      randomFillSync(this.#salts);
      this.#nextSalt = 0;
    }
    let at = start;
    at += this.#salts.copy(bytes, at, this.#nextSalt, (this.#nextSalt += saltBytes));
    for (const piece of payload) at += piece.copy(bytes, at);
    bytes.write(hash('sha256', bytes.subarray(start, at), 'hex'), hashAt, 'latin1');
    return at;
  }

  #reserve(room: number): void {
    const wanted = this.#length + room;
    if (wanted <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(wanted, 2 * this.#bytes.length));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}
