import { ChaperoneError } from '#core/errors.ts';
import type { RecordRef } from '#core/operation.ts';
import type { Permit } from '../gate.ts';

/** What a connection remembers of a statement that was parsed under a name. */
export interface Statement {
  /** The record that holds its text. Unknown for one that SQL's PREPARE made. */
  readonly ref: RecordRef | undefined;
  /** The record that holds its RowDescription, once the agent asked for one. */
  layout: RecordRef | undefined;
}

/** What a connection remembers of a bound portal: the operation that its Executes belong to. */
export interface Portal {
  readonly permit: Permit;
  readonly statement: Statement;
}

const maxNames = 10_000;
const maxNameBytes = 4 * 1024 * 1024;

/** Names that an agent gave, bounded in number and in bytes: PostgreSQL itself sets no limit. */
export class Names<T> {
  readonly #entries = new Map<string, T>();
  #bytes = 0;

  get full(): boolean {
    return this.#entries.size >= maxNames;
  }

  get(name: string): T | undefined {
    return this.#entries.get(name);
  }

  /** @throws ChaperoneError `too-large` when the connection holds too many names. */
  set(name: string, value: T): void {
    if (!this.#entries.has(name)) {
      this.#bytes += name.length;
      if (this.#entries.size >= maxNames || this.#bytes > maxNameBytes) {
        this.#bytes -= name.length;
        throw new ChaperoneError(
          'too-large',
          'this connection holds too many named statements or portals',
        );
      }
    }
    this.#entries.set(name, value);
  }

  /** Forgets what `isOver` says is over. */
  prune(isOver: (value: T) => boolean): void {
    for (const [name, value] of this.#entries) if (isOver(value)) this.delete(name);
  }

  delete(name: string): void {
    if (this.#entries.delete(name)) this.#bytes -= name.length;
  }
}
