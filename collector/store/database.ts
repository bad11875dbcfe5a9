import { Pool, type PoolClient } from 'pg';
import type { Logger } from 'pino';
import type { CollectorSecrets } from '#core/control.ts';
import { readRows, type Cell } from './copy.ts';
import { migrate } from './migrations.ts';
import { daily, ensurePartitions, type Partition } from './partitions.ts';

const poolSize = 12;
const connectTimeoutMs = 5_000;
const statementTimeoutMs = 30_000;
const retryMs = 500;

/** Connections to the store, and whether it can be used. */
export class Database {
  readonly #pool: Pool;
  readonly #log: Logger;
  #state: 'migrating' | 'ready' | 'closed' = 'migrating';
  #timer: NodeJS.Timeout | undefined;
  #partitions: readonly Partition[] = [];

  constructor(store: CollectorSecrets['store'], log: Logger) {
    this.#log = log;
    this.#pool = new Pool({
      ...store,
      max: poolSize,
      connectionTimeoutMillis: connectTimeoutMs,
      statement_timeout: statementTimeoutMs,
      application_name: 'chaperone-collector',
    });
    // An idle connection that breaks is replaced at the next use; without a listener it would end the process.
    this.#pool.on('error', (error) =>
      this.#log.warn(factsOf(error), 'a database connection broke'),
    );
    void this.#migrate();
  }

  get ready(): boolean {
    return this.#state === 'ready';
  }

  /** Runs `work` in one transaction. */
  async transaction<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    // A connection that breaks while it is lent out fails the query under way; its event must not end the process too.
    const onError = (): void => this.#log.warn('a database connection broke in a transaction');
    client.on('error', onError);
    let broken = true;
    try {
      await client.query('BEGIN');
      const result = await work(client);
      await client.query('COMMIT');
      broken = false;
      return result;
    } catch (error) {
      broken = await client.query('ROLLBACK').then(
        () => false,
        () => true, // the connection is gone, and its transaction with it
      );
      throw error;
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  }

  /** Runs one parameterised query. */
  async query<Row extends object>(text: string, values: readonly unknown[]): Promise<Row[]> {
    const { rows } = await this.#pool.query<Row>(text, [...values]);
    return rows;
  }

  /** Reads rows as PostgreSQL's binary format has them. `select` is SQL of our own, without parameters. */
  async read(select: string): Promise<Cell[][]> {
    const client = await this.#pool.connect();
    try {
      return await readRows(client, select);
    } finally {
      client.release();
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
    await this.#pool.end();
  }

  // Never rejects: a database that is away is waited for, and `/readyz` says so meanwhile.
  async #migrate(): Promise<void> {
    try {
      await this.transaction(migrate);
      await this.preparePartitions();
      if (this.#state === 'migrating') this.#state = 'ready';
    } catch (error) {
      if (this.#state === 'closed') return;
      this.#log.warn(factsOf(error), 'the database cannot be used yet');
      this.#timer = setTimeout(() => void this.#migrate(), retryMs);
    }
  }
}

/** The error as it is carries the connection with what is in its buffers, and a message about data quotes that. */
function factsOf(error: unknown): object {
  const { name, message, code } = error as { name?: unknown; message?: unknown; code?: unknown };
  const isAboutData = typeof code === 'string' && /^2[23]/.test(code); // SQLSTATE classes
  return { name, code, message: isAboutData ? undefined : message };
}
