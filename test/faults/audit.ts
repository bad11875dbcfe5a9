import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { Client } from 'pg';
import { verifyAll as verifyStore } from '../../cli/verify-all.ts';
import { verifyAll, type TestInstance } from '../support/instance.ts';
import { metricOf } from '../support/metrics.ts';
import { until } from '../support/until.ts';
import type { Book } from './book.ts';
import { marksIn } from './seen.ts';
import { segmentsIn, type Watch } from './watch.ts';

const maxMemory = 250 * 1024 * 1024;
const settleMs = 300_000;
const chunk = 50_000;

/** What is wrong, in words, with a query for the numbers of what it is wrong with. */
type Finding = readonly [what: string, query: string];

/** Of statements, as their agents know them, as the backend has seen them, and as they are stored. */
const statements: readonly Finding[] = [
  [
    'seen by the backend, and no record that it was allowed',
    `SELECT mark FROM seen s WHERE NOT EXISTS (SELECT FROM requests r WHERE r.mark = s.mark AND action = 'Allow')`,
  ],
  ['seen by the backend more than once', 'SELECT mark FROM seen WHERE times > 1'],
  ['recorded more than once', 'SELECT mark FROM requests GROUP BY mark HAVING count(*) > 1'],
  ['recorded, and sent by nobody', 'SELECT mark FROM requests EXCEPT SELECT mark FROM sent'],
  [
    'denied, or refused as not run, and seen by the backend all the same',
    `SELECT mark, fate FROM sent JOIN seen USING (mark) WHERE fate IN ('denied', 'notRun')`,
  ],
  [
    'answered, and not seen by the backend',
    `SELECT mark, fate FROM sent WHERE fate IN ('answered', 'failed', 'withheld')
     AND NOT EXISTS (SELECT FROM seen WHERE seen.mark = sent.mark)`,
  ],
  [
    'denied, and not recorded as such',
    `SELECT mark FROM sent s WHERE fate = 'denied'
     AND NOT EXISTS (SELECT FROM facts f WHERE f.mark = s.mark AND kind IN ('statement', 'request') AND action = 'Deny')`,
  ],
  [
    'answered, and without its result and number of rows',
    `SELECT mark FROM sent s WHERE fate = 'answered' AND NOT EXISTS (
       SELECT FROM requests r JOIN results USING (stream, request)
       WHERE r.mark = s.mark AND status = 'ok' AND results.rows = s.rows)`,
  ],
  [
    'answered with an error, and without a result that says so',
    `SELECT mark FROM sent s WHERE fate = 'failed' AND NOT EXISTS (
       SELECT FROM requests JOIN results USING (stream, request) WHERE mark = s.mark AND status = 'error')`,
  ],
  [
    'withheld, and with another result than that',
    `SELECT mark, status, results.rows FROM sent JOIN requests USING (mark) LEFT JOIN results USING (stream, request)
     WHERE fate = 'withheld' AND status IS DISTINCT FROM 'incomplete'`,
  ],
];

/** Of records, as they are stored. */
const records: readonly Finding[] = [
  ['set aside because they did not verify', 'SELECT stream, after_seq, reason FROM quarantine'],
  ['stored twice', 'SELECT stream, seq FROM records GROUP BY stream, seq HAVING count(*) > 1'],
  [
    'allowed, and without a result',
    `SELECT stream, request FROM requests WHERE action = 'Allow' EXCEPT SELECT stream, request FROM results`,
  ],
  [
    'with more than one result',
    'SELECT stream, request FROM results GROUP BY stream, request HAVING count(*) > 1',
  ],
  [
    'streams that are not stored from 1 to what was acknowledged, without a gap',
    `SELECT stream, acked_seq, n, first, last FROM streams FULL JOIN (
       SELECT stream, count(*) AS n, min(seq) AS first, max(seq) AS last FROM records GROUP BY stream) AS r USING (stream)
     WHERE acked_seq IS DISTINCT FROM last OR first IS DISTINCT FROM 1 OR n IS DISTINCT FROM last`,
  ],
  [
    'streams that were acknowledged further once',
    `SELECT stream, seq FROM acknowledged a WHERE NOT EXISTS (
       SELECT FROM streams s WHERE s.stream = a.stream AND s.acked_seq >= a.seq)`,
  ],
  ['gaps that a sidecar knows of', `SELECT stream, seq FROM facts WHERE kind = 'gap'`],
  [
    'found wrong by the collector',
    `SELECT kind, stream, detail FROM findings WHERE kind NOT IN ('clock-skew', 'stream-unfinished')`,
  ],
  [
    'streams that are over, and have no end',
    'SELECT stream, acked_seq FROM streams WHERE NOT ended ORDER BY stream DESC OFFSET 1',
  ],
];

/** What an audit has counted, none of which is an error. */
export interface Counts {
  readonly sent: number;
  readonly answered: number;
  readonly seen: number;
  readonly records: number;
  readonly requests: number;
  readonly streams: number;
  readonly unknown: number;
  readonly peakMegabytes: { readonly sidecar: number; readonly collector: number };
}

/**
 * Compares what agents have sent, what the backend has seen and what is stored, to the last statement, and verifies every
 * session. Nothing may be running any more.
 */
export async function audit(instance: TestInstance, book: Book, watch: Watch): Promise<Counts> {
  await untilShipped(instance);
  await watch.stop();
  const counts = await gather({ instance, book, watch });
  assert.deepEqual([...watch.receded], [], 'the collector took an acknowledgement back');
  const { sidecar, collector } = watch.peak;
  assert.ok(sidecar > 0 && collector > 0, 'memory was not measured');
  assert.ok(sidecar <= maxMemory, `the sidecar had ${megabytes(sidecar)} MB`);
  assert.ok(collector <= maxMemory, `the collector had ${megabytes(collector)} MB`);
  await verify(instance);
  return {
    ...counts,
    peakMegabytes: { sidecar: megabytes(sidecar), collector: megabytes(collector) },
  };
}

/** Verifies every session, every stream, the ledger and its copy outside the store. */
async function verify(instance: TestInstance): Promise<void> {
  const verdicts = await verifyAll(instance);
  assert.deepEqual(
    verdicts.filter((verdict) => verdict.startsWith('broken')),
    [],
  );
  const lines: string[] = [];
  const given = { keys: [], ledgerFile: undefined };
  const code = await verifyStore(instance.instance, given, (line) => lines.push(line));
  assert.notEqual(code, 1, lines.join('\n'));
}

/** Waits until the spool has nothing but what the running sidecar goes on writing, and the collector has all of it. */
async function untilShipped(instance: TestInstance): Promise<void> {
  const { spoolDir } = instance.instance.sidecar;
  await until(
    'everything is shipped',
    async () => {
      const [stream, ...more] = segmentsIn(spoolDir).keys();
      if (stream === undefined || more.length > 0) return false;
      const written = await metricOf(instance, 'chaperone_records_written_total');
      const { ackedSeq } = await instance
        .collector()
        .json<{ ackedSeq: number }>(`/v1/streams/${stream}`)
        .catch(() => ({ ackedSeq: 0 })); // not stored yet
      return ackedSeq >= written;
    },
    settleMs,
  );
}

interface Sources {
  readonly instance: TestInstance;
  readonly book: Book;
  readonly watch: Watch;
}

async function gather(sources: Sources): Promise<Omit<Counts, 'peakMegabytes'>> {
  const store = await sources.instance.storeClient();
  try {
    return await compare(store, sources);
  } finally {
    await store.end();
  }
}

async function compare(
  store: Client,
  { instance, book, watch }: Sources,
): Promise<Omit<Counts, 'peakMegabytes'>> {
  await store.query(`SET work_mem = '256MB'`);
  await store.query('BEGIN ISOLATION LEVEL REPEATABLE READ'); // a sidecar that is idle writes checkpoints
  await tellSeen(store, join(instance.data, 'log/backend.log'));
  await tellSent(store, book);
  await store.query(
    'CREATE TEMP TABLE acknowledged AS SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS a (stream, seq)',
    [[...watch.acknowledged.keys()], [...watch.acknowledged.values()]],
  );
  await store.query(`
    CREATE TEMP TABLE facts AS
    SELECT stream, seq, h ->> 'kind' AS kind, (h ->> 'request')::bigint AS request, h -> 'verdict' ->> 'action' AS action,
      h ->> 'status' AS status, (h ->> 'db.response.returned_rows')::bigint AS rows,
      CASE WHEN h ->> 'kind' IN ('statement', 'request')
           THEN substring(encode(payload, 'escape') FROM '(?:mark|text)_(\\d+)_')::int END AS mark
    FROM (SELECT stream, seq, payload, convert_from(header, 'UTF8')::json AS h FROM records OFFSET 0) AS r;
    CREATE TEMP TABLE requests AS SELECT stream, seq AS request, action, mark FROM facts WHERE kind = 'request';
    CREATE TEMP TABLE results AS
    SELECT f.stream, f.request, status, rows FROM facts f JOIN requests USING (stream, request) WHERE kind = 'result';
    ANALYZE seen; ANALYZE sent; ANALYZE facts; ANALYZE requests; ANALYZE results`);
  for (const [what, query] of [...records, ...statements]) {
    const { rows } = await store.query(query);
    assert.deepEqual(rows.slice(0, 5), [], `${rows.length} of ${book.sent} are ${what}`);
  }
  const count = async (what: string): Promise<number> => {
    const { rows } = await store.query<{ count: string }>(`SELECT count(*) FROM ${what}`);
    return Number(rows[0]?.count);
  };
  return {
    sent: book.sent,
    answered: book.count('answered'),
    seen: await count('seen'),
    records: await count('facts'),
    requests: await count('requests'),
    streams: await count('streams'),
    unknown: await count(`results WHERE status = 'unknown'`),
  };
}

async function tellSeen(store: Client, log: string): Promise<void> {
  await store.query('CREATE TEMP TABLE seen (mark int PRIMARY KEY, times int)');
  const times = new Map<number, number>();
  for await (const { mark, begun } of marksIn(log))
    times.set(mark, (times.get(mark) ?? 0) + Number(begun));
  const marks = [...times.keys()];
  for (let from = 0; from < marks.length; from += chunk) {
    const some = marks.slice(from, from + chunk);
    await store.query('INSERT INTO seen SELECT * FROM unnest($1::int[], $2::int[])', [
      some,
      some.map((mark) => times.get(mark)),
    ]);
  }
}

async function tellSent(store: Client, book: Book): Promise<void> {
  await store.query('CREATE TEMP TABLE sent (mark int PRIMARY KEY, fate text, rows int)');
  const entries = [...book.entries()];
  for (let from = 0; from < entries.length; from += chunk) {
    const some = entries.slice(from, from + chunk);
    await store.query('INSERT INTO sent SELECT * FROM unnest($1::int[], $2::text[], $3::int[])', [
      some.map(({ mark }) => mark),
      some.map(({ fate }) => fate),
      some.map(({ rows }) => rows),
    ]);
  }
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1024 ** 2);
}
