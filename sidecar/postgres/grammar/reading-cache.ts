import type { Reading } from './reading.ts';

interface Entry {
  readonly reading: Reading;
  readonly bytes: number;
}

/** What an entry takes besides its text and its survey. */
const entryBytes = 256;

/** Readings by text, those that were asked for last, within a bound of bytes. */
export class ReadingCache {
  readonly #maxBytes: number;
  readonly #entries = new Map<string, Entry>(); // in the order of their use
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(text: string): Reading | undefined {
    const entry = this.#entries.get(text);
    if (!entry) return undefined;
    this.#entries.delete(text);
    this.#entries.set(text, entry);
    return entry.reading;
  }

  /**
   * Keeps a reading whose JSON has `length` characters. As objects it takes some four bytes for each, a text two: one
   * that would drive out more than an eighth of the others is not kept.
   */
  set(text: string, reading: Reading, length: number): void {
    const bytes = 2 * text.length + 4 * length + entryBytes;
    if (bytes > this.#maxBytes / 8) return;
    this.#drop(text);
    this.#entries.set(text, { reading, bytes });
    this.#bytes += bytes;
    for (const [oldest] of this.#entries) {
      if (this.#bytes <= this.#maxBytes) return;
      this.#drop(oldest);
    }
  }

  #drop(text: string): void {
    this.#bytes -= this.#entries.get(text)?.bytes ?? 0;
    this.#entries.delete(text);
  }
}
