import type { Frame } from '#core/record/frame.ts';
import { parseParse } from '#core/postgres/frontend.ts';
import type { ReceivedRecord } from '../batch.ts';
import { TextIds } from './text-ids.ts';

/** What a batch adds to one session. */
export interface SessionDelta {
  readonly id: string;
  protocol?: string;
  backend?: string;
  database?: string;
  principal?: string;
  groups?: readonly string[];
  /** How its pod came to have the sidecar. */
  attachment?: string;
  startedAt?: string;
  endedAt?: string;
  endReason?: string;
  requests: number;
  denied: number;
  errors: number;
  rows: number;
  /** Of its last record. */
  lastSeq: number;
}

/** Text that can be searched for. */
export interface StatementText {
  readonly session: string | undefined;
  /** Of its record. */
  readonly seq: number;
  readonly text: string;
  /** What stands for it. */
  readonly id: string;
}

/** Derives from records what lists and searches need; the records stay the truth. */
export function summarize(records: readonly ReceivedRecord[]): {
  sessions: SessionDelta[];
  statements: StatementText[];
} {
  const sessions = new Map<string, SessionDelta>();
  const statements: StatementText[] = [];
  const ids = new TextIds();
  for (const { frame } of records) {
    const { session, seq } = frame.header;
    const text = statementText(frame);
    if (text !== undefined) statements.push({ session, seq, text, id: ids.of(text) });
    if (session === undefined) continue;
    const summary = sessions.get(session) ?? {
      id: session,
      requests: 0,
      denied: 0,
      errors: 0,
      rows: 0,
      lastSeq: seq,
    };
    summary.lastSeq = seq;
    sessions.set(session, summary);
    add(summary, frame);
  }
  return { sessions: [...sessions.values()], statements };
}

function add(summary: SessionDelta, { header, payload }: Frame): void {
  switch (header.kind) {
    case 'session.start': {
      const database = databaseOf(payload);
      const attachment: unknown = Reflect.get(header, 'attachment');
      Object.assign(summary, {
        protocol: searchable(header.protocol),
        backend: searchable(header.backend),
        principal: searchable(header.principal?.user),
        groups: groupsOf(header.principal?.groups),
        startedAt: header.time,
        ...(database === undefined ? {} : { database }),
        ...(attachment === undefined ? {} : { attachment: searchable(attachment) }),
      });
      break;
    }
    case 'session.end':
      Object.assign(summary, { endedAt: header.time, endReason: searchable(header.reason) });
      break;
    case 'statement':
    case 'request':
      if (header.kind === 'request') summary.requests += 1;
      if (header.verdict?.action === 'Deny') summary.denied += 1;
      break;
    case 'result':
      if (header.status === 'error') summary.errors += 1;
      summary.rows += clamped(header['db.response.returned_rows']);
      break;
    default:
      break; // parts and the stream's own records say nothing about a session as a whole
  }
}

// Headers come from a sidecar that may be hostile: the chain holds for them as they are, the derived columns stay sane.
const maxCount = 1e12; // sums of these fit whatever a stream can hold

/** A count that every sum can take; 0 for what is none. */
export function clamped(value: unknown): number {
  return typeof value === 'number' && value >= 0 && value <= maxCount ? Math.floor(value) : 0;
}

/** PostgreSQL's text takes no NUL, and no half of a surrogate pair, which a cut may leave as well. */
export function searchable(value: unknown): string {
  return typeof value === 'string' ? value.replaceAll('\0', '').slice(0, 1_024).toWellFormed() : '';
}

function groupsOf(value: unknown): string[] | undefined {
  return Array.isArray(value) ? value.map(searchable) : undefined;
}

function databaseOf(payload: Buffer): string | undefined {
  if (payload.length === 0) return undefined;
  try {
    const login: unknown = JSON.parse(payload.toString('utf8'));
    if (typeof login !== 'object' || login === null) return undefined;
    const database: unknown = Reflect.get(login, 'database') ?? Reflect.get(login, 'user');
    return typeof database === 'string' ? searchable(database) : undefined;
  } catch {
    return undefined; // a payload that is not JSON names no database
  }
}

/** The text that a record gives, if it gives one. */
export function statementText({ header, payload }: Frame): string | undefined {
  if ((header.kind !== 'statement' && header.kind !== 'request') || payload.length === 0)
    return undefined;
  if (header.payloadType === 'postgres.query') return plain(payload);
  if (header.payloadType !== 'postgres.parse') return undefined;
  try {
    return plain(parseParse(payload).query);
  } catch {
    return plain(payload.subarray(payload.indexOf(0) + 1)); // longer than one record: the rest is in parts
  }
}

function plain(bytes: Buffer): string {
  return bytes.toString('utf8').replaceAll('\0', '');
}
