import { ChaperoneError } from '#core/errors.ts';
import type { RecordRef } from '#core/operation.ts';
import type { Renames } from '#core/postgres/command.ts';
import { isAsciiName } from '#core/postgres/frontend.ts';
import type { Permit } from '../gate.ts';
import type { Effects } from './reading/effects.ts';
import type { Remembered } from './reading/known-texts.ts';

/** What a connection remembers of a statement that was parsed under a name. */
export interface Statement {
  /** The record that holds its text. Unknown for one that SQL's PREPARE made. */
  readonly ref: RecordRef | undefined;
  /** Its text, where policies may ask what it does. */
  readonly remembered: Remembered | undefined;
  /** Whether its rows have the same columns at every execution. */
  readonly fixed: boolean;
  /** Whose names may mean something else once it has run. */
  readonly renames: Renames;
  /**
   * The record that holds its RowDescription. `asked`: one is on its way. `none`: it returns no rows. Undefined: not
   * known.
   */
  layout: RecordRef | 'asked' | 'none' | undefined;
}

/** A statement of which nothing is known but that it is there. */
export function unknownStatement(): Statement {
  return { ref: undefined, remembered: undefined, fixed: false, renames: 'all', layout: undefined };
}

/**
 * A change of a name's meaning that the backend has not confirmed yet: it may still fail, or be skipped after an earlier
 * error, and then the name means what it meant before.
 */
export interface Change {
  applied: boolean;
}

/** What a connection remembers of a bound portal: the operation that its Executes belong to. */
export interface Portal {
  readonly permit: Permit;
  readonly statement: Statement;
  /** What running it may do to the reading of texts behind it. */
  readonly effects: Effects;
  /** As the reader had it when this was bound. */
  readonly changes: number | undefined;
  /** Whether it was asked how the rows are to be read, by the agent or by the lane. */
  described: boolean;
}

const maxNames = 10_000;
const maxPending = 1_000; // changes that are kept although the backend may have made them
const maxNameBytes = 4 * 1024 * 1024;

/** Names that an agent gave, bounded in number and in bytes: PostgreSQL itself sets no limit. */
export class Names<T> {
  readonly #entries = new Map<string, T>();
  #bytes = 0;

  /** @throws ChaperoneError `too-large` when there is no room for a name; to be asked before anything is recorded. */
  reserve(name: string): void {
    if (this.#entries.has(name)) return;
    if (this.#entries.size >= maxNames || this.#bytes + name.length > maxNameBytes) {
      throw new ChaperoneError(
        'too-large',
        'this connection holds too many named statements or portals',
      );
    }
  }

  get full(): boolean {
    return this.#entries.size >= maxNames;
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  get(name: string): T | undefined {
    return this.#entries.get(name);
  }

  /** Room was reserved before. */
  set(name: string, value: T): void {
    if (!this.#entries.has(name)) this.#bytes += name.length;
    this.#entries.set(name, value);
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  /** Forgets what `isOver` says is over. */
  prune(isOver: (value: T) => boolean): void {
    for (const [name, value] of this.#entries) if (isOver(value)) this.delete(name);
  }

  delete(name: string): void {
    if (this.#entries.delete(name)) this.#bytes -= name.length;
  }
}

/**
 * Statements by name, as the backend will see them. Changes are made when they are admitted, since what follows in the
 * same pipeline counts on them, and are taken back when the backend turns out not to have made them: a record must not
 * name a text that did not run.
 */
export class Statements {
  readonly #names = new Names<Statement>();
  #pending: {
    readonly name: string;
    readonly before: Statement | undefined;
    readonly change: Change;
  }[] = [];

  /** Whether changes wait for the backend's word. */
  get uncertain(): boolean {
    return this.#pending.length > 0;
  }

  /**
   * A name that no Parse gave may be one that SQL's PREPARE made: the two share their names. What a name that is not
   * ASCII stands for changes with client_encoding, so nothing is claimed of it.
   */
  get(name: string): Statement {
    return this.#names.get(name) ?? unknownStatement();
  }

  has(name: string): boolean {
    return this.#names.get(name) !== undefined;
  }

  reserve(name: string): void {
    this.#names.reserve(name);
  }

  /** A name that is taken keeps its meaning: the backend refuses a second Parse under it. */
  set(name: string, statement: Statement): Change {
    const before = this.#names.get(name);
    const change = this.#note(name, before);
    if (isAsciiName(name) && (name === '' || !before)) this.#names.set(name, statement);
    return change;
  }

  delete(name: string): Change {
    const before = this.#names.get(name);
    if (!before) return { applied: true };
    const change = this.#note(name, before);
    this.#names.delete(name);
    return change;
  }

  /** SQL has changed what names mean (DEALLOCATE, DO and the like): what they mean is not known any more. */
  forget(): void {
    this.#names.clear();
    this.#pending = [];
  }

  /** Every reply has come: takes back, last first, what was not done. */
  settle(): void {
    for (const { name, before, change } of this.#pending.toReversed()) {
      if (change.applied) continue;
      if (before) this.#names.set(name, before);
      else this.#names.delete(name);
    }
    this.#pending = [];
  }

  #note(name: string, before: Statement | undefined): Change {
    const change: Change = { applied: false };
    if (this.#pending.length >= maxPending)
      this.#pending = this.#pending.filter((entry) => !entry.change.applied);
    this.#pending.push({ name, before, change });
    return change;
  }
}
