import { encodeFrame } from '#core/record/frame.ts';
import type { SessionSummary } from '#core/session-summary.ts';
import type { Database } from './database.ts';

export interface SessionFilter {
  readonly who?: string | undefined;
  readonly backend?: string | undefined;
  /** RFC 3339. */
  readonly since?: string | undefined;
  /** Part of a statement's text, in any case. */
  readonly text?: string | undefined;
  readonly before?: { readonly startedAt: string; readonly id: string } | undefined;
  readonly limit: number;
}

const columns = `
  s.id, s.stream, s.protocol, s.backend, s.database, s.principal AS "user", s.groups, t.pod, t.namespace,
  to_char(s.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "startedAt",
  to_char(s.ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "endedAt",
  s.end_reason AS "endReason",
  s.requests::float8 AS requests, s.denied::float8 AS denied, s.errors::float8 AS errors, s.rows::float8 AS rows`;

/** Lists sessions, newest first. */
export async function listSessions(
  database: Database,
  filter: SessionFilter,
): Promise<SessionSummary[]> {
  const values: unknown[] = [];
  const bind = (value: unknown): string => `$${values.push(value)}`;
  const conditions = ['s.started_at IS NOT NULL'];
  if (filter.who !== undefined) conditions.push(`s.principal = ${bind(filter.who)}`);
  if (filter.backend !== undefined) conditions.push(`s.backend = ${bind(filter.backend)}`);
  if (filter.since !== undefined)
    conditions.push(`s.started_at >= ${bind(filter.since)}::timestamptz`);
  if (filter.before) {
    const { startedAt, id } = filter.before;
    conditions.push(`(s.started_at, s.id) < (${bind(startedAt)}::timestamptz, ${bind(id)}::uuid)`);
  }
  if (filter.text !== undefined) {
    const pattern = bind(`%${filter.text.replaceAll(/[\\%_]/g, String.raw`\$&`)}%`);
    conditions.push(
      `(s.stream, s.id) IN (SELECT x.stream, x.session FROM statements x WHERE x.text ILIKE ${pattern})`,
    );
  }
  return database.query<SessionSummary>(
    `SELECT ${columns} FROM sessions s JOIN streams t USING (stream)
     WHERE ${conditions.join(' AND ')} ORDER BY s.started_at DESC, s.id DESC LIMIT ${bind(filter.limit)}`,
    values,
  );
}

/** Finds sessions whose id begins with `prefix`; two are enough to know that it is ambiguous. */
export async function findSessions(database: Database, prefix: string): Promise<SessionSummary[]> {
  const low = padded(prefix, '0');
  const high = padded(prefix, 'f');
  return database.query<SessionSummary>(
    `SELECT ${columns} FROM sessions s JOIN streams t USING (stream)
     WHERE s.id BETWEEN $1::uuid AND $2::uuid AND s.id::text LIKE $3 LIMIT 2`,
    [low, high, `${prefix}%`],
  );
}

/** The uuid that a prefix becomes with one digit in all other places. */
function padded(prefix: string, digit: string): string {
  const digits = prefix.replaceAll('-', '').padEnd(32, digit);
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const pageRows = 64; // of at most about 70 KB each

/** Yields a session's frames in order, byte for byte as they were sent. */
export async function* readFrames(
  database: Database,
  session: SessionSummary,
): AsyncGenerator<Buffer> {
  interface Row {
    readonly seq: string;
    readonly header: Buffer;
    readonly salt: Buffer | null;
    readonly payload: Buffer | null;
  }
  for (let after = '0'; ;) {
    const rows = await database.query<Row>(
      `SELECT seq, header, salt, payload FROM records
       WHERE stream = $1 AND session = $2 AND seq > $3 ORDER BY seq LIMIT ${pageRows}`,
      [session.stream, session.id, after],
    );
    for (const { header, salt, payload } of rows) {
      yield encodeFrame(header, salt ?? Buffer.alloc(0), payload ?? Buffer.alloc(0));
    }
    const last = rows.at(-1);
    if (!last || rows.length < pageRows) return;
    after = last.seq;
  }
}

export interface StreamRow {
  readonly stream: string;
  readonly pod: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly ackedSeq: number;
  /** Lower-case hex; null for a stream without records. */
  readonly headLink: string | null;
}

export async function findStream(
  database: Database,
  stream: string,
): Promise<StreamRow | undefined> {
  const rows = await database.query<StreamRow>(
    `SELECT stream, pod, namespace, service_account AS "serviceAccount", acked_seq::float8 AS "ackedSeq",
            encode(head_link, 'hex') AS "headLink"
     FROM streams WHERE stream = $1`,
    [stream],
  );
  return rows[0];
}

const pageHashes = 10_000;

/** Yields header hashes of a stream, 32 bytes each, from seq `from` to `to`. */
export async function* readHashes(
  database: Database,
  stream: string,
  range: { readonly from: number; readonly to: number },
): AsyncGenerator<Buffer> {
  for (let from = range.from; from <= range.to; from += pageHashes) {
    const rows = await database.query<{ header_hash: Buffer }>(
      'SELECT header_hash FROM records WHERE stream = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq',
      [stream, from, Math.min(range.to, from + pageHashes - 1)],
    );
    yield Buffer.concat(rows.map(({ header_hash: hash }) => hash));
  }
}
