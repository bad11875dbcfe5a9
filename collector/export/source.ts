import { unlinked } from '#core/record/checkpoint.ts';
import {
  isSignedCheckpoint,
  type ExportedRecord,
  type ExportSource,
  type RecordsWanted,
} from '#core/record/export-build.ts';
import type { Manifest } from '#core/record/export.ts';
import { encodeFrame } from '#core/record/frame.ts';
import type { Database } from '../store/database.ts';

const pageRows = 2_000;
const pageBytes = 4 * 1024 * 1024;
const pageLines = 1_000;
const none = Buffer.alloc(0);

interface Row {
  readonly seq: number;
  /** As text: a Date has no microseconds. */
  readonly received: string;
  readonly hash: Buffer;
  /** Null where the hash is enough. */
  readonly header: Buffer | null;
  readonly salt: Buffer | null;
  readonly payload: Buffer | null;
}

// A record that is there twice, in two partitions, is exported twice: nothing but the verifier judges what is stored.
const recordsPage = (shown: string): string => `
  SELECT seq::float8, received_at::text AS received, header_hash AS hash, CASE WHEN shown THEN header END AS header,
         CASE WHEN shown THEN salt END AS salt, CASE WHEN shown THEN payload END AS payload
  FROM (
    SELECT *, row_number() OVER places AS place,
           sum(CASE WHEN shown THEN octet_length(header) + coalesce(octet_length(payload), 0) ELSE 32 END) OVER places AS bytes
    FROM (SELECT *, (${shown}) AS shown FROM records
          WHERE stream = $1 AND received_at >= $2::timestamptz AND seq BETWEEN $3 AND $4
            AND (seq, received_at) > ($3::bigint, $5::timestamptz)
          ORDER BY seq, received_at LIMIT ${pageRows}) found
    WINDOW places AS (ORDER BY seq, received_at)) page
  WHERE bytes <= ${pageBytes} OR place = 1 ORDER BY seq, received_at`;

/** Takes records for an export out of the store, page by page: between two pages nothing is held, in no transaction. */
export class StoreSource implements ExportSource {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async cut(stream: string): Promise<Manifest['cut']> {
    const rows = await this.#database.query<{ seq: number; link: string | null }>(
      `SELECT cut_seq::float8 AS seq, encode(cut_link, 'hex') AS link FROM streams WHERE stream = $1 AND cut_seq > 0`,
      [stream],
    );
    return rows[0] && { seq: rows[0].seq, link: rows[0].link ?? unlinked };
  }

  async lastSeq(stream: string): Promise<number> {
    const rows = await this.#database.query<{ seq: number }>(
      'SELECT coalesce(max(seq), 0)::float8 AS seq FROM records WHERE stream = $1 AND received_at >= $2::timestamptz',
      [stream, await this.#received(stream)],
    );
    return rows[0]?.seq ?? 0;
  }

  async *records({ stream, after, upTo, frames }: RecordsWanted): AsyncGenerator<ExportedRecord> {
    const received = await this.#received(stream);
    const own = typeof frames === 'object' ? 'coalesce(session = $6::uuid, false)' : 'false';
    const select = recordsPage(frames === 'all' ? 'true' : `seq = 1 OR checkpoint OR ${own}`);
    const session = typeof frames === 'object' ? [frames.session] : [];
    for (let place = { seq: after, received: 'infinity' }; ;) {
      const values = [stream, received, place.seq, upTo, place.received, ...session];
      const rows = await this.#database.query<Row>(select, values);
      for (const { seq, hash, header, salt, payload } of rows) {
        yield {
          seq,
          headerHash: hash,
          isSignedCheckpoint: header !== null && isSignedCheckpoint(header),
          frame: header === null ? undefined : encodeFrame(header, salt ?? none, payload ?? none),
        };
      }
      const last = rows.at(-1);
      if (!last) return;
      place = last;
    }
  }

  async ofSession({
    stream,
    session,
    after,
  }: Parameters<ExportSource['ofSession']>[0]): ReturnType<ExportSource['ofSession']> {
    const own = `FROM records WHERE stream = $1 AND session = $2 AND received_at >= $4::timestamptz`;
    const rows = await this.#database.query<{ next: number | null; last: number | null }>(
      `SELECT (SELECT min(seq) ${own} AND seq > $3)::float8 AS next, (SELECT max(seq) ${own})::float8 AS last`,
      [stream, session, after, await this.#received(stream)],
    );
    return { next: rows[0]?.next ?? undefined, last: rows[0]?.last ?? undefined };
  }

  async signedCheckpoint(
    which: 'first' | 'last',
    { stream, after, before }: Parameters<ExportSource['signedCheckpoint']>[1],
  ): Promise<number | undefined> {
    const rows = await this.#database.query<{ seq: number }>(
      `SELECT seq::float8 FROM records
       WHERE stream = $1 AND checkpoint AND seq > $2 AND seq < $3 AND received_at >= $4::timestamptz
       ORDER BY seq ${which === 'first' ? 'ASC' : 'DESC'} LIMIT 1`,
      [stream, after, before, await this.#received(stream)],
    );
    return rows[0]?.seq;
  }

  async successor(stream: string): Promise<string | undefined> {
    // Of the same pod: what another says of this stream neither proves nor breaks it.
    const rows = await this.#database.query<{ stream: string }>(
      `SELECT later.stream FROM streams later JOIN streams earlier USING (pod, namespace, service_account)
       WHERE later.previous_stream = $1 AND earlier.stream = $1 ORDER BY later.first_seen, later.stream LIMIT 1`,
      [stream],
    );
    return rows[0]?.stream;
  }

  async *ledgerLines(streams: readonly string[]): AsyncGenerator<string> {
    for (let after = 0; ;) {
      const rows = await this.#database.query<{ n: number; line: string }>(
        `SELECT n::float8, line FROM ledger WHERE stream = ANY($1::uuid[]) AND n > $2 ORDER BY n LIMIT ${pageLines}`,
        [streams, after],
      );
      for (const { line } of rows) yield line;
      const last = rows.at(-1);
      if (!last) return;
      after = last.n;
    }
  }

  /** Since when a stream has records: partitions before are not looked into. */
  async #received(stream: string): Promise<string> {
    const rows = await this.#database.query<{ since: string }>(
      'SELECT first_seen::text AS since FROM streams WHERE stream = $1',
      [stream],
    );
    return rows[0]?.since ?? '-infinity';
  }
}
