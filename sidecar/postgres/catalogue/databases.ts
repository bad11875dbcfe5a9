import type { LaneHost, Target } from '../../lane.ts';
import { DatabaseCatalogue } from './database-catalogue.ts';

/** One session's hold on the catalogue of the database that it is connected to. */
export interface CatalogueUse {
  readonly catalogue: DatabaseCatalogue;
  /** Ends the use, once. */
  readonly release: () => void;
}

/** Catalogues that no session uses and that are kept for the next, those that were used last. */
const maxUnused = 4;
/** How long they are kept. */
const keptMs = 60_000;

/** The catalogues of the databases that sessions are connected to: one each, whoever uses it. */
export class Databases {
  readonly #catalogues = new Map<string, DatabaseCatalogue>(); // in the order of their use
  readonly #timers = new Map<string, NodeJS.Timeout>();

  /** Holds the catalogue of a database, by its name at the upstream. The first to do so has it loaded. */
  use(target: Target, host: LaneHost, database: string): CatalogueUse {
    const key = keyOf(target, database);
    const catalogue =
      this.#catalogues.get(key) ?? new DatabaseCatalogue({ target, host, database });
    this.#catalogues.delete(key);
    this.#catalogues.set(key, catalogue);
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
    catalogue.use();
    let released = false;
    return {
      catalogue,
      release: () => {
        if (released) return;
        released = true;
        catalogue.release();
        if (catalogue.users === 0) this.#keepAWhile(key, catalogue);
      },
    };
  }

  /** Closes all connections. */
  stop(): void {
    for (const key of this.#catalogues.keys()) this.#drop(key);
  }

  #keepAWhile(key: string, catalogue: DatabaseCatalogue): void {
    if (this.#catalogues.get(key) !== catalogue) return; // stopped meanwhile
    this.#timers.set(key, setTimeout(() => this.#drop(key), keptMs).unref());
    const unused = [...this.#catalogues].filter(([, { users }]) => users === 0);
    for (const [oldest] of unused.slice(0, -maxUnused)) this.#drop(oldest);
  }

  #drop(key: string): void {
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
    this.#catalogues.get(key)?.close();
    this.#catalogues.delete(key);
  }
}

/** A Backend that means another server, or logs in as somebody else, has another catalogue. */
function keyOf({ backend }: Target, database: string): string {
  const { name, upstream, credential } = backend;
  const { host, port, tls } = upstream;
  return JSON.stringify([name, host, port, tls, credential ?? null, database]);
}
