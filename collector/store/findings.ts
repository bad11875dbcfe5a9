import type { PoolClient } from 'pg';

/** What a collector finds out of order; `docs/findings.md` explains each. */
export const findingKinds = [
  'gap',
  'break',
  'quarantine',
  'stream-unfinished',
  'clock-skew',
  'no-key',
  'ledger-changed',
] as const;

export type FindingKind = (typeof findingKinds)[number];

export interface Finding {
  readonly kind: FindingKind;
  readonly stream: string | undefined;
  readonly session?: string | undefined;
  /** Seqs of records, or numbers of lines for `ledger-changed`. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  /** Words and numbers of ours: never content. */
  readonly detail: string;
}

/** Puts findings on record, and returns those that are new. */
export async function recordFindings(
  client: Pick<PoolClient, 'query'>,
  findings: readonly Finding[],
): Promise<Finding[]> {
  const fresh: Finding[] = [];
  for (const finding of findings) {
    const { kind, stream, session, from, to, detail } = finding;
    const { rowCount } = await client.query(
      `INSERT INTO findings (kind, stream, session, from_seq, to_seq, detail) VALUES ($1, $2, $3, $4, $5, $6)
       ON CONFLICT DO NOTHING`,
      [kind, stream ?? null, session ?? null, from ?? null, to ?? null, detail],
    );
    if (rowCount === 1) fresh.push(finding);
  }
  return fresh;
}

/** Says of streams that were found unfinished that they are not any more. */
export async function resolveUnfinished(client: PoolClient, stream: string): Promise<void> {
  await client.query(
    `UPDATE findings SET resolved_at = clock_timestamp()
     WHERE stream = $1 AND kind = 'stream-unfinished' AND resolved_at IS NULL`,
    [stream],
  );
}

/** A successor was named: the pod's earlier stream is finished, whatever it left. */
export async function finishPredecessor(
  client: PoolClient,
  stream: string,
  previous: string,
): Promise<void> {
  const { rowCount } = await client.query(
    `SELECT 1 FROM streams earlier JOIN streams later USING (pod, namespace, service_account)
     WHERE earlier.stream = $1 AND later.stream = $2`,
    [previous, stream],
  );
  if (rowCount === 1) await resolveUnfinished(client, previous);
}

/**
 * Resolves what was found of streams that have an end or a successor by now: one that was being committed while another
 * collector looked is seen by neither. Replicas that do it at once pass over each other's.
 */
export async function resolveFinished(client: PoolClient): Promise<void> {
  await client.query(
    `UPDATE findings SET resolved_at = clock_timestamp()
     WHERE id IN (
       SELECT f.id FROM findings f JOIN streams s USING (stream)
       WHERE f.kind = 'stream-unfinished' AND f.resolved_at IS NULL AND (s.ended OR ${hasSuccessor})
       ORDER BY f.id LIMIT 1000 FOR UPDATE OF f SKIP LOCKED)`,
  );
}

/** Of a stream `s`. */
const hasSuccessor = `EXISTS (
  SELECT FROM streams later WHERE later.previous_stream = s.stream AND later.pod = s.pod
    AND later.namespace = s.namespace AND later.service_account = s.service_account)`;

/**
 * Finds streams that have fallen silent with neither an end nor a successor. Replicas that look at once find each one once.
 */
export async function findUnfinished(
  client: PoolClient,
  silentSeconds: number,
): Promise<Finding[]> {
  const { rows } = await client.query<{ stream: string; acked_seq: number }>(
    `UPDATE streams SET silent = true
     WHERE stream IN (
       SELECT s.stream FROM streams s
       WHERE NOT s.ended AND NOT s.silent AND s.last_received_at < clock_timestamp() - make_interval(secs => $1)
         AND NOT ${hasSuccessor}
       ORDER BY s.stream LIMIT 1000 FOR UPDATE SKIP LOCKED)
     RETURNING stream, acked_seq::float8`,
    [silentSeconds],
  );
  return recordFindings(
    client,
    rows.map(({ stream, acked_seq: last }) => ({
      kind: 'stream-unfinished',
      stream,
      from: last,
      detail: `nothing came after record ${last}: no end, and no stream that follows it`,
    })),
  );
}
