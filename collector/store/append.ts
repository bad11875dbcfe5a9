import type { PoolClient } from 'pg';
import type { WriterIdentity } from '#core/control.ts';
import { extendChain, type Batch, type VerifiedRecord } from '../batch.ts';
import { HttpProblem } from '../problem.ts';
import { bigintCell, copyRows, textCell, uuidCell } from './copy.ts';
import { summarize, type SessionDelta } from './summary.ts';

/** The highest seq up to which a stream is committed without a gap, and the link there. */
export interface Head {
  readonly seq: number;
  readonly link: Buffer;
  /** How many records of the batch were new. */
  readonly added: number;
}

interface StreamRow {
  readonly pod: string;
  readonly namespace: string;
  readonly service_account: string;
  readonly acked_seq: string;
  readonly head_link: Buffer | null;
}

/**
 * Appends a batch to its stream, within the caller's transaction. The stream's row is locked, so that replicas take a
 * stream's batches one after the other; records that are there already must be the same, and are not stored again.
 * @throws HttpProblem `not-your-stream`, `gap`, `conflict`.
 */
export async function appendBatch(
  client: PoolClient,
  batch: Batch,
  writer: WriterIdentity,
): Promise<Head> {
  const stream = await lockStream(client, batch.stream, writer);
  const acked = Number(stream.acked_seq);
  if (batch.firstSeq > acked + 1) {
    throw new HttpProblem('gap', `the stream goes on at ${acked + 1}`, { ackedSeq: acked });
  }
  const known = batch.records.slice(0, Math.max(0, acked + 1 - batch.firstSeq));
  await compareKnown(client, batch, known);
  const added = batch.records.slice(known.length);
  if (added.length === 0) return headOf(batch.stream, stream, acked);
  await copyRecords(client, batch.stream, added);
  const { sessions, statements } = summarize(added);
  await copyRows(
    client,
    'statements (stream, seq, session, text)',
    statements.map(({ seq, session, text }) => [
      uuidCell(batch.stream),
      bigintCell(seq),
      uuidCell(session),
      textCell(text),
    ]),
  );
  await mergeSessions(client, batch.stream, sessions);
  const link = extendChain(batch.stream, stream.head_link ?? undefined, added);
  await client.query('UPDATE streams SET acked_seq = $2, head_link = $3 WHERE stream = $1', [
    batch.stream,
    batch.lastSeq,
    link,
  ]);
  return { seq: batch.lastSeq, link, added: added.length };
}

async function lockStream(
  client: PoolClient,
  stream: string,
  writer: WriterIdentity,
): Promise<StreamRow> {
  await client.query(
    `INSERT INTO streams (stream, pod, namespace, service_account) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
    [stream, writer.pod, writer.namespace, writer.serviceAccount],
  );
  const { rows } = await client.query<StreamRow>(
    'SELECT pod, namespace, service_account, acked_seq, head_link FROM streams WHERE stream = $1 FOR UPDATE',
    [stream],
  );
  const [row] = rows;
  const own =
    row?.pod === writer.pod &&
    row.namespace === writer.namespace &&
    row.service_account === writer.serviceAccount;
  if (!row || !own) throw new HttpProblem('not-your-stream', 'the stream belongs to another pod');
  return row;
}

async function compareKnown(
  client: PoolClient,
  batch: Batch,
  known: readonly VerifiedRecord[],
): Promise<void> {
  if (known.length === 0) return;
  const { rows } = await client.query<{ seq: string; header_hash: Buffer }>(
    'SELECT seq, header_hash FROM records WHERE stream = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq',
    [batch.stream, batch.firstSeq, batch.firstSeq + known.length - 1],
  );
  for (const [index, { frame, headerHash }] of known.entries()) {
    if (rows[index]?.header_hash.equals(headerHash) !== true) {
      const { seq } = frame.header;
      throw new HttpProblem('conflict', `record ${seq} differs from the one that is stored`, {
        seq,
      });
    }
  }
}

function headOf(stream: string, { head_link: link }: StreamRow, seq: number): Head {
  return { seq, link: link ?? extendChain(stream, undefined, []), added: 0 };
}

async function copyRecords(
  client: PoolClient,
  stream: string,
  records: readonly VerifiedRecord[],
): Promise<void> {
  const rows = records.map(({ frame, headerHash }) => {
    const { header, headerBytes, salt, payload } = frame;
    const content = payload.length > 0 ? [salt, payload] : [undefined, undefined];
    return [
      uuidCell(stream),
      bigintCell(header.seq),
      uuidCell(header.session),
      headerBytes,
      headerHash,
      ...content,
    ];
  });
  await copyRows(
    client,
    'records (stream, seq, session, header, header_hash, salt, payload)',
    rows,
  );
}

/** One statement for all sessions of a batch. */
async function mergeSessions(
  client: PoolClient,
  stream: string,
  sessions: readonly SessionDelta[],
): Promise<void> {
  if (sessions.length === 0) return;
  await client.query(
    `INSERT INTO sessions AS s (stream, id, protocol, backend, database, principal, groups, started_at, ended_at,
                                end_reason, requests, denied, errors, rows)
     SELECT $1, id, protocol, backend, database, principal,
            CASE WHEN groups IS NULL THEN NULL ELSE ARRAY(SELECT json_array_elements_text(groups)) END,
            "startedAt", "endedAt", "endReason", requests, denied, errors, rows
     FROM json_to_recordset($2::json) AS batch (
       id uuid, protocol text, backend text, database text, principal text, groups json,
       "startedAt" timestamptz, "endedAt" timestamptz, "endReason" text,
       requests bigint, denied bigint, errors bigint, rows bigint)
     ON CONFLICT (stream, id) DO UPDATE SET
       protocol = coalesce(s.protocol, excluded.protocol),
       backend = coalesce(s.backend, excluded.backend),
       database = coalesce(s.database, excluded.database),
       principal = coalesce(s.principal, excluded.principal),
       groups = coalesce(s.groups, excluded.groups),
       started_at = coalesce(s.started_at, excluded.started_at),
       ended_at = coalesce(s.ended_at, excluded.ended_at),
       end_reason = coalesce(s.end_reason, excluded.end_reason),
       requests = s.requests + excluded.requests,
       denied = s.denied + excluded.denied,
       errors = s.errors + excluded.errors,
       rows = s.rows + excluded.rows`,
    [stream, JSON.stringify(sessions)],
  );
}
