import type { PoolClient } from 'pg';
import type { Database } from './database.ts';
import type { Text } from './texts.ts';

/** The shape of a text: undefined for one that cannot be read. */
export interface ShapedText {
  readonly period: string;
  readonly id: string;
  readonly shape: string | undefined;
}

/** Stores shapes of texts that are there still: an erasure may have reached a text meanwhile. */
export async function storeShapes(
  client: PoolClient,
  shaped: readonly ShapedText[],
): Promise<void> {
  const sorted = shaped.toSorted((a, b) => (a.id < b.id ? -1 : 1)); // or collectors could wait for each other
  await client.query({
    name: 'store-shapes',
    text: `INSERT INTO shapes (period, id, shape)
           SELECT t.period, t.id, n.shape
           FROM unnest($1::timestamptz[], $2::uuid[], $3::text[]) AS n (period, id, shape)
             JOIN texts t ON t.period = n.period AND t.id = n.id
           FOR KEY SHARE OF t
           ON CONFLICT DO NOTHING`,
    values: [
      sorted.map(({ period }) => period),
      sorted.map(({ id }) => id),
      sorted.map(({ shape }) => shape ?? null),
    ],
  });
}

/** Finds texts that have no shape: of a collector that ended before it made them, or that had too many. */
export async function findUnshaped(database: Database, limit: number): Promise<Text[]> {
  return database.query<Text>(
    `SELECT period::text, id, text FROM texts t
     WHERE NOT EXISTS (SELECT FROM shapes h WHERE h.period = t.period AND h.id = t.id) LIMIT $1`,
    [limit],
  );
}
