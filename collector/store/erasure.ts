import type { KeyObject } from 'node:crypto';
import type { PoolClient } from 'pg';
import { encodeFrame, tryParseFrame } from '#core/record/frame.ts';
import { hashHeader } from '#core/record/chain.ts';
import { HttpProblem } from '../problem.ts';
import { appendLedger } from './ledger.ts';
import { isHeld } from './legal-hold.ts';
import { summarize } from './summary.ts';

/** An entry of the ledger is one item of an export, which has a bound. */
const maxRangesOfEntry = 1_000;

/** Seqs as ranges of first and last. */
export type Ranges = readonly (readonly [number, number])[];

/** What is to be erased, by whose order and why. */
export type ErasureOrder = {
  readonly who: string;
  readonly why: string;
} & (
  | { readonly session: string; readonly stream?: undefined }
  | { readonly session?: undefined; readonly stream: string; readonly ranges: Ranges }
);

export interface Erased {
  readonly stream: string;
  readonly ranges: Ranges;
  readonly records: number;
}

/**
 * Removes payloads with their salts, and what was derived from them, and puts on record who ordered it, all in the
 * caller's transaction. Headers stay as they are, so that the chain holds. What was set aside of the streams goes as well,
 * since nobody can tell whose content is in it.
 * @throws HttpProblem `legal-hold`, `not-found`.
 */
export async function erase(
  client: PoolClient,
  key: KeyObject,
  order: ErasureOrder,
): Promise<Erased[]> {
  await client.query('SET LOCAL statement_timeout = 0');
  if (await isHeld(client))
    throw new HttpProblem('legal-hold', 'a legal hold is on: nothing is erased');
  const streams = await lockStreams(client, order);
  if (streams.length === 0) throw new HttpProblem('not-found', 'no such session or stream');
  // Texts that others begin to use meanwhile must not be taken for unused.
  await client.query('LOCK TABLE records IN ROW EXCLUSIVE MODE');
  await client.query('LOCK TABLE texts, statements IN SHARE ROW EXCLUSIVE MODE');
  const erased: Erased[] = [];
  for (const stream of streams) {
    const rows = await erasePayloads(client, stream, order);
    const sessions = new Set(rows.flatMap(({ session }) => session ?? []));
    for (const session of sessions) await eraseDerived(client, stream, session);
    await client.query('UPDATE quarantine SET bytes = NULL WHERE stream = $1', [stream]);
    const ranges = rangesOf(rows.map(({ seq }) => seq));
    if (rows.length > 0) erased.push({ stream, ranges, records: rows.length });
  }
  const { who, why } = order;
  const entries = erased.flatMap(({ stream, ranges }) =>
    inPieces(ranges).map(
      (piece) => ({ kind: 'erasure', stream, ranges: piece, who, why }) as const,
    ),
  );
  await appendLedger(client, key, entries);
  return erased;
}

async function lockStreams(client: PoolClient, order: ErasureOrder): Promise<string[]> {
  const condition =
    order.session === undefined
      ? 'stream = $1'
      : 'stream IN (SELECT stream FROM records WHERE session = $1)';
  const { rows } = await client.query<{ stream: string }>(
    `SELECT stream FROM streams WHERE ${condition} ORDER BY stream FOR UPDATE`,
    [order.session ?? order.stream],
  );
  return rows.map(({ stream }) => stream);
}

interface ErasedRow {
  readonly seq: number;
  readonly session: string | null;
}

async function erasePayloads(
  client: PoolClient,
  stream: string,
  order: ErasureOrder,
): Promise<ErasedRow[]> {
  const [condition, value] =
    order.session === undefined
      ? [
          `EXISTS (SELECT FROM json_array_elements($2::json) AS range
                   WHERE seq BETWEEN (range->>0)::bigint AND (range->>1)::bigint)`,
          JSON.stringify(order.ranges),
        ]
      : ['session = $2', order.session];
  const { rows } = await client.query<ErasedRow>(
    `UPDATE records SET salt = NULL, payload = NULL
     WHERE stream = $1 AND ${condition} AND payload IS NOT NULL RETURNING seq::float8, session`,
    [stream, value],
  );
  return rows;
}

const recordsAtOnce = 200; // each of at most 4 MiB, and as a rule below 70 KB

/** Keeps of what was derived from a session what its records that are left still say. */
async function eraseDerived(client: PoolClient, stream: string, session: string): Promise<void> {
  const texts = new Set<string>();
  let database: string | undefined;
  for (let after = 0; ;) {
    const { rows } = await client.query<
      { seq: number } & Record<'header' | 'salt' | 'payload', Buffer>
    >(
      `SELECT seq::float8, header, salt, payload FROM records
       WHERE stream = $1 AND session = $2 AND seq > $3 AND payload IS NOT NULL ORDER BY seq LIMIT ${recordsAtOnce}`,
      [stream, session, after],
    );
    const records = rows.flatMap(({ header, salt, payload }) => {
      const frame = tryParseFrame(encodeFrame(header, salt, payload));
      return frame ? [{ frame, headerHash: hashHeader(header) }] : [];
    });
    const { sessions, statements } = summarize(records);
    for (const { id } of statements) texts.add(id);
    database ??= sessions[0]?.database;
    const last = rows.at(-1);
    if (!last || rows.length < recordsAtOnce) break;
    after = last.seq;
  }
  if (database === undefined)
    await client.query('UPDATE sessions SET database = NULL WHERE stream = $1 AND id = $2', [
      stream,
      session,
    ]);
  const kept = [...texts];
  const deleted = await client.query<{ id: string }>(
    `WITH unused AS (DELETE FROM statements WHERE session = $2 AND stream = $1 AND text <> ALL($3::uuid[])
                     RETURNING period, text, session, stream)
     DELETE FROM texts t USING unused u WHERE t.period = u.period AND t.id = u.text
       AND NOT EXISTS (SELECT FROM statements x WHERE x.period = u.period AND x.text = u.text
                         AND (x.session, x.stream) <> (u.session, u.stream))
     RETURNING t.id`,
    [stream, session, kept],
  );
  await client.query(
    'UPDATE operations SET text = NULL WHERE stream = $1 AND session = $2 AND text <> ALL($3::uuid[])',
    [stream, session, kept],
  );
  // By a statement of its own, which sees what was being made of these texts as they were deleted.
  await client.query(
    `DELETE FROM shapes h WHERE id = ANY($1::uuid[])
       AND NOT EXISTS (SELECT FROM texts t WHERE t.period = h.period AND t.id = h.id)`,
    [deleted.rows.map(({ id }) => id)],
  );
}

function inPieces(ranges: Ranges): Ranges[] {
  const pieces: Ranges[] = [];
  for (let at = 0; at < ranges.length; at += maxRangesOfEntry)
    pieces.push(ranges.slice(at, at + maxRangesOfEntry));
  return pieces;
}

/** Joins seqs to ranges. */
export function rangesOf(seqs: readonly number[]): Ranges {
  const ranges: [number, number][] = [];
  for (const seq of seqs.toSorted((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last && last[1] === seq - 1) last[1] = seq;
    else ranges.push([seq, seq]);
  }
  return ranges;
}
