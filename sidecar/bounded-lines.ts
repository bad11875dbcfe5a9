/** Parts bytes into lines, of which it holds only so much as one may have. */
export class BoundedLines {
  readonly #maxBytes: number;
  #pieces: Buffer[] = [];
  #held = 0;

  /** `maxBytes` of a line, without its end. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Returns the lines that a piece completes, without their ends. @throws Error when one is too long, complete or not. */
  *take(piece: Buffer): Generator<string> {
    let from = 0;
    for (let end = piece.indexOf(0x0a); end >= 0; end = piece.indexOf(0x0a, from)) {
      this.#hold(piece.subarray(from, end));
      const line = Buffer.concat(this.#pieces, this.#held).toString('utf8');
      this.#pieces = [];
      this.#held = 0;
      from = end + 1;
      yield line;
    }
    this.#hold(piece.subarray(from));
  }

  #hold(part: Buffer): void {
    this.#held += part.length;
    if (this.#held > this.#maxBytes) throw new Error('the controller sent too long a line');
    if (part.length > 0) this.#pieces.push(part);
  }
}
