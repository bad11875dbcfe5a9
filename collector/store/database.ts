import type { Pool, PoolClient } from 'pg';
import type { Logger } from 'pino';
import { readRows, type Cell } from './copy.ts';
import { Liveness } from './liveness.ts';
import { factsOf } from './error-facts.ts';
import { openPool, type StoreLogin } from './login.ts';
import { migrate, SchemaTooNew } from './migrations.ts';
import { daily, ensurePartitions, type Partition } from './partitions.ts';

const poolSize = 12;
const connectTimeoutMs = 5_000;
const statementTimeoutMs = 30_000;
const firstRetryMs = 500;
const lastRetryMs = 30_000;

/** Connections to the store, and whether it can be used. */
export class Database {
  readonly #pool: Pool;
  readonly #liveness: Liveness;
  readonly #log: Logger;
  readonly #unusable = Promise.withResolvers<SchemaTooNew>();
  #state: 'migrating' | 'ready' | 'closed' = 'migrating';
  #timer: NodeJS.Timeout | undefined;
  #retryMs = firstRetryMs;
  #partitions: readonly Partition[] = [];

  constructor(login: StoreLogin, log: Logger) {
    this.#log = log;
    this.#pool = openPool(login, {
      max: poolSize,
      connectionTimeoutMillis: connectTimeoutMs,
      statement_timeout: statementTimeoutMs,
      application_name: 'chaperone-collector',
    });
    // An idle connection that breaks is replaced at the next use; without a listener it would end the process.
    this.#pool.on('error', (error) =>
      this.#log.warn(factsOf(error), 'a database connection broke'),
    );
    this.#liveness = new Liveness(login, log);
    void this.#migrate();
  }

  /** Whether it has the schema of this version, and answers. */
  get ready(): boolean {
    return this.#state === 'ready' && this.#liveness.up;
  }

  /** Resolves once it is known that it will never be ready. */
  get unusable(): Promise<SchemaTooNew> {
    return this.#unusable.promise;
  }

  /** Runs `work` in one transaction. */
  async transaction<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    const done = await this.#lend(async (client) => {
      await client.query('BEGIN');
      try {
        const value = await work(client);
        await client.query('COMMIT');
        return { value };
      } catch (error) {
        await client.query('ROLLBACK').catch(() => Promise.reject(error)); // the connection is gone, and its transaction with it
        return { error };
      }
    });
    if ('error' in done) throw done.error;
    return done.value;
  }

  /** Runs one parameterised query. */
  async query<Row extends object>(text: string, values: readonly unknown[]): Promise<Row[]> {
    return this.#lend(async (client) => (await client.query<Row>(text, [...values])).rows);
  }

  /** Reads rows as PostgreSQL's binary format has them. `select` is SQL of our own, without parameters. */
  async read(select: string): Promise<Cell[][]> {
    return this.#lend((client) => readRows(client, select));
  }

  /** Lends a connection; one that `work` fails with is not used again. */
  async #lend<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    const client = await this.#connect();
    // A connection that breaks while it is lent out fails the query under way; its event must not end the process too.
    let broken = false;
    const onError = (): void => {
      broken = true;
      this.#log.warn('a database connection broke while it was used');
    };
    client.on('error', onError);
    try {
      const result = await work(client);
      this.#liveness.answered();
      return result;
    } catch (error) {
      broken = true;
      this.#liveness.suspect();
      throw error;
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  }

  async #connect(): Promise<PoolClient> {
    try {
      return await this.#pool.connect();
    } catch (error) {
      this.#liveness.suspect();
      throw error;
    }
  }

  /** Makes partitions ahead of time. */
  async preparePartitions(): Promise<void> {
    this.#partitions = await this.transaction((client) => ensurePartitions(client, daily));
  }

  /** Which partition takes what is received at a time, in microseconds; undefined where there is none yet. */
  partitionAt(receivedUs: number): Partition | undefined {
    return this.#partitions.findLast(
      ({ lowUs, highUs }) => lowUs <= receivedUs && receivedUs < highUs,
    );
  }

  async close(): Promise<void> {
    this.#state = 'closed';
    clearTimeout(this.#timer);
    await Promise.all([this.#pool.end(), this.#liveness.close()]);
  }

  // Never rejects: a database that is away is waited for, and `/readyz` says so meanwhile.
  async #migrate(): Promise<void> {
    try {
      await this.transaction(migrate);
      await this.preparePartitions();
      if (this.#state === 'migrating') this.#state = 'ready';
    } catch (error) {
      if (this.#state === 'closed') return;
      if (error instanceof SchemaTooNew) {
        this.#unusable.resolve(error);
        return;
      }
      this.#log.warn(
        { ...factsOf(error), retryMs: this.#retryMs },
        'the database cannot be used yet',
      );
      this.#timer = setTimeout(() => void this.#migrate(), this.#retryMs);
      this.#retryMs = Math.min(lastRetryMs, 2 * this.#retryMs);
    }
  }
}
