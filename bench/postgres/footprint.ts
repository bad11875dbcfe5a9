import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { createLocalCa } from '../../cli/dev/certificates.ts';
import { baseEnvironment } from '../../cli/dev/child.ts';
import { startDemoIssuer } from '../../cli/dev/issuer.ts';
import { startSidecar } from '../../cli/dev/node-parts.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { pssOf } from '../../test/support/inspector.ts';
import { bundle } from '../../tools/bundle.ts';
import { figureOf, type Figure, type Measured } from '../rounds.ts';
import { bundleDirectory, type Setting } from '../setting.ts';
import { psqlMs } from './clients.ts';
import { fifty } from './rules.ts';
import type { Effort } from './throughput.ts';

const megabyte = 1024 * 1024;
const sessions = 200;

/** Memory of the sidecar at the peak of a large answer. */
export async function* memoryOfAnswers(setting: Setting, effort: Effort): AsyncGenerator<Measured> {
  const peak: number[] = [];
  effort.say('memory, in a large answer');
  for (let round = 0; round < effort.rounds; round += 1) {
    let most = 0;
    const timer = setInterval(() => (most = Math.max(most, pssOf(setting.sidecarPid))), 20);
    await psqlMs(setting.chaperone, 'SELECT * FROM rows', setting.tls);
    clearInterval(timer);
    peak.push(most / megabyte);
    await setting.resumeShipping();
  }
  yield {
    measure: 'memory, peak in a SELECT of 500 000 rows',
    unit: 'MB',
    figures: { chaperone: figureOf(peak) },
    goal: { kind: 'limit', most: 160 },
  };
}

/** Memory of the sidecar with many sessions under rules, in a setting that did nothing else: what it once needed it keeps. */
export async function* memoryOfSessions(
  setting: Setting,
  effort: Effort,
): AsyncGenerator<Measured> {
  effort.say('memory, with sessions');
  await setting.setRules(fifty);
  const clients = await Promise.all(Array.from({ length: sessions }, () => connected(setting)));
  const busy: number[] = [];
  for (let round = 0; round < effort.rounds; round += 1) {
    await Promise.all(
      clients.map(async (client) => {
        for (let id = 1; id <= 20; id += 1)
          await client.query('SELECT abalance FROM pgbench_accounts WHERE aid = $1', [id]);
      }),
    );
    busy.push(pssOf(setting.sidecarPid) / megabyte);
  }
  await Promise.all(clients.map((client) => client.end()));
  await setting.setRules(undefined);
  yield {
    measure: `memory, ${sessions} sessions under 50 rules`,
    unit: 'MB',
    figures: { chaperone: figureOf(busy) },
    goal: { kind: 'limit', most: 180 },
  };
}

async function connected({ chaperone: { port, password }, tls }: Setting): Promise<Client> {
  const client = new Client({
    host: '127.0.0.1',
    port,
    password,
    user: 'postgres',
    database: 'bench',
    ssl: tls ? { rejectUnauthorized: false } : false,
  });
  await client.connect();
  return client;
}

/** Time from the start of the process to its first listener, and what it holds then. */
export async function* start({ rounds, say }: Effort): AsyncGenerator<Measured> {
  say('start');
  const directory = bundleDirectory();
  const issuer = await startDemoIssuer();
  try {
    const program = await bundle('sidecar/main.ts', directory);
    const starts: { readonly ms: number; readonly megabytes: number }[] = [];
    for (let round = 0; round < 2 * rounds + 1; round += 1)
      starts.push(await startOnce(program, issuer.port));
    const figures = (values: readonly number[]): { chaperone: Figure } => ({
      chaperone: figureOf(values),
    });
    yield {
      measure: 'start to ready',
      unit: 'ms',
      figures: figures(starts.map(({ ms }) => ms)),
      goal: { kind: 'limit', most: 300 },
    };
    yield {
      measure: 'memory, idle',
      unit: 'MB',
      figures: figures(starts.map(({ megabytes }) => megabytes)),
      goal: { kind: 'limit', most: 64 },
    };
  } finally {
    issuer.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

const settleMs = 2_000; // idle is what is left once the start is over

async function startOnce(
  program: string,
  issuerPort: number,
): Promise<{ readonly ms: number; readonly megabytes: number }> {
  const home = mkdtempSync(join(tmpdir(), 'chaperone-start-'));
  const ca = await createLocalCa(Date.now());
  writeFileSync(join(home, 'ca.crt'), ca.certificate);
  mkdirSync(join(home, 'spool'), { mode: 0o700 });
  const tls = await ca.issue('chaperone-sidecar');
  const began = performance.now();
  const sidecar = await startSidecar({
    program,
    secrets: {
      type: 'secrets',
      tls,
      ingestToken: 'nobody takes it',
      credentials: {
        'shop-credential': { type: 'Password', username: 'nobody', password: 'nothing' },
      },
    },
    logFile: join(home, 'sidecar.log'),
    say: () => undefined,
    backends: new Map(),
    onListening: () => undefined,
    env: {
      ...baseEnvironment(process.env),
      CHAPERONE_MODE: 'explicit',
      CHAPERONE_POD_NAME: 'bench',
      CHAPERONE_POD_NAMESPACE: 'local',
      CHAPERONE_SERVICE_ACCOUNT: 'local',
      CHAPERONE_POD_LABELS: 'app=local',
      CHAPERONE_CONFIG_DIR: join(projectDirectory, 'examples/local'),
      CHAPERONE_SPOOL_DIR: join(home, 'spool'),
      CHAPERONE_COLLECTOR_URL: 'https://127.0.0.1:9/', // nobody takes records there
      CHAPERONE_COLLECTOR_CA_FILE: join(home, 'ca.crt'),
      CHAPERONE_METRICS_LISTEN: '127.0.0.1:0',
      CHAPERONE_LISTEN_PORT: '0',
      CHAPERONE_CONNECT_TO: `issuer.local:80=127.0.0.1:${issuerPort}`,
    },
  });
  const ms = performance.now() - began;
  await delay(settleMs);
  const megabytes = pssOf(sidecar.pid) / megabyte;
  await sidecar.stop(0);
  rmSync(home, { recursive: true, force: true });
  return { ms, megabytes };
}
