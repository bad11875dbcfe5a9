import { hash } from 'node:crypto';
import type { PoolClient } from 'pg';
import type { WriterIdentity } from '#core/control.ts';
import type { QuarantineLimits } from '../config.ts';
import { HttpProblem } from '../problem.ts';

/** A batch that did not verify. */
export interface Suspect {
  readonly stream: string | undefined;
  /** The last record that was committed before it. */
  readonly afterSeq: number;
  /** As it came, compressed. */
  readonly body: Buffer;
  readonly reason: string;
  readonly writer: WriterIdentity;
}

/** So many batches of a pod were set aside that no more are for now: each costs a row, a finding and a line of the ledger. */
export class TooMuchAside extends HttpProblem {
  constructor() {
    super('busy', 'too many batches of this pod did not verify within an hour');
  }
}

/**
 * Sets a batch aside, verbatim as long as there is room for it and else by hash and size. Returns its hash, or undefined
 * when the same batch is there already.
 * @throws TooMuchAside
 */
export async function setAside(
  client: PoolClient,
  { stream, afterSeq, body, reason, writer }: Suspect,
  { maxBytes, maxPodBytes, maxPodBatches }: QuarantineLimits,
): Promise<string | undefined> {
  const sha256 = hash('sha256', body, 'hex');
  const { pod, namespace, serviceAccount } = writer;
  // Replicas that set aside at once may exceed the bounds by as much as each of them adds.
  const { rows } = await client.query<{ pod: number; total: number; recent: number }>(
    `SELECT (SELECT count(*) FROM (
               SELECT FROM quarantine WHERE (pod, namespace, service_account) = ($1, $2, $3)
                 AND received_at > clock_timestamp() - interval '1 hour' LIMIT $4) r)::float8 AS recent,
            coalesce(sum(size), 0)::float8 AS total,
            coalesce(sum(size) FILTER (WHERE (pod, namespace, service_account) = ($1, $2, $3)), 0)::float8 AS pod
     FROM quarantine WHERE bytes IS NOT NULL`,
    [pod, namespace, serviceAccount, maxPodBatches],
  );
  const [used] = rows;
  const room =
    used !== undefined &&
    used.total + body.length <= maxBytes &&
    used.pod + body.length <= maxPodBytes;
  const { rowCount } = await client.query(
    `INSERT INTO quarantine (stream, after_seq, bytes, size, sha256, reason, pod, namespace, service_account)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
    [
      stream ?? null,
      afterSeq,
      room ? body : null,
      body.length,
      sha256,
      reason,
      pod,
      namespace,
      serviceAccount,
    ],
  );
  if (rowCount !== 1) return undefined;
  if (used === undefined || used.recent >= maxPodBatches) throw new TooMuchAside();
  return sha256;
}
