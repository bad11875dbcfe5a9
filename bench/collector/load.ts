import { randomBytes, randomUUID } from 'node:crypto';
import { Agent, request } from 'node:https';
import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';
import { podIdentity } from '../../test/support/collectors.ts';
import { StreamAuthor } from '../../test/support/stream-author.ts';
import { pods, type StoreSetting } from './store.ts';

/** What agents do: drivers name a text once a session, `simple` sends a new text with each request. */
export type Traffic = 'drivers' | 'simple';

export interface Batch {
  readonly body: Buffer;
  readonly records: number;
  readonly lastSeq: number;
}

const batchBytes = 2 * 1024 * 1024; // as sidecars send them
const compress = promisify(zstdCompress);
const usualOperations = 50;
const verdict = { action: 'Allow', wouldBe: 'Allow', reason: 'default-action', policy: 'ClusterAuditPolicy/default', revision: 'f'.repeat(16) }; // prettier-ignore

// Half of it compresses, as rows and parameters of an application do.
const pool = Buffer.from(randomBytes(512 * 1024).toString('hex'));
const kilobyte = (): Buffer => {
  const at = Math.floor(Math.random() * (pool.length - 1_024));
  return pool.subarray(at, at + 1_024);
};

/** Builds a pod's stream as batches, signed and compressed, before any clock starts. */
export async function buildBatches(
  pod: string,
  records: number,
  traffic: Traffic,
): Promise<Batch[]> {
  const author = new StreamAuthor({ identity: podIdentity(pod) });
  const batches: Batch[] = [];
  let frames: Buffer[] = [author.start()];
  let bytes = 0;
  const close = async (): Promise<void> => {
    const params = { [constants.ZSTD_c_compressionLevel]: 1 };
    const body = await compress(Buffer.concat(frames), { params });
    batches.push({ body, records: frames.length, lastSeq: author.seq });
    frames = [];
    bytes = 0;
  };
  for (let checkpointAt = 1_000; author.seq < records;) {
    for (const frame of sessionOf(author, traffic)) {
      frames.push(frame);
      bytes += frame.length;
    }
    if (author.seq >= checkpointAt) {
      frames.push(author.checkpoint());
      checkpointAt = author.seq + 1_000;
    }
    if (bytes >= batchBytes) await close();
  }
  if (frames.length > 0) await close();
  return batches;
}

function* sessionOf(
  author: StreamAuthor,
  traffic: Traffic,
  { session = randomUUID(), operations = usualOperations } = {},
): Generator<Buffer> {
  const table = Math.floor(Math.random() * 500);
  const user = `user${table % 100}@example.com`;
  yield author.record({ kind: 'session.start', session, protocol: 'Postgres', backend: 'shop', revision: 'r', principal: { kind: 'token', user }, payloadType: 'json' }, JSON.stringify({ user, database: 'shop' })); // prettier-ignore
  const text = `SELECT id, name, price, stock FROM products_${table} WHERE id = $1 AND region = $2 ORDER BY price LIMIT 10`;
  const statement = author.seq + 1;
  if (traffic === 'drivers') {
    const parse = `statement\0${text}\0\0\0`;
    yield author.record(
      { kind: 'statement', session, verdict, payloadType: 'postgres.parse' },
      parse,
    );
  }
  for (let index = 0; index < operations; index += 1) {
    const distinct = `${text.replace('$1', String(author.seq)).replace('$2', `'${randomUUID()}'`)}`;
    yield traffic === 'drivers'
      ? author.record({ kind: 'request', session, verdict, statement, payloadType: 'postgres.bind' }, kilobyte())
      : author.record({ kind: 'request', session, verdict, payloadType: 'postgres.query' }, distinct); // prettier-ignore
    yield author.record({ kind: 'result', session, request: author.seq, status: 'ok', 'db.response.returned_rows': 10, bytesUp: 1_024, bytesDown: 1_024, durationUs: 900, payloadType: 'postgres.messages' }, kilobyte()); // prettier-ignore
  }
  yield author.record({ kind: 'session.end', session, reason: 'agent-closed', count: 2 * operations + 3 }); // prettier-ignore
}

/** Sends streams side by side, each in order, until they end or the time is up. Returns records a second. */
export async function send(
  setting: StoreSetting,
  streams: ReadonlyMap<string, readonly Batch[]>,
  seconds: number,
): Promise<{ readonly rate: number; readonly records: number; readonly seconds: number }> {
  const began = performance.now();
  let records = 0;
  await Promise.all(
    Array.from(streams, async ([pod, batches]) => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: setting.ca });
      for (const batch of batches) {
        if (performance.now() - began > seconds * 1_000) break;
        while (!(await post(setting, agent, pod, batch)));
        records += batch.records;
      }
      agent.destroy();
    }),
  );
  const taken = (performance.now() - began) / 1_000;
  return { rate: records / taken, records, seconds: taken };
}

/** Sends a stream that is one session of so many records, and returns its id. */
export async function sendLongSession(setting: StoreSetting, records: number): Promise<string> {
  const [, pod = ''] = pods;
  const author = new StreamAuthor({ identity: podIdentity(pod) });
  const session = randomUUID();
  const long = sessionOf(author, 'drivers', { session, operations: (records - 3) / 2 });
  const frames = [author.start(), ...long, author.checkpoint()];
  const agent = new Agent({ maxSockets: 1, ca: setting.ca });
  for (let at = 0; at < frames.length; at += 1_000) {
    const own = frames.slice(at, at + 1_000);
    const body = await compress(Buffer.concat(own));
    const lastSeq = Math.min(at + 1_000, frames.length);
    while (!(await post(setting, agent, pod, { body, records: own.length, lastSeq })));
  }
  agent.destroy();
  return session;
}

/** Sends one batch; false when the collector is too busy. */
function post(
  { url }: StoreSetting,
  agent: Agent,
  pod: string,
  { body, lastSeq }: Batch,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer token-${pod}`,
      'content-type': 'application/vnd.chaperone.frames',
      'content-encoding': 'zstd',
      'content-length': body.length,
    };
    const outgoing = request(
      new URL('/v1/records', url),
      { method: 'POST', agent, headers },
      (response) => {
        let text = '';
        response.on('data', (piece: Buffer) => (text += piece.toString()));
        response.on('end', () => {
          if (response.statusCode === 503) return resolve(false);
          const { seq } = JSON.parse(text) as { seq?: number };
          if (response.statusCode === 200 && seq === lastSeq) return resolve(true);
          return reject(new Error(`the collector answers ${response.statusCode}: ${text}`));
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
