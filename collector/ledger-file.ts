import { createReadStream, existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { hashOfLine, ledgerStart, tryParseLedgerLine } from '#core/record/ledger.ts';
import type { Database } from './store/database.ts';
import type { Finding } from './store/findings.ts';
import { readLedgerPage, type StoredLine } from './store/ledger.ts';

type State =
  /** Nothing is appended before every line was compared with the store's. */
  | { readonly kind: 'unverified' }
  | { readonly kind: 'good'; readonly n: number; readonly line: string }
  /** It differs: it stays as it is, for whoever finds out why. */
  | { readonly kind: 'changed' };

/** Copies the ledger to a file that the store's owner cannot rewrite. What is in the file is never written again. */
export class LedgerFile {
  readonly #path: string;
  readonly #database: Database;
  #state: State = { kind: 'unverified' };
  #unreported: Finding | undefined;

  constructor(path: string, database: Database) {
    this.#path = path;
    this.#database = database;
  }

  get changed(): boolean {
    return this.#state.kind === 'changed';
  }

  /** What `copy` returned is on record. */
  reported(): void {
    this.#unreported = undefined;
  }

  /**
   * Appends what the file does not have yet. Returns a finding when file and store differ, from which on nothing is; again
   * each time until it is reported.
   */
  async copy(): Promise<Finding | undefined> {
    if (this.#state.kind === 'changed') return this.#unreported;
    try {
      const differing = (await this.#verify()) ?? (await this.#append());
      if (differing === undefined) return undefined;
      this.#state = { kind: 'changed' };
      const detail = `line ${differing} of the ledger is not the same in the store and in its outside copy`;
      this.#unreported = { kind: 'ledger-changed', stream: undefined, from: differing, detail };
      return this.#unreported;
    } catch (error) {
      if (!this.changed) this.#state = { kind: 'unverified' }; // a line may have been written in part
      throw error;
    }
  }

  /** Compares the whole file with the store. Returns the number of the first line that differs. */
  async #verify(): Promise<number | undefined> {
    if (this.#state.kind !== 'unverified') return undefined;
    let page: StoredLine[] = [];
    let n = 0;
    let line = '';
    let rest = '';
    for await (const found of linesOf(this.#path)) {
      n += 1;
      if (page.length === 0) page = (await readLedgerPage(this.#database, n)).reverse();
      const stored = page.pop();
      if (stored?.n !== n) return n;
      const whole = Buffer.from(`${stored.line}\n`);
      if (!whole.subarray(0, found.length).equals(found)) return n;
      rest = whole.subarray(found.length).toString('utf8'); // of a line that a crash cut short
      line = stored.line;
    }
    await this.#write(rest);
    this.#state = { kind: 'good', n, line };
    return undefined;
  }

  async #append(): Promise<number | undefined> {
    while (this.#state.kind === 'good') {
      const { n, line } = this.#state;
      const page = await readLedgerPage(this.#database, Math.max(n, 1));
      if (n > 0 && page.shift()?.line !== line) return n;
      const last = page.at(-1);
      if (!last) return undefined;
      let previous = n === 0 ? ledgerStart : hashOfLine(line);
      for (const [index, { n: number, line: text }] of page.entries()) {
        const entry = tryParseLedgerLine(text);
        const follows = number === n + 1 + index && entry?.n === number;
        if (!follows || entry.previous !== previous) return n + 1 + index;
        previous = hashOfLine(text);
      }
      await this.#write(page.map(({ line: text }) => `${text}\n`).join(''));
      this.#state = { kind: 'good', n: last.n, line: last.line };
    }
    return undefined;
  }

  async #write(text: string): Promise<void> {
    if (text === '') return;
    const isNew = !existsSync(this.#path);
    const file = await open(this.#path, 'a', 0o600);
    try {
      await file.appendFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    if (!isNew) return;
    const directory = await open(dirname(this.#path));
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }
}

/** Yields lines with their end; the last may have none. */
async function* linesOf(path: string): AsyncGenerator<Buffer> {
  if (!existsSync(path)) return;
  let held: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path)) {
    held = Buffer.concat([held, chunk as Buffer]); // no encoding is set
    for (let end = held.indexOf(0x0a); end >= 0; end = held.indexOf(0x0a)) {
      yield held.subarray(0, end + 1);
      held = held.subarray(end + 1);
    }
  }
  if (held.length > 0) yield held;
}
