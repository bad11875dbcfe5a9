import type { KeyObject } from 'node:crypto';
import type { PoolClient } from 'pg';
import {
  buildLedgerLine,
  hashOfLine,
  ledgerStart,
  tryParseLedgerLine,
  type LedgerFields,
} from '#core/record/ledger.ts';
import { maxItemBytes } from '#core/record/export.ts';
import type { Database } from './database.ts';
import { locks } from './locks.ts';

/**
 * Appends entries within the caller's transaction. The lock is held to its end, so that lines are in one order for all
 * replicas; whoever calls this takes no further lock of another kind afterwards.
 * @throws Error for an entry that no export could hold.
 */
export async function appendLedger(
  client: PoolClient,
  key: KeyObject,
  entries: readonly LedgerFields[],
): Promise<void> {
  if (entries.length === 0) return;
  await client.query('SELECT pg_advisory_xact_lock($1)', [locks.ledger]);
  const { rows } = await client.query<{ n: number; line: string | null; time: string }>(
    `SELECT coalesce(last.n, 0)::float8 AS n, last.line,
            to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS time
     FROM (SELECT) one LEFT JOIN (SELECT n, line FROM ledger ORDER BY n DESC LIMIT 1) last ON true`,
  );
  const [last] = rows;
  if (!last) throw new Error('the ledger did not answer');
  let previous = last.line === null ? ledgerStart : hashOfLine(last.line);
  const lines = entries.map((fields, index) => {
    const n = last.n + 1 + index;
    const line = buildLedgerLine(key, { n, previous, time: last.time }, fields);
    if (Buffer.byteLength(line) > maxItemBytes.L)
      throw new Error('an entry of the ledger is too long');
    previous = hashOfLine(line);
    return { n, line, stream: fields.stream, kind: fields.kind };
  });
  await client.query(
    `INSERT INTO ledger (n, line, stream, kind)
     SELECT n, line, stream, kind FROM json_to_recordset($1::json) AS new (n bigint, line text, stream uuid, kind text)`,
    [JSON.stringify(lines)],
  );
  const heads = entries.filter((fields) => fields.kind === 'head');
  if (heads.length === 0) return;
  await client.query(
    `INSERT INTO ledger_heads (stream, seq)
     SELECT stream, max(seq) FROM json_to_recordset($1::json) AS new (stream uuid, seq bigint) GROUP BY stream
     ON CONFLICT (stream) DO UPDATE SET seq = excluded.seq`,
    [JSON.stringify(heads.map(({ stream, seq }) => ({ stream, seq })))],
  );
}

const headsAtOnce = 500;

export type Head = Extract<LedgerFields, { kind: 'head' }>;

/**
 * Heads of streams that this process has committed and that are not in the ledger yet. They are signed as they were
 * committed, never as the store has them later: whoever owns the store could have any head signed otherwise.
 */
export class Heads {
  readonly #moved = new Map<string, Head>();

  /** Takes the head of what is committed now. */
  note(head: Head): void {
    const known = this.#moved.get(head.stream);
    if (!known || known.seq <= head.seq) this.#moved.set(head.stream, head);
  }

  /** Puts the heads on record that are further than the last ones there. Returns how many entries were made. */
  async write(database: Database, key: KeyObject): Promise<number> {
    let written = 0;
    while (this.#moved.size > 0) {
      const heads = [...this.#moved.values()].slice(0, headsAtOnce);
      written += await database.transaction((client) => writeHeads(client, key, heads));
      for (const head of heads)
        if (this.#moved.get(head.stream) === head) this.#moved.delete(head.stream);
    }
    return written;
  }
}

async function writeHeads(
  client: PoolClient,
  key: KeyObject,
  heads: readonly Head[],
): Promise<number> {
  await client.query('SELECT pg_advisory_xact_lock($1)', [locks.ledger]);
  const { rows } = await client.query<{ stream: string; seq: number }>(
    'SELECT stream, seq::float8 FROM ledger_heads WHERE stream = ANY($1::uuid[])',
    [heads.map(({ stream }) => stream)],
  );
  const last = new Map(rows.map(({ stream, seq }) => [stream, seq]));
  const further = heads.filter(({ stream, seq }) => seq > (last.get(stream) ?? 0));
  await appendLedger(client, key, further);
  return further.length;
}

const pageLines = 1_000;

/** A line of the ledger as it is stored. */
export interface StoredLine {
  readonly n: number;
  readonly line: string;
}

/** Reads lines in order, from number `from` on: one page. */
export async function readLedgerPage(database: Database, from: number): Promise<StoredLine[]> {
  return database.query<StoredLine>(
    `SELECT n::float8, line FROM ledger WHERE n >= $1 ORDER BY n LIMIT ${pageLines}`,
    [from],
  );
}

/** Yields lines, each with its end, from number `from` on. */
export async function* readLedger(database: Database, from: number): AsyncGenerator<string> {
  for (let next = from; ;) {
    const page = await readLedgerPage(database, next);
    if (page.length > 0) yield page.map(({ line }) => `${line}\n`).join('');
    const last = page.at(-1);
    if (!last || page.length < pageLines) return;
    next = last.n + 1;
  }
}

/** Whether a line is the entry of this number. */
export function isLineNumber(line: string, n: number): boolean {
  return tryParseLedgerLine(line)?.n === n;
}
