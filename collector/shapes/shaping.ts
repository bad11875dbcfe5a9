import type { Database } from '../store/database.ts';
import { findUnshaped, storeShapes } from '../store/shapes.ts';
import type { Text } from '../store/texts.ts';
import { maxTextLength, ShapeThread } from './shape-thread.ts';

const atOnce = 200;
/** Of texts that wait, in UTF-16 code units; what is beyond is found in the store, when there is less to do. */
const maxWaiting = 4 * 1024 * 1024;
const lookEveryMs = 600_000;

/** Makes shapes of new texts, behind what is acknowledged. */
export class Shaping {
  readonly #database: Database;
  readonly #thread = new ShapeThread();
  readonly #waiting: Text[] = [];
  #length = 0;
  #lookAt = 0;
  #stopping = false;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Takes texts that were committed just now. */
  note(texts: readonly Text[]): void {
    for (const text of texts) {
      if (this.#length + text.text.length > maxWaiting) {
        this.#lookAt = 0;
        return;
      }
      this.#waiting.push(text);
      this.#length += text.text.length;
    }
  }

  /** Shapes all that waits, and now and then what nobody has shaped. */
  async work(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#stopping) {
      const texts = this.#waiting.splice(0, atOnce);
      for (const { text } of texts) this.#length -= text.length;
      await this.#shape(texts);
    }
    if (performance.now() < this.#lookAt) return;
    while (!this.#stopping) {
      const texts = await findUnshaped(this.#database, atOnce);
      await this.#shape(texts);
      if (texts.length < atOnce || this.#waiting.length > 0) break;
    }
    if (this.#waiting.length === 0) this.#lookAt = performance.now() + lookEveryMs;
  }

  /** Ends what is under way after the texts that it is at; what waits is found in the store by whoever comes next. */
  end(): void {
    this.#stopping = true;
  }

  /** Ends the thread, once `work` has returned. */
  async stop(): Promise<void> {
    await this.#thread.stop();
  }

  async #shape(texts: readonly Text[]): Promise<void> {
    if (texts.length === 0) return;
    const readable = texts.filter(({ text }) => text.length <= maxTextLength);
    const shapes = await this.#thread.shapesOf(readable.map(({ text }) => text));
    const byText = new Map(readable.map((text, index) => [text, shapes[index]]));
    const shaped = texts.map((text) => ({ period: text.period, id: text.id, shape: byText.get(text) })); // prettier-ignore
    try {
      await this.#database.transaction((client) => storeShapes(client, shaped));
    } catch (error) {
      this.#lookAt = 0; // they are found in the store, once it answers
      throw error;
    }
  }
}
