import { isSql } from '#core/postgres/request.ts';
import { transcribe } from '#core/postgres/transcript.ts';
import type { RecordedPrincipal, RecordedVerdict } from '#core/record/kinds.ts';
import type { SessionSummary } from '#core/session-summary.ts';
import type { CollectorClient, SessionPage } from './collector-client.ts';

/** A request as it was recorded. */
export interface RecordedRequest {
  readonly session: string;
  readonly seq: number;
  /** RFC 3339. */
  readonly time: string;
  readonly principal: RecordedPrincipal;
  readonly backend: string;
  /** As the agent named it at its login. */
  readonly database: string | undefined;
  /** Undefined where it was not recorded, or was erased. */
  readonly text: string | undefined;
  readonly verdict: RecordedVerdict;
  readonly protocol: string | null;
  readonly namespace: string;
}

/** What keeps a recorded request from being judged again, or its text. */
export function textOf({
  text,
  protocol,
  verdict,
}: RecordedRequest): { readonly text: string } | { readonly why: 'noText' | 'noSql' | 'limited' } {
  if (verdict.reason === 'limit') return { why: 'limited' };
  if (protocol === 'TCP') return { text: '' };
  if (text === undefined) return { why: 'noText' };
  return isSql(text) ? { text } : { why: 'noSql' };
}

/** Which requests are wanted; of times the sessions' beginning counts. */
export interface RequestFilter {
  /** RFC 3339. */
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly session?: string | undefined;
  readonly who?: string | undefined;
  readonly backend?: string | undefined;
}

/** Yields what was recorded, session by session; no more than one request is held at a time. */
export async function* recordedRequests(
  client: CollectorClient,
  { since, until, session: only, who, backend }: RequestFilter,
): AsyncGenerator<RecordedRequest> {
  if (only !== undefined) {
    yield* requestsOf(client, await client.session(only));
    return;
  }
  const untilMs = until === undefined ? Infinity : Date.parse(until);
  const query = { since, who, backend, limit: '1000' };
  for await (const { sessions } of client.pages<SessionPage>('/v1/sessions', query)) {
    for (const session of sessions) {
      if (Date.parse(session.startedAt) < untilMs) yield* requestsOf(client, session);
    }
  }
}

/** Yields the requests of one session. */
export async function* requestsOf(
  client: CollectorClient,
  session: SessionSummary,
): AsyncGenerator<RecordedRequest> {
  const { id, database, protocol, namespace } = session;
  let principal: RecordedPrincipal | undefined;
  let backend = '';
  for await (const line of transcribe(client.frames(id))) {
    if (line.kind === 'session') ({ principal, backend } = line);
    if (line.kind !== 'request' || !principal) continue;
    const { seq, time, text, verdict } = line;
    const of = { session: id, principal, backend, database: database ?? undefined };
    yield { ...of, seq, time, text, verdict, protocol, namespace };
  }
}
