import { request } from 'node:https';
import { figureOf, type Figure, type Measured } from '../rounds.ts';
import { buildBatches, send, sendLongSession, type Traffic } from './load.ts';
import { pods, startStore, type StoreSetting } from './store.ts';

export interface CollectorEffort {
  readonly seconds: number;
  readonly quick: boolean;
  readonly wanted: (group: string) => boolean;
  readonly say: (line: string) => void;
}

const goalRate = 15_000;
const sessions = 1_000_000;
const goalMs = 150;
const reads = 11;

/** What a collector takes in, and how fast it answers with much in its store. */
export async function* collector(effort: CollectorEffort): AsyncGenerator<Measured> {
  if (effort.wanted('drivers')) yield* ingest(effort, 'drivers');
  if (effort.wanted('simple')) yield* ingest(effort, 'simple');
  if (effort.wanted('answers')) yield* answers(effort);
}

async function* ingest(effort: CollectorEffort, traffic: Traffic): AsyncGenerator<Measured> {
  const { say, seconds } = effort;
  const total = Math.ceil(seconds * goalRate * 2.2);
  say(`building ${total} records`);
  const streams = new Map<string, Awaited<ReturnType<typeof buildBatches>>>();
  for (const pod of pods)
    streams.set(pod, await buildBatches(pod, Math.ceil(total / pods.length), traffic));
  await using setting = await startStore({ say, retentionSeconds: seconds + 10 });
  say(`sending for ${seconds} s`);
  const before = await partitions(setting);
  const { rate, records, seconds: taken } = await send(setting, streams, seconds);
  await checkStored(setting, records);
  const dropped = before - (await partitions(setting));
  say(`${records} records in ${taken.toFixed(1)} s, ${dropped} partitions dropped meanwhile`);
  const what = traffic === 'drivers' ? 'traffic of drivers' : 'every text distinct';
  yield {
    measure: `ingest, ${what}, 1 KB payloads, ${Math.round(taken)} s`,
    unit: 'records/s',
    figures: { chaperone: single(rate) },
    ...(traffic === 'drivers' ? { goal: { kind: 'least', least: goalRate } as const } : {}),
  };
}

async function partitions({ db }: StoreSetting): Promise<number> {
  const { rows } = await db.query<{ count: string }>('SELECT count(*) FROM partitions');
  return Number(rows[0]?.count);
}

/** Everything that was acknowledged is there, and nothing of it was found out of order. */
async function checkStored({ db }: StoreSetting, records: number): Promise<void> {
  const { rows } = await db.query<{ stored: string; found: string }>(
    `SELECT (SELECT count(*) FROM records r JOIN streams s USING (stream) WHERE s.pod <> 'old') AS stored,
            (SELECT count(*) FROM findings WHERE kind NOT IN ('stream-unfinished', 'clock-skew')) AS found`,
  );
  if (Number(rows[0]?.stored) !== records || rows[0]?.found !== '0')
    throw new Error(`sent ${records}, found ${JSON.stringify(rows[0])}`);
}

async function* answers({ say, quick }: CollectorEffort): AsyncGenerator<Measured> {
  await using setting = await startStore({ say, retentionSeconds: 10 });
  const count = quick ? sessions / 10 : sessions;
  say(`filling the store with ${count} sessions`);
  await fill(setting, count);
  const [pod = ''] = pods;
  const batches = await buildBatches(pod, 100_000, 'drivers');
  await send(setting, new Map([[pod, batches]]), 600);
  const session = await sendLongSession(setting, 10_001);
  await setting.db.query('VACUUM ANALYZE');
  const asked: [measure: string, path: string][] = [
    ['the newest 100 sessions', '/v1/sessions?limit=100'],
    ['sessions of a principal', '/v1/sessions?limit=100&who=user77%40example.com'],
    ['sessions with a text that few used', '/v1/sessions?limit=100&text=products_4242%20WHERE'],
    ['sessions with a text that most used', '/v1/sessions?limit=100&text=order%20by%20price'],
    ['sessions with a text that nobody used', '/v1/sessions?limit=100&text=no%20such%20table'],
    ['a session of 10 000 records', `/v1/sessions/${session}/frames`],
  ];
  for (const [measure, path] of asked) {
    const times: number[] = [];
    for (let round = 0; round < reads; round += 1) times.push(await getMs(setting, path));
    yield {
      measure: `${measure}, of ${count}`,
      unit: 'ms',
      figures: { chaperone: figureOf(times) },
      goal: { kind: 'limit', most: goalMs },
    };
  }
}

async function fill({ db }: StoreSetting, count: number): Promise<void> {
  await db.query(`INSERT INTO streams (stream, pod, namespace, service_account, acked_seq) SELECT md5('s' || n)::uuid, 'p' || n, 'ns', 'sa', 1 FROM generate_series(0, 999) n`); // prettier-ignore
  await db.query(
    `INSERT INTO sessions (stream, id, protocol, backend, database, principal, started_at, ended_at, end_reason, requests, last_seq)
     SELECT md5('s' || n % 1000)::uuid, md5('i' || n)::uuid, 'Postgres', 'shop', 'shop', 'user' || n % 1000 || '@example.com',
            now() - n * interval '2 seconds', now(), 'agent-closed', 10, 1 FROM generate_series(1, $1::int) n`,
    [count],
  );
  const period = '(SELECT low FROM partitions ORDER BY high DESC LIMIT 1)';
  await db.query(`INSERT INTO texts SELECT ${period}, md5('t' || n)::uuid, 'SELECT id, name FROM products_' || n || ' WHERE id = $1 ORDER BY price' FROM generate_series(0, 9999) n`); // prettier-ignore
  await db.query(`INSERT INTO statements SELECT ${period}, md5('t' || hashtext(id::text) & 8191)::uuid, started_at, id, stream FROM sessions`.replace("'t' || hashtext(id::text) & 8191", "'t' || (hashtext(id::text) & 8191)")); // prettier-ignore
}

function getMs({ url, ca, readToken }: StoreSetting, path: string): Promise<number> {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${readToken}` };
    const outgoing = request(new URL(path, url), { ca, headers }, (response) => {
      response.on('error', reject);
      response.on('data', () => undefined);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(performance.now() - began);
        else reject(new Error(`the collector answers ${response.statusCode}`));
      });
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

const single = (value: number): Figure => ({ median: value, min: value, max: value });
