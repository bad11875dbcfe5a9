import type { PoolClient } from 'pg';
import { locks } from './locks.ts';

/** A stretch of received time whose records, texts and statements are dropped together. Times in microseconds. */
export interface Partition {
  readonly suffix: string;
  /** As statements and texts name it. */
  readonly period: string;
  readonly lowUs: number;
  readonly highUs: number;
}

export interface PartitionWidth {
  readonly widthSeconds: number;
  /** How far ahead of the database's clock partitions exist. */
  readonly aheadSeconds: number;
  /** Where the first one ends at the latest, for a store that has none yet. Default: a width from now. */
  readonly firstUntil?: Date;
}

const day = 86_400;
export const daily: PartitionWidth = { widthSeconds: day, aheadSeconds: 2 * day };

interface Row {
  readonly suffix: string;
  readonly period: string;
  readonly low: number;
  readonly high: number;
}

/** Lists partitions from the oldest on. */
export async function listPartitions(client: Pick<PoolClient, 'query'>): Promise<Partition[]> {
  const { rows } = await client.query<Row>(
    `SELECT suffix, low::text AS period, extract(epoch FROM low)::float8 AS low, extract(epoch FROM high)::float8 AS high
     FROM partitions ORDER BY high`,
  );
  return rows.map(({ suffix, period, low, high }) => ({
    suffix,
    period,
    lowUs: low * 1e6,
    highUs: high * 1e6,
  }));
}

/** Makes the partitions that are missing up to `aheadSeconds` from now, each joined to the one before. */
export async function ensurePartitions(
  client: PoolClient,
  { widthSeconds, aheadSeconds, firstUntil }: PartitionWidth,
): Promise<Partition[]> {
  await client.query('SELECT pg_advisory_xact_lock($1)', [locks.partitions]);
  const { rows } = await client.query<{ now: number; high: number | null; dropped: boolean }>(
    `SELECT extract(epoch FROM clock_timestamp())::float8 AS now,
            extract(epoch FROM (SELECT max(high) FROM partitions))::float8 AS high`,
  );
  const [{ now, high } = { now: Date.now() / 1000, high: null }] = rows;
  const next = (from: number): number => (Math.floor(from / widthSeconds) + 1) * widthSeconds;
  const add = (low: number, until: number): Promise<unknown> =>
    client.query('SELECT add_partition($1, to_timestamp($2), to_timestamp($3))', [
      String(until),
      low,
      until,
    ]);
  let last = high;
  if (last === null) {
    last = firstUntil ? Math.floor(firstUntil.getTime() / 1000) : next(now);
    await add(Number.NEGATIVE_INFINITY, last);
  }
  while (last < now + aheadSeconds) {
    const until = next(last);
    await add(last, until);
    last = until;
  }
  return listPartitions(client);
}
