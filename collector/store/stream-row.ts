import type { PoolClient } from 'pg';
import type { WriterIdentity } from '#core/control.ts';
import { firstLink } from '#core/record/chain.ts';
import { HttpProblem } from '../problem.ts';
import type { StreamState } from '../proof.ts';

/** A stream's row while its batch is taken. */
export interface LockedStream {
  readonly state: StreamState;
  readonly ended: boolean;
  /** Found to be silent, by a finding that is still open. */
  readonly silent: boolean;
  readonly previousStream: string | undefined;
  /** When the batch counts as received: the database's clock, and never before what the stream sent earlier. */
  readonly receivedUs: number;
  /** Of the newest record when it was last seen to lag: how far, and when. */
  readonly lag: { readonly ms: number; readonly agoMs: number } | undefined;
  /** Whether a skewed clock was found within the last hour. */
  readonly skewKnown: boolean;
}

interface Row {
  readonly own: boolean;
  readonly acked_seq: number;
  readonly head_link: Buffer | null;
  readonly signed_seq: number;
  readonly public_key: string | null;
  readonly jump: boolean;
  readonly resume_seq: number | null;
  readonly resume_link: Buffer | null;
  readonly ended: boolean;
  readonly silent: boolean;
  readonly previous_stream: string | null;
  readonly received_us: number;
  readonly lag_ms: number | null;
  readonly lag_ago_ms: number;
  readonly skew_known: boolean;
}

/**
 * Locks a stream's row, which is made for a stream that is new: replicas take a stream's batches one after the other.
 * @throws HttpProblem `not-your-stream`.
 */
export async function lockStream(
  client: PoolClient,
  stream: string,
  { pod, namespace, serviceAccount }: WriterIdentity,
): Promise<LockedStream> {
  const lock = (): Promise<{ rows: Row[] }> =>
    client.query<Row>({
      name: 'lock-stream',
      text: `SELECT (pod, namespace, service_account) = ($2, $3, $4) AS own, acked_seq::float8, head_link,
               signed_seq::float8, public_key, jump, resume_seq::float8, resume_link, ended, silent, previous_stream,
               floor(extract(epoch FROM greatest(clock_timestamp(), last_received_at)) * 1e6)::float8 AS received_us,
               lag_ms::float8, extract(epoch FROM clock_timestamp() - lag_at)::float8 * 1e3 AS lag_ago_ms,
               coalesce(skew_at > clock_timestamp() - interval '1 hour', false) AS skew_known
             FROM streams WHERE stream = $1 FOR UPDATE`,
      values: [stream, pod, namespace, serviceAccount],
    });
  let { rows } = await lock();
  if (rows.length === 0) {
    await client.query(
      `INSERT INTO streams (stream, pod, namespace, service_account, head_link) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT DO NOTHING`,
      [stream, pod, namespace, serviceAccount, firstLink(stream)],
    );
    ({ rows } = await lock());
  }
  const [row] = rows;
  if (row?.own !== true)
    throw new HttpProblem('not-your-stream', 'the stream belongs to another pod');
  return locked(row);
}

function locked(row: Row): LockedStream {
  const { resume_seq: seq, resume_link: link } = row;
  return {
    state: {
      ackedSeq: row.acked_seq,
      link: row.head_link ?? undefined,
      signedSeq: row.signed_seq,
      publicKey: row.public_key ?? undefined,
      jump: row.jump,
      resume: seq === null || link === null ? undefined : { seq, link },
    },
    ended: row.ended,
    silent: row.silent,
    previousStream: row.previous_stream ?? undefined,
    receivedUs: row.received_us,
    lag: row.lag_ms === null ? undefined : { ms: row.lag_ms, agoMs: row.lag_ago_ms },
    skewKnown: row.skew_known,
  };
}

/** What a batch changes of its stream beside what it proves. */
export interface StreamChange {
  readonly state: StreamState;
  readonly receivedUs: number;
  readonly ended: boolean;
  readonly previousStream: string | undefined;
  /** `undefined` leaves it as it is. */
  readonly lag: 'none' | 'anew' | undefined;
  readonly lagMs: number;
  readonly skewed: boolean;
}

/** Writes what a batch changed. A stream that speaks is silent no more. */
export async function saveStream(
  client: PoolClient,
  stream: string,
  { state, receivedUs, ended, previousStream, lag, lagMs, skewed }: StreamChange,
): Promise<void> {
  await client.query({
    name: 'save-stream',
    text: `UPDATE streams SET acked_seq = $2, head_link = $3, signed_seq = $4, public_key = $5, jump = $6, resume_seq = $7,
             resume_link = $8, ended = $9, silent = false, previous_stream = $10,
             last_received_at = to_timestamp($11::float8 / 1e6),
             lag_ms = CASE $12::text WHEN 'none' THEN NULL WHEN 'anew' THEN $13::bigint ELSE lag_ms END,
             lag_at = CASE $12::text WHEN 'none' THEN NULL WHEN 'anew' THEN clock_timestamp() ELSE lag_at END,
             skew_at = CASE WHEN $14::boolean THEN clock_timestamp() ELSE skew_at END
           WHERE stream = $1`,
    values: [
      stream,
      state.ackedSeq,
      state.link ?? null,
      state.signedSeq,
      state.publicKey ?? null,
      state.jump,
      state.resume?.seq ?? null,
      state.resume?.link ?? null,
      ended,
      previousStream ?? null,
      receivedUs,
      lag ?? null,
      lagMs,
      skewed,
    ],
  });
}
