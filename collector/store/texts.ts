import type { PoolClient } from 'pg';
import type { StatementText } from './summary.ts';

export interface TextPlace {
  readonly stream: string;
  readonly period: string;
  /** When each session began: those that are not in it are found by no search. */
  readonly startedAt: ReadonlyMap<string, string>;
}

/** A text of a period, by its id. */
export interface Text {
  readonly period: string;
  readonly id: string;
  readonly text: string;
}

/**
 * Makes texts findable: each once a period, and once for each session that used it. Sorted, so that transactions that
 * meet at the same texts wait for each other in one order. Returns those that are new in the period.
 */
export async function addTexts(
  client: PoolClient,
  { stream, period, startedAt }: TextPlace,
  statements: readonly StatementText[],
): Promise<Text[]> {
  const texts = new Map<string, string>();
  const uses = new Map<string, { text: string; session: string; at: string }>();
  for (const { session, text, id } of statements) {
    const at = session === undefined ? undefined : startedAt.get(session);
    if (session === undefined || at === undefined) continue;
    texts.set(id, text);
    uses.set(`${id} ${session}`, { text: id, session, at });
  }
  if (uses.size === 0) return [];
  const sorted = [...texts.keys()].sort();
  const added = await client.query<{ id: string }>({
    name: 'add-texts',
    text: `INSERT INTO texts (period, id, text) SELECT $1, id, text FROM unnest($2::uuid[], $3::text[]) AS new (id, text)
           ON CONFLICT DO NOTHING RETURNING id`,
    values: [period, sorted, sorted.map((id) => texts.get(id))],
  });
  const rows = [...uses.keys()].sort().map((key) => uses.get(key));
  await client.query({
    name: 'add-statements',
    text: `INSERT INTO statements (period, text, started_at, session, stream)
           SELECT $1, text, at, session, $2 FROM unnest($3::uuid[], $4::timestamptz[], $5::uuid[]) AS new (text, at, session)
           ON CONFLICT DO NOTHING`,
    values: [
      period,
      stream,
      rows.map((row) => row?.text),
      rows.map((row) => row?.at),
      rows.map((row) => row?.session),
    ],
  });
  return added.rows.map(({ id }) => ({ period, id, text: texts.get(id) ?? '' }));
}
