import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Client } from 'pg';
import { startBackendServer, type BackendServer } from '../test/support/backend-server.ts';
import { metricOf } from '../test/support/metrics.ts';
import { startThrough } from '../test/support/through.ts';
import { until } from '../test/support/until.ts';
import { bundle } from '../tools/bundle.ts';

/** Where a client dials, and with what. */
export interface Route {
  readonly name: 'direct' | 'relay' | 'chaperone';
  readonly port: number;
  readonly password: string;
}

/** PostgreSQL with its data, and the ways to it. */
export interface Setting extends AsyncDisposable {
  readonly tls: boolean;
  readonly direct: Route;
  readonly relay: Route;
  readonly chaperone: Route;
  readonly sidecarPid: number;
  /** Sum of a counter or gauge of the sidecar, with these labels where some are given. */
  metric(name: string, labels?: string): Promise<number>;
  /** Keeps the collector from taking anything: what is recorded stays in the spool. */
  pauseShipping(): void;
  /** Puts a policy with rules in force beside the one that records, or takes it away; resolves once that counts. */
  setRules(rules: readonly object[] | undefined): Promise<void>;
  /** Lets it go on, waits until the spool is empty, and says how long that took. */
  resumeShipping(): Promise<{ readonly seconds: number }>;
}

export const bundleDirectory = (): string => mkdtempSync(join(tmpdir(), 'chaperone-bundle-'));

/** Rows of the large answers: 500 000 of them are 81 MB on the wire. */
const fill = `CREATE TABLE rows AS SELECT id, md5(id::text) AS a, md5('b' || id) AS b, md5('c' || id) AS c, md5('d' || id) AS d
  FROM generate_series(1, 500000) AS id;
  VACUUM ANALYZE rows`;

/** Starts everything, with the services as an image would run them. */
export async function startSetting({
  tls,
  say,
}: {
  readonly tls: boolean;
  readonly say: (line: string) => void;
}): Promise<Setting> {
  const stack = new AsyncDisposableStack();
  say(`starting PostgreSQL and Chaperone, TLS ${tls ? 'on' : 'off'}`);
  const directory = bundleDirectory();
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const programs = {
    sidecar: await bundle('sidecar/main.ts', directory),
    collector: await bundle('collector/main.ts', directory),
  };
  // The password in the clear, so that the client that only drains can be as simple as it is.
  const server = stack.use(
    await startBackendServer({
      version: 18,
      tls,
      authentication: 'password',
      settings: { max_connections: '300' },
    }),
  );
  await loadData(server, tls);
  const through = stack.use(await startThrough(server, { programs }));
  const relay = await startRelay(server, stack);
  const { password } = server;
  const collector = (): number => through.instance.instance.pids.collector;
  stack.defer(() => void process.kill(collector(), 'SIGCONT')); // one that is stopped could not end
  return {
    tls,
    direct: { name: 'direct', port: server.port, password },
    relay: { name: 'relay', port: relay, password },
    chaperone: { name: 'chaperone', port: through.port, password: through.password },
    sidecarPid: through.instance.instance.pids.sidecar,
    metric: (name, labels) => metricOf(through.instance, name, labels),
    setRules: async (rules) => {
      const accepted = () =>
        metricOf(through.instance, 'chaperone_bundles_total', 'outcome="accepted"');
      const before = await accepted();
      const path = join(through.instance.config, 'rules.yaml');
      if (rules) writeFileSync(path, JSON.stringify(policyOf(rules)));
      else rmSync(path);
      await until('the policies have changed', async () => (await accepted()) > before);
    },
    pauseShipping: () => void process.kill(collector(), 'SIGSTOP'),
    resumeShipping: async () => {
      const began = performance.now();
      process.kill(collector(), 'SIGCONT');
      await until(
        'the spool is shipped',
        async () =>
          (await metricOf(through.instance, 'chaperone_records_shipped_total')) ===
          (await metricOf(through.instance, 'chaperone_records_written_total')),
        900_000,
      );
      return { seconds: (performance.now() - began) / 1000 };
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function policyOf(rules: readonly object[]): object {
  return {
    apiVersion: 'chaperone.dev/v1alpha1',
    kind: 'AuditPolicy',
    metadata: { name: 'rules', namespace: 'local' },
    spec: { podSelector: {}, mode: 'Enforce', identity: 'Token', rules },
  };
}

async function loadData(server: BackendServer, tls: boolean): Promise<void> {
  const login = { host: server.directory, port: server.port, user: 'postgres' };
  const admin = new Client({ ...login, database: 'postgres' });
  await admin.connect();
  await admin.query('CREATE DATABASE bench');
  await admin.end();
  const client = new Client({ ...login, database: 'bench' });
  await client.connect();
  for (const statement of fill.split(';')) await client.query(statement);
  await client.end();
  const { pgbench } = await import('./postgres/clients.ts');
  const route: Route = { name: 'direct', port: server.port, password: server.password };
  await pgbench(route, ['--initialize', '--scale=10', '--quiet'], tls);
}

async function startRelay(server: BackendServer, stack: AsyncDisposableStack): Promise<number> {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, 'relay.ts'), server.host, String(server.port)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  stack.defer(() => void child.kill());
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]; // its only output
  return Number(line);
}
