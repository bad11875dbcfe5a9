const maxChunks = 64;

/**
 * What an agent has said and nobody could take yet. Its socket is read on while there is little of it: a socket that is
 * not read does not tell that the peer is gone.
 */
export class LookAhead {
  #chunks: Buffer[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get empty(): boolean {
    return this.#chunks.length === 0;
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#chunks.length > maxChunks) this.#chunks = [Buffer.concat(this.#chunks)]; // many small ones cost more than they hold
  }

  shift(): Buffer | undefined {
    const chunk = this.#chunks.shift();
    this.#bytes -= chunk?.length ?? 0;
    return chunk;
  }

  clear(): void {
    this.#chunks = [];
    this.#bytes = 0;
  }
}
