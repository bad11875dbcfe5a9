/**
 * Whether what is executed next joins a transaction that an Execute of this pipeline has begun: from 18 on PostgreSQL then
 * ends it at the Sync, and not at a Query before it either (postgres.c, XACT_FLAGS_PIPELINING). Commands that PostgreSQL
 * commits at once begin none.
 */
export class Joined {
  #joined = false;

  get joined(): boolean {
    return this.#joined;
  }

  /** An Execute has been answered; `tag` is the body of its CommandComplete, undefined where it had none. */
  executed(tag: Buffer | undefined): void {
    const words = tag?.toString('latin1').replace(/\0$/, '') ?? '';
    this.#joined = !committedAtOnce.has(words);
  }

  /** A ReadyForQuery has come. */
  end(): void {
    this.#joined = false;
  }
}

/** Of transactions, and those that run outside of any. */
// prettier-ignore
const committedAtOnce: ReadonlySet<string> = new Set([
  'BEGIN', 'START TRANSACTION', 'COMMIT', 'ROLLBACK', 'SAVEPOINT', 'RELEASE', 'PREPARE TRANSACTION', 'COMMIT PREPARED',
  'ROLLBACK PREPARED', 'DISCARD ALL', 'VACUUM', 'CREATE DATABASE', 'DROP DATABASE', 'ALTER SYSTEM',
  'CREATE TABLESPACE', 'DROP TABLESPACE',
]);
