import type { KeyObject } from 'node:crypto';
import type { PoolClient } from 'pg';
import { firstLink, nextLink } from '#core/record/chain.ts';
import { unlinked } from '#core/record/checkpoint.ts';
import type { LedgerFields } from '#core/record/ledger.ts';
import type { Database } from './database.ts';
import { appendLedger } from './ledger.ts';
import { isHeld } from './legal-hold.ts';
import { listPartitions, type Partition } from './partitions.ts';

/**
 * Drops partitions that ended more than `keepSeconds` ago, from the oldest on; each once the last record of every stream
 * in it stands in the ledger. Under legal hold nothing is dropped. Returns the partitions that were.
 */
export async function dropExpired(
  database: Database,
  key: KeyObject,
  keepSeconds: number,
): Promise<string[]> {
  const dropped: string[] = [];
  for (;;) {
    const partition = await database.transaction((client) => findExpired(client, keepSeconds));
    if (!partition) break;
    let cut = 0;
    do cut = await database.transaction((client) => cutStreams(client, key, partition));
    while (cut === cutsAtOnce);
    if (!(await database.transaction((client) => drop(client, partition)))) break;
    dropped.push(partition.suffix);
  }
  if (dropped.length > 0) await dropSessions(database);
  await emptyQuarantine(database, keepSeconds);
  return dropped;
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

/** Puts on record where the streams of a partition are cut, some at a time. Returns how many there were. */
async function cutStreams(
  client: PoolClient,
  key: KeyObject,
  { suffix }: Partition,
): Promise<number> {
  await client.query('SET LOCAL statement_timeout = 0');
  if (await isHeld(client)) return 0;
  const { rows } = await client.query<CutRow>(
    `SELECT s.stream, s.cut_seq::float8, s.cut_link, last.seq::float8 AS last
     FROM partitions p, streams s, LATERAL (SELECT max(seq) AS seq FROM ${tableOf(suffix)} r WHERE r.stream = s.stream) last
     WHERE p.suffix = $1 AND s.first_seen < p.high AND s.last_received_at >= p.low AND last.seq > s.cut_seq
     ORDER BY s.stream LIMIT ${cutsAtOnce} FOR UPDATE OF s`,
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

/** Whoever reads keeps a partition for as long as that takes; those who write wait behind us only this long. */
const lockTimeout = '2s';

async function drop(client: PoolClient, { suffix }: Partition): Promise<boolean> {
  if (await isHeld(client)) return false;
  await client.query(`SET LOCAL lock_timeout = '${lockTimeout}'`);
  const tables = ['records', 'texts', 'statements'];
  for (const table of tables) await client.query(`LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
  const safe = suffix.replaceAll(/\W/g, '');
  await client.query(
    `DROP TABLE IF EXISTS ${tables.map((table) => `${table}_${safe}`).join(', ')}`,
  );
  await client.query('DELETE FROM partitions WHERE suffix = $1', [suffix]);
  return true;
}

const sessionsAtOnce = 10_000;

/** Sessions of which no record is left go as well. */
async function dropSessions(database: Database): Promise<void> {
  for (let found = sessionsAtOnce; found === sessionsAtOnce;) {
    const rows = await database.query(
      `DELETE FROM sessions WHERE ctid = ANY(ARRAY(
         SELECT s.ctid FROM streams t JOIN sessions s USING (stream)
         WHERE t.cut_seq > 0 AND s.last_seq <= t.cut_seq LIMIT ${sessionsAtOnce}))
       RETURNING 1`,
      [],
    );
    found = rows.length;
  }
}

/** What was set aside holds content as well; its hash and size stay. */
async function emptyQuarantine(database: Database, keepSeconds: number): Promise<void> {
  await database.transaction(async (client) => {
    if (await isHeld(client)) return;
    await client.query(
      `UPDATE quarantine SET bytes = NULL
       WHERE bytes IS NOT NULL AND received_at < clock_timestamp() - make_interval(secs => $1)`,
      [keepSeconds],
    );
  });
}
