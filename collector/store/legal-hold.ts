import type { PoolClient } from 'pg';
import { locks } from './locks.ts';

/** An order that nothing may be dropped or erased, or that it may again. */
export interface LegalHold {
  readonly held: boolean;
  readonly who: string;
  readonly why: string;
  /** RFC 3339. */
  readonly time: string;
}

/** Says whether a hold is on, which does not change before the caller's transaction ends. */
export async function isHeld(client: PoolClient): Promise<boolean> {
  await client.query('SELECT pg_advisory_xact_lock_shared($1)', [locks.legalHold]);
  return (await lastHold(client))?.held === true;
}

export async function lastHold(client: Pick<PoolClient, 'query'>): Promise<LegalHold | undefined> {
  const { rows } = await client.query<LegalHold>(
    `SELECT held, who, why, to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS time
     FROM legal_holds ORDER BY id DESC LIMIT 1`,
  );
  return rows[0];
}

/** Puts an order on record; once that is committed it counts, for what runs at the time as well. */
export async function orderHold(
  client: PoolClient,
  { held, who, why }: Omit<LegalHold, 'time'>,
): Promise<void> {
  await client.query('SELECT pg_advisory_xact_lock($1)', [locks.legalHold]);
  await client.query('INSERT INTO legal_holds (held, who, why) VALUES ($1, $2, $3)', [
    held,
    who,
    why,
  ]);
}
