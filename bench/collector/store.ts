import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { Client } from 'pg';
import type { CollectorSecrets } from '#core/control.ts';
import { createLocalCa } from '../../cli/dev/certificates.ts';
import { baseEnvironment } from '../../cli/dev/child.ts';
import { startCollector, type RunningCollector } from '../../cli/dev/node-parts.ts';
import { preparePostgres } from '../../cli/dev/postgres-binaries.ts';
import { ensureDatabase, startPostgres, storeSettings } from '../../cli/dev/postgres-server.ts';
import { Database } from '../../collector/store/database.ts';
import { ensurePartitions } from '../../collector/store/partitions.ts';
import { podIdentity } from '../../test/support/collectors.ts';
import { until } from '../../test/support/until.ts';
import { bundle } from '../../tools/bundle.ts';

export const pods = Array.from({ length: 8 }, (_, index) => `pod-${index}`);
const day = 86_400;

/** A store as `chaperone dev` has it, with a collector as an image runs it. */
export interface StoreSetting extends AsyncDisposable {
  readonly url: string;
  readonly ca: string;
  readonly readToken: string;
  /** A connection to the store. */
  readonly db: Client;
  readonly collectorPid: number;
}

/** Starts PostgreSQL and a collector, whose retention has something to drop every few seconds. */
export async function startStore(options: {
  readonly say: (line: string) => void;
  /** For how long retention has something to drop. */
  readonly retentionSeconds: number;
}): Promise<StoreSetting> {
  const stack = new AsyncDisposableStack();
  options.say('starting PostgreSQL and a collector');
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-bench-'));
  chmodSync(directory, 0o755); // root's PostgreSQL runs under an account of its own
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const home = preparePostgres(directory, () => undefined);
  const server = await startPostgres({
    home,
    name: 'store',
    socketDirectory: join(directory, 'socket'),
    logFile: join(directory, 'store.log'),
    tcpPort: undefined,
    settings: { ...storeSettings, synchronous_commit: 'on' },
  });
  stack.defer(() => server.stop(10_000));
  const password = 'bench';
  await ensureDatabase(server, 'chaperone', 'chaperone', password);
  await server.administer('postgres', (client) =>
    client.query('ALTER DATABASE chaperone OWNER TO chaperone'),
  );
  const store = { host: server.socketDirectory, port: server.port, user: 'chaperone', password, database: 'chaperone' }; // prettier-ignore
  const db = new Client(store);
  await db.connect();
  stack.defer(() => db.end());
  await ageStore(store, db, options.retentionSeconds);
  mkdirSync(join(directory, 'bundle'));
  const collector = await startBundled(directory, store);
  stack.defer(() => collector.stop(10_000));
  return {
    url: collector.url,
    ca: collector.ca,
    readToken: 'reader',
    db,
    collectorPid: collector.pid,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function startBundled(
  directory: string,
  store: CollectorSecrets['store'],
): Promise<RunningCollector & { readonly ca: string }> {
  const ca = await createLocalCa(Date.now());
  const running = await startCollector({
    program: await bundle('collector/main.ts', join(directory, 'bundle')),
    logFile: join(directory, 'collector.log'),
    secrets: {
      type: 'secrets',
      tls: await ca.issue('chaperone-collector'),
      store,
      writers: pods.map((pod) => ({ token: `token-${pod}`, identity: podIdentity(pod) })),
      readToken: 'reader',
      operatorToken: 'operator',
    },
    env: {
      ...baseEnvironment(process.env),
      CHAPERONE_LISTEN: '127.0.0.1:0',
      CHAPERONE_COLLECTOR_KEY_FILE: join(directory, 'collector.key'),
      CHAPERONE_LEDGER_FILE: join(directory, 'ledger.log'),
      CHAPERONE_LEDGER_SECONDS: '5',
      CHAPERONE_RETENTION_DAYS: '1',
    },
  });
  const log = (): string => readFileSync(join(directory, 'collector.log'), 'utf8');
  await until('the collector is ready', () => !log().includes('cannot be used yet'));
  return { ...running, ca: ca.certificate };
}

const expiringEvery = 10;
const expiringRecords = 20_000;

/** Gives the store partitions that expire one after the other from now on, each with records of a stream. */
async function ageStore(
  store: CollectorSecrets['store'],
  db: Client,
  seconds: number,
): Promise<void> {
  const database = new Database(() => store, pino({ level: 'silent' }));
  await until('the schema is there', () => database.ready);
  const now = Math.floor(Date.now() / 1_000);
  await database.transaction(async (client) => {
    const { rows } = await client.query<{ suffix: string }>('SELECT suffix FROM partitions');
    for (const { suffix } of rows)
      await client.query(
        `DROP TABLE records_${suffix}, texts_${suffix}, statements_${suffix}, operations_${suffix}, shapes_${suffix}`,
      );
    await client.query('DELETE FROM partitions');
    const firstUntil = new Date((now - day) * 1_000);
    const ahead = seconds - day;
    await ensurePartitions(client, {
      widthSeconds: expiringEvery,
      aheadSeconds: ahead,
      firstUntil,
    });
    await ensurePartitions(client, { widthSeconds: 2 * day, aheadSeconds: 3_600 });
  });
  await database.close();
  await db.query(`
    INSERT INTO streams (stream, pod, namespace, service_account, head_link, acked_seq, first_seen, last_received_at, ended)
    SELECT md5(suffix)::uuid, 'old', 'ns', 'sa', sha256(''), ${expiringRecords}, high - interval '1 second', high - interval '1 second', true
    FROM partitions WHERE high < now() - interval '1 hour'`);
  await db.query(`
    INSERT INTO records (stream, seq, header, header_hash, salt, payload, received_at)
    SELECT s.stream, n, sha256(n::text::bytea) || sha256('a') || sha256('b'), sha256(n::text::bytea), '\\x00', repeat('x', 1000)::bytea, s.first_seen
    FROM streams s, generate_series(1, ${expiringRecords}) n`);
}
