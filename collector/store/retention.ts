import type { KeyObject } from 'node:crypto';
import { DatabaseError, type PoolClient } from 'pg';
import { firstLink, nextLink } from '#core/record/chain.ts';
import { unlinked } from '#core/record/checkpoint.ts';
import type { LedgerFields } from '#core/record/ledger.ts';
import type { Database } from './database.ts';
import { appendLedger } from './ledger.ts';
import { isHeld } from './legal-hold.ts';
import { locks } from './locks.ts';
import { listPartitions, type Partition } from './partitions.ts';

/** Why a partition is left for another time. */
export type Left =
  /** A legal hold is on. */
  | 'held'
  /** Another collector is at it, or was. */
  | 'taken'
  /** Something came into it since it was cut. */
  | 'grown'
  /** It is read or written for long. */
  | 'locked';

export interface Retained {
  /** Partitions that were dropped. */
  readonly dropped: readonly string[];
  /** Why the next was not, where there is one that is too old. */
  readonly left: Left | undefined;
}

/**
 * Drops partitions that ended more than `keepSeconds` ago, from the oldest on; each once the last record of every stream
 * in it stands in the ledger. Under legal hold nothing is dropped. What else is too old goes as well, even where
 * partitions cannot be dropped for now.
 */
export async function dropExpired(
  database: Database,
  key: KeyObject,
  keepSeconds: number,
): Promise<Retained> {
  const dropped: string[] = [];
  let left: Left | undefined;
  const dropAll = async (): Promise<void> => {
    while (left === undefined) {
      const partition = await database.transaction((client) => findExpired(client, keepSeconds));
      if (!partition) return;
      left = await dropOne(database, key, partition);
      if (left === undefined) dropped.push(partition.suffix);
    }
  };
  try {
    await dropAll();
  } finally {
    try {
      if (dropped.length > 0) await dropSessions(database);
    } finally {
      await forgetAside(database, keepSeconds);
    }
  }
  return { dropped, left };
}

async function dropOne(
  database: Database,
  key: KeyObject,
  partition: Partition,
): Promise<Left | undefined> {
  for (;;) {
    const cut = await database.transaction((client) => cutStreams(client, key, partition));
    if (typeof cut === 'string') return cut;
    if (cut < cutsAtOnce) break;
  }
  try {
    return await database.transaction((client) => drop(client, partition));
  } catch (error) {
    if (error instanceof DatabaseError && error.code === lockNotAvailable) return 'locked';
    throw error;
  }
}

/** Says why nothing may be done with a partition, or keeps it so to the end of the transaction that something may. */
async function whyLeft(client: PoolClient, { suffix }: Partition): Promise<Left | undefined> {
  if (await isHeld(client)) return 'held';
  const { rows } = await client.query<{ own: boolean }>(
    'SELECT pg_try_advisory_xact_lock($1) AS own',
    [locks.retention],
  );
  if (rows[0]?.own !== true) return 'taken';
  const { rowCount } = await client.query('SELECT FROM partitions WHERE suffix = $1', [suffix]);
  return rowCount === 0 ? 'taken' : undefined;
}

async function findExpired(
  client: PoolClient,
  keepSeconds: number,
): Promise<Partition | undefined> {
  if (await isHeld(client)) return undefined;
  const { rows } = await client.query<{ now: number }>(
    'SELECT extract(epoch FROM clock_timestamp())::float8 AS now',
  );
  const before = ((rows[0]?.now ?? 0) - keepSeconds) * 1e6;
  const [oldest, ...others] = await listPartitions(client);
  return oldest && others.length > 0 && oldest.highUs <= before ? oldest : undefined;
}

const cutsAtOnce = 500;

interface CutRow {
  readonly stream: string;
  readonly cut_seq: number;
  readonly cut_link: Buffer | null;
  readonly last: number;
}

/** Selects streams that have records in a partition behind their cut. `$1` is its suffix. */
function uncut(suffix: string): string {
  return `
    SELECT s.stream, s.cut_seq::float8, s.cut_link, last.seq::float8 AS last
    FROM partitions p, streams s, LATERAL (SELECT max(seq) AS seq FROM ${tableOf(suffix)} r WHERE r.stream = s.stream) last
    WHERE p.suffix = $1 AND s.first_seen < p.high AND s.last_received_at >= p.low AND last.seq > s.cut_seq`;
}

/** Puts on record where the streams of a partition are cut, some at a time. Returns how many there were. */
async function cutStreams(
  client: PoolClient,
  key: KeyObject,
  partition: Partition,
): Promise<number | Left> {
  await client.query('SET LOCAL statement_timeout = 0');
  const left = await whyLeft(client, partition);
  if (left) return left;
  const { suffix } = partition;
  const { rows } = await client.query<CutRow>(
    `${uncut(suffix)} ORDER BY s.stream LIMIT ${cutsAtOnce} FOR UPDATE OF s`,
    [suffix],
  );
  // Without the stream's key, which here is the store's word alone: a head says it.
  const entries: Extract<LedgerFields, { kind: 'cut' }>[] = [];
  for (const row of rows) {
    const link = await linkAt(client, tableOf(suffix), row);
    entries.push({
      kind: 'cut',
      stream: row.stream,
      seq: row.last,
      link: link?.toString('hex') ?? unlinked,
    });
  }
  await client.query(
    `UPDATE streams s SET cut_seq = cut.seq, cut_link = decode(nullif(cut.link, '${unlinked}'), 'hex')
     FROM json_to_recordset($1::json) AS cut (stream uuid, seq bigint, link text) WHERE s.stream = cut.stream`,
    [JSON.stringify(entries)],
  );
  await appendLedger(client, key, entries);
  return rows.length;
}

/** Of a table of our own making: nothing from outside is in the name. */
function tableOf(suffix: string): string {
  return `records_${suffix.replaceAll(/\W/g, '')}`;
}

const hashesAtOnce = 10_000;

/**
 * Computes the link of the last record in a partition: from its last signed checkpoint, which names one, else from the
 * earlier cut. Undefined where records are missing on the way.
 */
async function linkAt(
  client: PoolClient,
  table: string,
  { stream, cut_seq: cutSeq, cut_link: cutLink, last }: CutRow,
): Promise<Buffer | undefined> {
  const signed = await client.query<{ before: number; header: Buffer }>(
    `SELECT seq::float8 - 1 AS before, header FROM ${table}
     WHERE stream = $1 AND checkpoint ORDER BY seq DESC LIMIT 1`,
    [stream],
  );
  const [checkpoint] = signed.rows;
  const named = checkpoint && linkIn(checkpoint.header);
  let at = named ? checkpoint.before : cutSeq;
  let link = named ?? (cutSeq === 0 ? firstLink(stream) : (cutLink ?? undefined));
  while (link && at < last) {
    const { rows } = await client.query<{ seq: number; header_hash: Buffer }>(
      `SELECT seq::float8, header_hash FROM ${table} WHERE stream = $1 AND seq > $2 ORDER BY seq LIMIT ${hashesAtOnce}`,
      [stream, at],
    );
    for (const { seq, header_hash: hash } of rows) {
      link = link && seq === at + 1 ? nextLink(link, hash) : undefined;
      at = seq;
    }
    if (rows.length === 0) return undefined;
  }
  return link;
}

function linkIn(header: Buffer): Buffer | undefined {
  const { link } = JSON.parse(header.toString('utf8')) as { link?: unknown }; // it was one when it was stored
  return typeof link === 'string' ? Buffer.from(link, 'hex') : undefined;
}

const lockNotAvailable = '55P03';
/**
 * Whoever reads keeps a table for as long as that takes, and whoever writes waits behind us: for the first of our locks a
 * second, for the others, while we have that one, less.
 */
const lockTimeouts = [
  ['records', '1s'],
  ['texts', '200ms'],
  ['statements', '200ms'],
  ['operations', '200ms'],
  ['shapes', '200ms'],
] as const;

async function drop(client: PoolClient, partition: Partition): Promise<Left | undefined> {
  await client.query('SET LOCAL statement_timeout = 0');
  const left = await whyLeft(client, partition);
  if (left) return left;
  const { suffix } = partition;
  // Before the locks that stop everybody: what is received now goes into newer partitions.
  const { rowCount } = await client.query(`${uncut(suffix)} LIMIT 1`, [suffix]);
  if (rowCount !== 0) return 'grown';
  for (const [table, timeout] of lockTimeouts) {
    await client.query(`SET LOCAL lock_timeout = '${timeout}'`);
    await client.query(`LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
  }
  const safe = suffix.replaceAll(/\W/g, '');
  const tables = lockTimeouts.map(([table]) => `${table}_${safe}`);
  await client.query(`DROP TABLE IF EXISTS ${tables.join(', ')}`);
  await client.query('DELETE FROM partitions WHERE suffix = $1', [suffix]);
  return undefined;
}

const sessionsAtOnce = 2_000;

/** Sessions of which no record is left go as well: a stream may be cut where it could not be dropped yet. */
async function dropSessions(database: Database): Promise<void> {
  for (let found = sessionsAtOnce; found === sessionsAtOnce;) {
    const rows = await database.query(
      `DELETE FROM sessions WHERE ctid = ANY(ARRAY(
         SELECT s.ctid FROM streams t JOIN sessions s USING (stream)
         WHERE t.cut_seq > 0 AND s.last_seq <= t.cut_seq
           AND NOT EXISTS (SELECT FROM records r WHERE r.stream = s.stream AND r.seq = s.last_seq OFFSET 0)
         LIMIT ${sessionsAtOnce}))
       RETURNING 1`,
      [],
    );
    found = rows.length;
  }
}

/** What was set aside holds content as well; its hash and size stay. Who read what is kept as long as records are. */
async function forgetAside(database: Database, keepSeconds: number): Promise<void> {
  await database.transaction(async (client) => {
    if (await isHeld(client)) return;
    await client.query(
      `UPDATE quarantine SET bytes = NULL
       WHERE bytes IS NOT NULL AND received_at < clock_timestamp() - make_interval(secs => $1)`,
      [keepSeconds],
    );
    await client.query(
      'DELETE FROM reads WHERE minute < clock_timestamp() - make_interval(secs => $1)',
      [keepSeconds],
    );
  });
}
