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

/** What is listed of a session, of `sessions s` joined to `streams t`. */
export const summaryColumns = `
  s.id, s.stream, s.protocol, s.backend, s.database, s.principal AS "user", s.groups, t.pod, t.namespace,
  to_char(s.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "startedAt",
  to_char(s.ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "endedAt",
  s.end_reason AS "endReason",
  s.requests::float8 AS requests, s.denied::float8 AS denied, s.errors::float8 AS errors, s.rows::float8 AS rows`;

const fewTexts = 1_000;

/** Lists sessions, newest first. */
export async function listSessions(
  database: Database,
  filter: SessionFilter,
): Promise<SessionSummary[]> {
  const query = new SessionQuery(filter);
  if (filter.text === undefined) return database.query<SessionSummary>(...query.plain());
  const pattern = `%${filter.text.replaceAll(/[\\%_]/g, String.raw`\$&`)}%`;
  const texts = await database.query<{ id: string }>(
    `SELECT DISTINCT id FROM (SELECT id FROM texts WHERE text ILIKE $1 LIMIT ${2 * fewTexts}) found`,
    [pattern],
  );
  if (texts.length === 0) return [];
  return texts.length <= fewTexts
    ? database.query<SessionSummary>(...query.byTexts(texts.map(({ id }) => id)))
    : database.query<SessionSummary>(...query.bySessions(pattern));
}

/** One query about sessions, as SQL with its values. */
class SessionQuery {
  readonly #values: unknown[] = [];
  readonly #conditions: string;
  readonly #limit: string;

  constructor({ who, backend, since, before, limit }: SessionFilter) {
    const conditions = ['s.started_at IS NOT NULL'];
    if (who !== undefined) conditions.push(`s.principal = ${this.#bind(who)}`);
    if (backend !== undefined) conditions.push(`s.backend = ${this.#bind(backend)}`);
    if (since !== undefined) conditions.push(`s.started_at >= ${this.#bind(since)}::timestamptz`);
    if (before) {
      const { startedAt, id } = before;
      conditions.push(
        `(s.started_at, s.id) < (${this.#bind(startedAt)}::timestamptz, ${this.#bind(id)}::uuid)`,
      );
    }
    this.#conditions = conditions.join(' AND ');
    this.#limit = this.#bind(limit);
  }

  plain(): [string, unknown[]] {
    return [this.#select('sessions s', ''), this.#values];
  }

  /** Few texts match: the newest sessions of each, and of those the newest. */
  byTexts(ids: readonly string[]): [string, unknown[]] {
    const newest = `(
      SELECT DISTINCT s.* FROM unnest(${this.#bind(ids)}::uuid[]) AS wanted (id), LATERAL (
        SELECT s.* FROM statements x JOIN sessions s ON s.stream = x.stream AND s.id = x.session
        WHERE x.text = wanted.id AND ${this.#conditions}
        ORDER BY x.started_at DESC, x.session DESC LIMIT ${this.#limit}) s) s`;
    return [this.#select(newest, ''), this.#values];
  }

  /** Many match, so that most sessions have one: they are gone through from the newest on. */
  bySessions(pattern: string): [string, unknown[]] {
    const uses = `AND EXISTS (
      SELECT FROM texts w JOIN statements x ON w.period = x.period AND w.id = x.text
      WHERE x.session = s.id AND x.stream = s.stream AND w.text ILIKE ${this.#bind(pattern)} OFFSET 0)`;
    return [this.#select('sessions s', uses), this.#values];
  }

  #select(from: string, further: string): string {
    return `SELECT ${summaryColumns} FROM ${from} JOIN streams t USING (stream)
            WHERE ${this.#conditions} ${further} ORDER BY s.started_at DESC, s.id DESC LIMIT ${this.#limit}`;
  }

  #bind(value: unknown): string {
    return `$${this.#values.push(value)}`;
  }
}
