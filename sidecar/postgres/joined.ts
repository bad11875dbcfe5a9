import type { TransactionStatus } from '#core/postgres/backend.ts';

/**
 * Whether what is executed next joins a transaction that an Execute has begun without a BEGIN. From 18 on PostgreSQL ends
 * it at the Sync, and not at a Query or a FunctionCall before it, whose ReadyForQuery then says T (postgres.c,
 * XACT_FLAGS_PIPELINING). Commands that PostgreSQL commits at once begin none.
 */
export class Joined {
  /** Who has executed something in it. */
  #by: 'nobody' | 'agent' | 'lane' = 'nobody';

  /** Whether there is one that a Sync would end. */
  get joined(): boolean {
    return this.#by !== 'nobody';
  }

  /** Whether only the lane has executed something: the agent's Query would begin its own, were it not for that. */
  get onlyByLane(): boolean {
    return this.#by === 'lane';
  }

  /** The lane asks without a Sync. */
  asks(): void {
    if (this.#by === 'nobody') this.#by = 'lane';
  }

  /** An Execute goes up. */
  executes(): void {
    if (this.#by === 'lane') this.#by = 'agent';
  }

  /** An Execute has been answered; `tag` is the body of its CommandComplete, undefined where it had none. */
  executed(tag: Buffer | undefined): void {
    const words = tag?.toString('latin1').replace(/\0$/, '') ?? '';
    this.#by = committedAtOnce.has(words) ? 'nobody' : 'agent';
  }

  /** A ReadyForQuery has come: `toSync`, or with an answer of its own. */
  ready(status: TransactionStatus, toSync: boolean): void {
    if (toSync || status !== 'T') this.#by = 'nobody';
  }
}

/** Of transactions, and those that run outside of any. */
// prettier-ignore
const committedAtOnce: ReadonlySet<string> = new Set([
  'BEGIN', 'START TRANSACTION', 'COMMIT', 'ROLLBACK', 'SAVEPOINT', 'RELEASE', 'PREPARE TRANSACTION', 'COMMIT PREPARED',
  'ROLLBACK PREPARED', 'DISCARD ALL', 'VACUUM', 'CREATE DATABASE', 'DROP DATABASE', 'ALTER SYSTEM',
  'CREATE TABLESPACE', 'DROP TABLESPACE',
]);
