import { rfc3339 } from './read.ts';
import type { Database } from './database.ts';

/** Who read what. */
export interface Read {
  readonly who: string;
  /** The path that was asked for, without the text that was searched. */
  readonly what: string;
}

/** Puts a read on record before it is answered; the same by the same within a minute is one row. */
export async function recordRead(database: Database, { who, what }: Read): Promise<void> {
  await database.query(
    `INSERT INTO reads AS r (minute, who, what) VALUES (date_trunc('minute', clock_timestamp(), 'UTC'), $1, $2)
     ON CONFLICT (minute, who, what) DO UPDATE SET last_at = clock_timestamp(), times = r.times + 1`,
    [who, what],
  );
}

/** Reads of one minute. */
export interface ReadRow extends Read {
  readonly id: number;
  /** RFC 3339. */
  readonly first: string;
  readonly last: string;
  readonly times: number;
}

/** Lists reads, newest first. */
export async function listReads(
  database: Database,
  { limit, before }: { readonly limit: number; readonly before?: number | undefined },
): Promise<ReadRow[]> {
  return database.query<ReadRow>(
    `SELECT id::float8, who, what, ${rfc3339('first_at')} AS first, ${rfc3339('last_at')} AS last, times::float8
     FROM reads WHERE id < $2 ORDER BY id DESC LIMIT $1`,
    [limit, before ?? Number.MAX_SAFE_INTEGER],
  );
}
