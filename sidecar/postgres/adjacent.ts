import type { Writable } from 'node:stream';

/**
 * Writes bytes to a socket, joined where they lie one behind the other in the same memory, as messages do that were read
 * together: a system call for each message would cost more than all else that is done with it.
 */
export class AdjacentWriter {
  readonly #socket: Writable;
  readonly #whole: Buffer[] = [];
  #memory: ArrayBufferLike | undefined;
  #start = 0;
  #end = 0;

  constructor(socket: Writable) {
    this.#socket = socket;
  }

  /** Takes bytes, which must not change before they are flushed. */
  add(bytes: Buffer): void {
    const { buffer, byteOffset, length } = bytes;
    if (buffer !== this.#memory || byteOffset !== this.#end) {
      this.#close();
      this.#memory = buffer;
      this.#start = byteOffset;
    }
    this.#end = byteOffset + length;
  }

  flush(): void {
    this.#close();
    const [first] = this.#whole;
    if (!first) return;
    if (this.#whole.length === 1) this.#socket.write(first);
    else {
      this.#socket.cork();
      for (const bytes of this.#whole) this.#socket.write(bytes);
      this.#socket.uncork();
    }
    this.#whole.length = 0;
  }

  #close(): void {
    if (!this.#memory) return;
    this.#whole.push(Buffer.from(this.#memory, this.#start, this.#end - this.#start));
    this.#memory = undefined;
  }
}
