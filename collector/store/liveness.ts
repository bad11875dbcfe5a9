import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { factsOf } from './error-facts.ts';
import { openPool, type StoreLogin } from './login.ts';

const everyMs = 1_000;
const answerWithinMs = 5_000;

/**
 * Whether the database answers. Work that is done says so; where there is none, or some failed, it is asked: over a
 * connection of its own, so that a pool that is busy is not taken for a database that is away.
 */
export class Liveness {
  readonly #pool: Pool;
  readonly #log: Logger;
  #up = false;
  #answeredAt = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;
  readonly #timer: NodeJS.Timeout;

  constructor(login: StoreLogin, log: Logger) {
    this.#log = log;
    this.#pool = openPool(login, {
      max: 1,
      connectionTimeoutMillis: answerWithinMs,
      query_timeout: answerWithinMs,
      application_name: 'chaperone-collector liveness',
    });
    this.#pool.on('error', () => this.suspect());
    this.#timer = setInterval(() => {
      if (performance.now() - this.#answeredAt >= everyMs) this.suspect();
    }, everyMs);
  }

  get up(): boolean {
    return this.#up;
  }

  /** Says that it answered just now. */
  answered(): void {
    if (!this.#up) this.#log.info('the database answers');
    this.#up = true;
    this.#answeredAt = performance.now();
  }

  /** Asks it, since it may be away. */
  suspect(): void {
    this.#asking ??= this.#ask().finally(() => (this.#asking = undefined));
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#asking;
    await this.#pool.end();
  }

  async #ask(): Promise<void> {
    try {
      await this.#pool.query('SELECT 1');
      this.answered();
    } catch (error) {
      if (this.#up) this.#log.warn(factsOf(error), 'the database does not answer');
      this.#up = false;
    }
  }
}
