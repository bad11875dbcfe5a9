import type { PoolClient } from 'pg';
import type { SessionDelta } from './summary.ts';

/** Adds what a batch says of its sessions, in one statement. Returns when each began, as PostgreSQL writes it. */
export async function mergeSessions(
  client: PoolClient,
  stream: string,
  sessions: readonly SessionDelta[],
): Promise<ReadonlyMap<string, string>> {
  if (sessions.length === 0) return new Map();
  const { rows } = await client.query<{ id: string; started_at: string | null }>({
    name: 'merge-sessions',
    text: `INSERT INTO sessions AS s (stream, id, protocol, backend, database, principal, groups, attachment, started_at, ended_at,
                                end_reason, requests, denied, errors, rows, last_seq)
     SELECT $1, id, protocol, backend, database, principal,
            CASE WHEN groups IS NULL THEN NULL ELSE ARRAY(SELECT json_array_elements_text(groups)) END,
            attachment, "startedAt", "endedAt", "endReason", requests, denied, errors, rows, "lastSeq"
     FROM json_to_recordset($2::json) AS batch (
       id uuid, protocol text, backend text, database text, principal text, groups json, attachment text,
       "startedAt" timestamptz, "endedAt" timestamptz, "endReason" text,
       requests bigint, denied bigint, errors bigint, rows bigint, "lastSeq" bigint)
     ON CONFLICT (stream, id) DO UPDATE SET
       protocol = coalesce(s.protocol, excluded.protocol),
       backend = coalesce(s.backend, excluded.backend),
       database = coalesce(s.database, excluded.database),
       principal = coalesce(s.principal, excluded.principal),
       groups = coalesce(s.groups, excluded.groups),
       attachment = coalesce(s.attachment, excluded.attachment),
       started_at = coalesce(s.started_at, excluded.started_at),
       ended_at = coalesce(s.ended_at, excluded.ended_at),
       end_reason = coalesce(s.end_reason, excluded.end_reason),
       requests = s.requests + excluded.requests,
       denied = s.denied + excluded.denied,
       errors = s.errors + excluded.errors,
       rows = s.rows + excluded.rows,
       last_seq = excluded.last_seq
     RETURNING id, started_at::text`,
    values: [stream, JSON.stringify(sessions)],
  });
  return new Map(
    rows.flatMap(({ id, started_at: startedAt }) =>
      startedAt === null ? [] : [[id, startedAt] as const],
    ),
  );
}
