import { crc32 } from 'node:zlib';
import { saltBytes } from '#core/record/frame.ts';
import type { SessionSummary } from '#core/session-summary.ts';
import type { Database } from './database.ts';
import { summaryColumns } from './search.ts';

/** Finds sessions whose id begins with `prefix`; two are enough to know that it is ambiguous. */
export async function findSessions(database: Database, prefix: string): Promise<SessionSummary[]> {
  const low = padded(prefix, '0');
  const high = padded(prefix, 'f');
  return database.query<SessionSummary>(
    `SELECT ${summaryColumns} FROM sessions s JOIN streams t USING (stream)
     WHERE s.id BETWEEN $1::uuid AND $2::uuid AND s.id::text LIKE $3 LIMIT 2`,
    [low, high, `${prefix}%`],
  );
}

/** The uuid that a prefix becomes with one digit in all other places. */
function padded(prefix: string, digit: string): string {
  const digits = prefix.replaceAll('-', '').padEnd(32, digit);
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const weighedRows = 10_000;
const pageBytes = 1024 * 1024;

/** Frames of a stream, or of one session in it, in order. */
export interface FrameRange {
  readonly stream: string;
  readonly session?: string | undefined;
  /** First seq. Default 1. */
  readonly from?: number | undefined;
  /** Last seq. Default: to the end. */
  readonly to?: number | undefined;
}

/**
 * Yields frames in order, byte for byte as they were sent but for what was erased, in pieces of about a megabyte that hold
 * whole ones. The next piece is read while one is sent.
 */
export async function* readFrames(database: Database, range: FrameRange): AsyncGenerator<Buffer> {
  const received = await receivedWithin(database, range.stream);
  const own = range.session === undefined ? '' : `AND session = '${checkedUuid(range.session)}'`;
  const where = ({ first, last }: Page): string =>
    `${placesOf(range.stream, first, last)} AND ${received} ${own}`;
  let reading: Promise<Buffer> | undefined;
  for await (const page of pagesOf(database, range, where)) {
    const next = readPage(database, where(page));
    next.catch(() => undefined); // it is thrown when its turn comes, or nobody asks any more
    if (reading) yield await reading;
    reading = next;
  }
  if (reading) yield await reading;
}

/** Seqs between which records weigh what one piece may. */
interface Page {
  readonly first: number;
  readonly last: number;
}

/** Divides records into pages by what they weigh, before any payload is read. */
async function* pagesOf(
  database: Database,
  { from = 1, to = Number.MAX_SAFE_INTEGER }: FrameRange,
  where: (page: Page) => string,
): AsyncGenerator<Page> {
  for (let next = from; next <= to;) {
    const rows = await database.read(
      `SELECT seq, (octet_length(header) + coalesce(octet_length(payload), 0))::bigint FROM records
       WHERE ${where({ first: next, last: to })} ORDER BY seq LIMIT ${weighedRows}`,
    );
    let page: Page | undefined;
    let bytes = 0;
    for (const [seq = none, weight = none] of rows) {
      const at = Number(seq.readBigInt64BE());
      bytes += Number(weight.readBigInt64BE());
      if (page && bytes > pageBytes) {
        yield page;
        page = undefined;
        bytes = Number(weight.readBigInt64BE());
      }
      page = { first: page?.first ?? at, last: at };
    }
    if (page) yield page;
    if (!page || rows.length < weighedRows) return;
    next = page.last + 1;
  }
}

/** As frames are laid out, with zeros where the CRC belongs. */
const frameColumn = `int4send(4 + octet_length(header) + coalesce(${saltBytes} + octet_length(payload), 0))
  || int4send(0) || int4send(octet_length(header)) || header || coalesce(salt || payload, '')`;

const none = Buffer.alloc(0);

async function readPage(database: Database, where: string): Promise<Buffer> {
  const rows = await database.read(
    `SELECT ${frameColumn} FROM records WHERE ${where} ORDER BY seq`,
  );
  const frames = rows.map(([frame = none]) => frame);
  for (const frame of frames) frame.writeUInt32BE(crc32(frame.subarray(8)), 4);
  return Buffer.concat(frames);
}

// What follows is written into SQL, since COPY takes no parameters: it is nothing but digits.
function placesOf(stream: string, from: number, to: number): string {
  return `stream = '${checkedUuid(stream)}' AND seq BETWEEN ${BigInt(from)} AND ${BigInt(to)}`;
}

function checkedUuid(text: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)) throw new Error('want a UUID');
  return text;
}

/** When a stream's records were received: partitions that can hold none of them are not looked into. */
async function receivedWithin(database: Database, stream: string): Promise<string> {
  const rows = await database.query<{ low: string; high: string }>(
    'SELECT first_seen::text AS low, last_received_at::text AS high FROM streams WHERE stream = $1',
    [stream],
  );
  const [row] = rows;
  return row ? `received_at BETWEEN '${row.low}' AND '${row.high}'` : 'false';
}

export interface StreamRow {
  readonly stream: string;
  readonly pod: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly ackedSeq: number;
  /** Lower-case hex; null where nothing proves it. */
  readonly headLink: string | null;
  /** Lower-case hex; null for a stream that is not signed. */
  readonly publicKey: string | null;
  readonly ended: boolean;
  readonly previousStream: string | null;
  /** The last record that retention dropped, 0 for none. */
  readonly cutSeq: number;
  /** Lower-case hex; null where nothing was dropped, or nothing proves it. */
  readonly cutLink: string | null;
  /** RFC 3339. */
  readonly firstSeen: string;
  readonly lastReceivedAt: string;
}

/** SQL that writes a time as records have it. */
export const rfc3339 = (column: string): string =>
  `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

const streamColumns = `
  stream, pod, namespace, service_account AS "serviceAccount", acked_seq::float8 AS "ackedSeq",
  encode(head_link, 'hex') AS "headLink", public_key AS "publicKey", ended, previous_stream AS "previousStream",
  cut_seq::float8 AS "cutSeq", encode(cut_link, 'hex') AS "cutLink", ${rfc3339('first_seen')} AS "firstSeen",
  ${rfc3339('last_received_at')} AS "lastReceivedAt"`;

export async function findStream(
  database: Database,
  stream: string,
): Promise<StreamRow | undefined> {
  const rows = await database.query<StreamRow>(
    `SELECT ${streamColumns} FROM streams WHERE stream = $1`,
    [stream],
  );
  return rows[0];
}

export interface StreamPage {
  readonly limit: number;
  readonly before?: { readonly firstSeen: string; readonly stream: string } | undefined;
}

/** Lists streams, newest first. */
export async function listStreams(
  database: Database,
  { limit, before }: StreamPage,
): Promise<StreamRow[]> {
  return database.query<StreamRow>(
    `SELECT ${streamColumns} FROM streams WHERE (first_seen, stream) < ($2::timestamptz, $3::uuid)
     ORDER BY first_seen DESC, stream DESC LIMIT $1`,
    [limit, before?.firstSeen ?? 'infinity', before?.stream ?? 'f'.repeat(32)],
  );
}

export interface FindingRow {
  readonly id: number;
  /** RFC 3339. */
  readonly time: string;
  readonly kind: string;
  readonly stream: string | null;
  readonly session?: string;
  readonly from?: number;
  readonly to?: number;
  readonly detail: string;
  /** RFC 3339; for one that does not hold any more. */
  readonly resolvedAt?: string;
}

/** Lists findings, newest first. */
export async function listFindings(
  database: Database,
  { limit, before }: { readonly limit: number; readonly before?: number | undefined },
): Promise<FindingRow[]> {
  const rows = await database.query<{ finding: FindingRow }>(
    `SELECT json_strip_nulls(json_build_object(
       'id', id, 'time', ${rfc3339('time')}, 'kind', kind, 'stream', stream, 'session', session, 'from', from_seq,
       'to', to_seq, 'detail', detail, 'resolvedAt', ${rfc3339('resolved_at')})) AS finding
     FROM findings WHERE id < $2 ORDER BY id DESC LIMIT $1`,
    [limit, before ?? Number.MAX_SAFE_INTEGER],
  );
  return rows.map(({ finding }) => ({ ...finding, stream: finding.stream ?? null }));
}
