import assert from 'node:assert/strict';
import { Client } from 'pg';
import type { SteadyAgent } from './steady-agent.ts';
import { until } from './until.ts';

/** Where the truth about statements is, as URLs of PostgreSQL: what the database ran, and what is on record. */
export interface Places {
  readonly database: string;
  readonly store: string;
}

/** A statement on record. */
interface Recorded {
  readonly mark: number;
  /** How many requests are on record. */
  readonly times: number;
  /** Status of each result. */
  readonly statuses: readonly string[];
}

const recordedQuery = `
  WITH facts AS (
    SELECT stream, seq, payload, h ->> 'kind' AS kind, h ->> 'status' AS status, (h ->> 'request')::bigint AS request
    FROM (SELECT stream, seq, payload, convert_from(header, 'UTF8')::json AS h
          FROM records JOIN streams USING (stream) WHERE pod = $1 OFFSET 0) AS r),
  requests AS (
    SELECT stream, seq AS request, substring(encode(payload, 'escape') FROM 'mark_[a-z0-9-]+_([0-9]+)_')::int AS mark
    FROM facts WHERE kind = 'request')
  SELECT mark, count(DISTINCT (stream, request))::int AS times, array_remove(array_agg(status), NULL) AS statuses
  FROM requests LEFT JOIN (SELECT stream, request, status FROM facts WHERE kind = 'result') AS results USING (stream, request)
  WHERE mark IS NOT NULL GROUP BY mark`;

const sessionsQuery = `
  SELECT substring(encode(payload, 'escape') FROM '"application_name": ?"[a-z0-9-]+_([0-9]+)"')::int AS connection, end_reason AS reason
  FROM records JOIN streams USING (stream) JOIN sessions ON sessions.id = records.session
  WHERE streams.pod = $1 AND end_reason IS NOT NULL AND convert_from(header, 'UTF8')::json ->> 'kind' = 'session.start'`;

/** Of all records, whoever wrote them. */
const flaws = {
  'stored twice':
    'SELECT stream, seq FROM records GROUP BY stream, seq HAVING count(*) > 1',
  'set aside': 'SELECT stream, after_seq, reason FROM quarantine',
  'not stored from 1 to what was acknowledged': `
    SELECT stream, acked_seq, n, first, last FROM streams JOIN (
      SELECT stream, count(*) AS n, min(seq) AS first, max(seq) AS last FROM records GROUP BY stream) AS r USING (stream)
    WHERE first <> 1 OR n <> last OR last <> acked_seq`,
  'found wrong': 'SELECT kind, stream, detail FROM findings WHERE resolved_at IS NULL',
} as const; // prettier-ignore

/** What an agent's statements came to. */
export interface Account {
  readonly answered: number;
  readonly recorded: number;
  readonly lost: number;
  /** Of those lost, how many the database ran. */
  readonly lostAndRun: number;
  /** Sessions that ended with their sidecar. */
  readonly killed: number;
}

/**
 * Holds what an agent was answered, what its database ran and what is on record against each other, statement by
 * statement and connection by connection. Waits until the collector has all of it.
 */
export async function audit(places: Places, agent: SteadyAgent): Promise<Account> {
  const { name } = agent;
  const answered = new Set(agent.read().answered);
  const lost = new Set(agent.lost.keys());
  const [broken, closed] = [new Set(agent.broken), new Set(agent.closed)];
  assert.deepEqual([...agent.failed], [], `${name}: refused by Chaperone or the database`);
  const ran = await marksRun(places.database, name);
  assert.deepEqual(ran.filter(({ times }) => times !== 1), [], `${name}: run more than once`); // prettier-ignore
  const runMarks = new Set(ran.map(({ mark }) => mark));
  assert.deepEqual([...answered].filter((mark) => !runMarks.has(mark)), [], `${name}: answered, and never run`); // prettier-ignore
  const { recorded, missing } = await settled(places, name, answered, runMarks);
  assert.deepEqual(missing, [], `${name}: answered or run, and not on record`);
  assert.deepEqual(recorded.filter(({ times, statuses }) => times !== 1 || statuses.length > 1), [], `${name}: recorded more than once`); // prettier-ignore
  let killed = 0;
  await withClient(places.store, async (store) => {
    for (const [what, query] of Object.entries(flaws))
      assert.deepEqual((await store.query(query)).rows, [], `records that are ${what}`);
    const reasons = await until('all sessions have their ends', async () => {
      const { rows } = await store.query<{ connection: number; reason: string }>(sessionsQuery, [name]); // prettier-ignore
      const found = new Map(rows.map(({ connection, reason }) => [connection, reason]));
      return [...broken, ...closed].every((id) => found.has(id)) ? found : undefined;
    });
    for (const id of broken) assert.equal(reasons.get(id), 'sidecar-killed', `${name}: ${id}`);
    // One that the agent closes as its sidecar is killed may have either end: no statement is under way on it.
    const late = [...closed].filter((id) => reasons.get(id) !== 'agent-closed');
    const ends = broken.size > 0 ? late.map((id) => reasons.get(id)) : late;
    assert.deepEqual(ends.filter((reason) => reason !== 'sidecar-killed'), [], `${name}: ${late.join()}`); // prettier-ignore
    killed = [...reasons.values()].filter((reason) => reason === 'sidecar-killed').length;
  });
  const ended = recorded.filter(({ mark, statuses }) => answered.has(mark) && statuses[0] !== 'ok');
  assert.deepEqual(ended, [], `${name}: answered, and recorded with another end`);
  const lostAndRun = [...lost].filter((mark) => runMarks.has(mark)).length;
  return {
    answered: answered.size,
    recorded: recorded.length,
    lost: lost.size,
    lostAndRun,
    killed,
  };
}

/** Waits until all that is known is on record with its end, as far as it comes. */
async function settled(
  { store }: Places,
  pod: string,
  answered: ReadonlySet<number>,
  ran: ReadonlySet<number>,
): Promise<{ readonly recorded: readonly Recorded[]; readonly missing: readonly number[] }> {
  let last: { readonly recorded: readonly Recorded[]; readonly missing: readonly number[] } = { recorded: [], missing: [NaN] }; // prettier-ignore
  const wait = until('all of it is on record', async () => {
    const rows = await withClient(store, async (client) => (await client.query<Recorded>(recordedQuery, [pod])).rows).catch(() => undefined); // prettier-ignore
    if (!rows) return false; // the store was killed: that is the test
    const begun = new Set(rows.map(({ mark }) => mark));
    const finished = new Set(rows.filter(({ statuses }) => statuses.length > 0).map(({ mark }) => mark)); // prettier-ignore
    const missing = [...[...answered].filter((mark) => !finished.has(mark)), ...[...ran].filter((mark) => !begun.has(mark))]; // prettier-ignore
    last = { recorded: rows, missing };
    return missing.length === 0;
  }, 90_000); // prettier-ignore
  await wait.catch(() => undefined); // the caller says what is missing
  return last;
}

async function marksRun(
  database: string,
  pod: string,
): Promise<readonly { readonly mark: number; readonly times: number }[]> {
  const query = `SELECT substring(mark FROM '_([0-9]+)_$')::int AS mark, count(*)::int AS times FROM marks WHERE starts_with(mark, $1) GROUP BY 1`; // prettier-ignore
  return withClient(database, async (client) => (await client.query<{ mark: number; times: number }>(query, [`mark_${pod}_`])).rows); // prettier-ignore
}

/** Opens a connection for as long as it is used. */
export async function withClient<T>(url: string, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client(url);
  client.on('error', () => undefined); // the query says so
  try {
    await client.connect();
    return await use(client);
  } finally {
    await client.end().catch(() => undefined); // it is gone already
  }
}
