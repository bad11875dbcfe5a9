import { ChaperoneError } from '#core/errors.ts';
import {
  buildCatalogue,
  Catalogue,
  madeRowsOf,
  withOwnRows,
  type MadeRows,
} from '#core/postgres/sql/catalogue.ts';
import {
  beginCatalogue,
  catalogueQueries,
  maxCatalogueRows,
  ownCatalogueQueries,
  type CatalogueQuery,
  type CatalogueRows,
} from '#core/postgres/sql/catalogue-queries.ts';
import type { LaneHost, Target } from '../../lane.ts';
import { limitSignal } from '../../limited-signal.ts';
import { CatalogueConnection, type Row } from './catalogue-connection.ts';

export interface DatabaseCatalogueOptions {
  /** Of it the backend counts alone; a session's will do. */
  readonly target: Target;
  readonly host: LaneHost;
  /** By its name at the upstream. */
  readonly database: string;
  /** Between loads while sessions use it. Default 60 000. */
  readonly refreshMs?: number;
}

/** Of everything from dialling to the last row. */
const loadMs = 5_000;
/** Of all rows of a load: what 50 000 relations with views and functions have, and more. */
const maxLoadBytes = 24 * 1024 * 1024;
/** A connection that nobody has asked anything for so long is closed. */
const idleMs = 60_000;
/** What was last read says less and less: past this age names count as unknown. */
const maxAgeMs = 300_000;
/** How long what was made with the database is believed: nobody but a superuser changes that. */
const madeAgeMs = 60_000;
/** After a load that has failed, doubled with each. */
const backoffMs = { first: 1_000, most: 60_000 };

/**
 * What the names of one database stand for, as it was read over a connection of the sidecar's own. Without a credential
 * for it there is none.
 */
export class DatabaseCatalogue {
  readonly #options: DatabaseCatalogueOptions;
  readonly #stop = new AbortController();
  #current: Catalogue | undefined;
  #readAt = 0;
  /** What was made with the database, as it was read over the connection that is open. */
  #made: { readonly rows: MadeRows; readonly at: number } | undefined;
  #connection: CatalogueConnection | undefined;
  /** The load that is under way, and the one that begins when it is done. */
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #failures = 0;
  #notBefore = 0;
  #users = 0;
  #refresh: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;

  constructor(options: DatabaseCatalogueOptions) {
    this.#options = options;
  }

  /** Undefined before the first load is done, where none succeeds any more, and without a credential. */
  get current(): Catalogue | undefined {
    return performance.now() - this.#readAt < maxAgeMs ? this.#current : undefined;
  }

  get users(): number {
    return this.#users;
  }

  /**
   * Reads the catalogue anew. Settles when a load that began after the call has ended, well or not: `current` says what is
   * known then. After a failure nothing is tried for a while.
   */
  load(): Promise<void> {
    if (this.#next) return this.#next;
    if (!this.#running) return this.#begin();
    this.#next = this.#running.then(() => {
      this.#next = undefined;
      return this.#begin();
    });
    return this.#next;
  }

  /** Keeps the catalogue fresh from now on, until it is released as often. */
  use(): void {
    this.#users += 1;
    const { refreshMs = 60_000 } = this.#options;
    if (this.#users > 1) return;
    this.#refresh = setInterval(() => void this.load(), refreshMs).unref();
    if (!this.#current || performance.now() - this.#readAt > refreshMs) void this.load();
  }

  release(): void {
    this.#users -= 1;
    if (this.#users === 0) clearInterval(this.#refresh);
  }

  /** Closes the connection; a load that is under way comes to nothing. */
  close(): void {
    this.#stop.abort(new ChaperoneError('connection-closed', 'the catalogue is no longer used'));
    clearInterval(this.#refresh);
    clearTimeout(this.#idle);
    this.#connection?.close();
  }

  #begin(): Promise<void> {
    const { target, host } = this.#options;
    const now = performance.now();
    if (!target.backend.credential || this.#stop.signal.aborted || now < this.#notBefore) {
      return Promise.resolve();
    }
    const loading = this.#read().then(
      (catalogue) => {
        this.#current = catalogue;
        this.#readAt = now;
        this.#failures = 0;
      },
      (error: unknown) => {
        if (this.#stop.signal.aborted) return;
        this.#backOff();
        host.warn(target, failure(error));
      },
    );
    this.#running = loading.finally(() => (this.#running = undefined));
    return this.#running;
  }

  #backOff(): void {
    const waitMs = Math.min(backoffMs.first * 2 ** this.#failures, backoffMs.most);
    this.#failures = Math.min(this.#failures + 1, 16);
    this.#notBefore = performance.now() + waitMs;
  }

  async #read(): Promise<Catalogue> {
    using limit = limitSignal([this.#stop.signal], {
      timeoutMs: loadMs,
      reason: new ChaperoneError('backend-unreachable', 'the catalogue was not read in time'),
    });
    clearTimeout(this.#idle);
    try {
      const connection = await this.#connect(limit.signal);
      const built = buildCatalogue(await this.#rows(connection, limit.signal));
      if (built instanceof Catalogue) return built;
      this.#current = undefined; // it has grown past the bound, and what was read before is not all of it
      const what = `the database has more than ${maxCatalogueRows} rows of ${built.query}`;
      throw new ChaperoneError('too-large', what);
    } finally {
      this.#idle = setTimeout(() => this.#connection?.close(), idleMs).unref();
    }
  }

  /** What was made with the database is most of it, and is not read each time. */
  async #rows(connection: CatalogueConnection, signal: AbortSignal): Promise<CatalogueRows> {
    const at = performance.now();
    if (this.#made && at - this.#made.at < madeAgeMs)
      return withOwnRows(this.#made.rows, await readRows(connection, ownCatalogueQueries, signal));
    const rows = await readRows(connection, catalogueQueries, signal);
    this.#made = { rows: madeRowsOf(rows), at };
    return rows;
  }

  async #connect(signal: AbortSignal): Promise<CatalogueConnection> {
    if (this.#connection?.isOpen) return this.#connection;
    const { target, host, database } = this.#options;
    this.#made = undefined; // it may be another server
    this.#connection = await CatalogueConnection.open(target, host, database, signal);
    return this.#connection;
  }
}

async function readRows(
  connection: CatalogueConnection,
  queries: Readonly<Record<CatalogueQuery, string>>,
  signal: AbortSignal,
): Promise<CatalogueRows> {
  let left = maxLoadBytes;
  const ask = async (sql: string): Promise<readonly Row[]> => {
    const rows = await connection.query(sql, left, signal);
    for (const row of rows) for (const cell of row) left -= cell?.length ?? 0;
    return rows;
  };
  await ask(beginCatalogue);
  const rows = {
    schemas: await ask(queries.schemas),
    roles: await ask(queries.roles),
    relations: await ask(queries.relations),
    inheritance: await ask(queries.inheritance),
    uses: await ask(queries.uses),
    calls: await ask(queries.calls),
    functions: await ask(queries.functions),
    operators: await ask(queries.operators),
  };
  await ask('commit');
  return rows;
}

function failure(cause: unknown): ChaperoneError {
  const code = cause instanceof ChaperoneError ? cause.code : 'internal-error';
  const why = cause instanceof Error ? cause.message : 'unknown';
  return new ChaperoneError(code, `the catalogue of a database could not be read: ${why}`, {
    cause,
  });
}
