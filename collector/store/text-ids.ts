import { hash } from 'node:crypto';

/** Ids of texts, each computed once. */
export class TextIds {
  readonly #ids = new Map<string, string>();

  /** What stands for a text: the first 16 bytes of its SHA-256, as a UUID. */
  of(text: string): string {
    let id = this.#ids.get(text);
    if (id === undefined) {
      const hex = hash('sha256', text, 'hex').slice(0, 32);
      id = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
      this.#ids.set(text, id);
    }
    return id;
  }
}
