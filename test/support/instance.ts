import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmodSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, type ClientConfig } from 'pg';
import { verifyExport } from '#core/record/verify-export.ts';
import type { SessionSummary } from '#core/session-summary.ts';
import { CollectorClient } from '../../cli/collector-client.ts';
import { localCollector } from '../../cli/server-access.ts';
import type { InstanceSecrets, SuperviseOptions } from '../../cli/dev/supervisor.ts';
import { projectDirectory, type Instance } from '../../cli/instance.ts';
import { fetchToken } from '../../cli/token.ts';
import { until } from './until.ts';

/** A whole `chaperone dev` with its own configuration and data. */
export interface TestInstance extends AsyncDisposable {
  readonly config: string;
  readonly data: string;
  readonly process: ChildProcess;
  /** As the ready file has it now: restarts change process ids. */
  readonly instance: Instance;
  /** All that was printed so far. */
  readonly output: string;
  collector(): CollectorClient;
  token(claims?: Readonly<Record<string, string>>): Promise<string>;
  /** An agent's connection settings, with a token as password. */
  login(settings?: ClientConfig): Promise<ClientConfig>;
  /** A connected agent. */
  connect(settings?: ClientConfig): Promise<Client>;
  /** A connection to the store as its owner. The instance has to be started with `secrets`; an empty object will do. */
  storeClient(): Promise<Client>;
  /** What the demo backend has logged. */
  backendLog(): string;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export interface StartOptions {
  /** Called before the start, to change the configuration. */
  readonly prepare?: (config: string) => void;
  readonly demo?: boolean;
  readonly data?: string;
  /** Secrets that the test has to know; others are drawn. */
  readonly secrets?: Partial<InstanceSecrets>;
  readonly programs?: SuperviseOptions['programs'];
  /** Settings of the parts, which only an instance that is started with `secrets` takes. */
  readonly environment?: SuperviseOptions['environment'];
}

export async function startInstance({
  prepare,
  demo = false,
  data,
  secrets,
  programs,
  environment,
}: StartOptions = {}): Promise<TestInstance> {
  const home = mkdtempSync(join(tmpdir(), 'chaperone-test-'));
  chmodSync(home, 0o755); // root's PostgreSQL runs under an account of its own
  const config = join(home, 'config');
  cpSync(join(projectDirectory, 'examples/local'), config, { recursive: true });
  prepare?.(config);
  const dataDirectory = data ?? join(home, 'data');
  const readyFile = join(home, 'ready.json');
  const options = {
    config,
    data: dataDirectory,
    port: 0,
    demo,
    readyFile,
    ...(programs ? { programs } : {}),
    ...(environment ? { environment } : {}),
  };
  const args = [
    'dev',
    '--config',
    config,
    '--data',
    dataDirectory,
    '--port',
    '0',
    '--ready-file',
    readyFile,
  ];
  const storePassword = secrets && (secrets.storePassword ?? randomUUID());
  const program = secrets
    ? [join(import.meta.dirname, 'dev-with-secrets.ts')]
    : [join(projectDirectory, 'cli/main.ts'), ...args, ...(demo ? [] : ['--no-demo'])];
  const child = spawn(process.execPath, program, {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  child.stdin.end(
    secrets ? JSON.stringify({ options, secrets: { ...secrets, storePassword } }) : '',
  );
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
  await until('the instance is ready', () => {
    if (child.exitCode !== null) throw new Error(`it ended:\n${output}`);
    return existsSync(readyFile);
  });
  const read = (): Instance => JSON.parse(readFileSync(readyFile, 'utf8')) as Instance;
  const started: TestInstance = {
    config,
    data: dataDirectory,
    process: child,
    get instance() {
      return read();
    },
    get output() {
      return output;
    },
    collector: () => new CollectorClient(localCollector(read())),
    token: (claims = {}) => fetchToken(read(), claims),
    login: async (settings = {}) => ({
      ...read().backends['shop'],
      user: 'analyst',
      database: 'shop',
      password: settings.password ?? (await fetchToken(read(), {})),
      ...settings,
    }),
    connect: async (settings) => {
      const client = new Client(await started.login(settings));
      client.on('error', () => undefined);
      await client.connect();
      return client;
    },
    storeClient: async () => {
      if (storePassword === undefined) throw new Error('start it with `secrets: {}`');
      const client = new Client({
        host: socketDirectoryOf(read().pids.store),
        port: 5432,
        user: 'chaperone',
        database: 'chaperone',
        password: storePassword,
      });
      client.on('error', () => undefined);
      await client.connect();
      return client;
    },
    backendLog: () => readFileSync(join(dataDirectory, 'log/backend.log'), 'utf8'),
    stop: async (signal = 'SIGTERM') => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill(signal);
      await once(child, 'exit');
    },
    [Symbol.asyncDispose]: async () => {
      await started.stop();
      if (data === undefined) rmSync(home, { recursive: true, force: true });
    },
  };
  return started;
}

/** Where the Unix socket of a PostgreSQL server is, as its arguments say. */
function socketDirectoryOf(pid: number): string {
  const [, directory] =
    /\0unix_socket_directories=([^\0]+)/.exec(readFileSync(`/proc/${pid}/cmdline`, 'utf8')) ?? [];
  if (directory === undefined) throw new Error(`process ${pid} is no server with a socket`);
  return directory;
}

/** Lists every session that is stored, page by page. */
export async function* allSessions(client: CollectorClient): AsyncGenerator<SessionSummary> {
  for (let before: string | null = ''; before !== null;) {
    const query: string = before === '' ? '' : `&before=${encodeURIComponent(before)}`;
    const page: { sessions: SessionSummary[]; next: string | null } = await client.json(
      `/v1/sessions?limit=1000${query}`,
    );
    yield* page.sessions;
    before = page.next;
  }
}

/**
 * Verifies every session that is stored, and returns the different verdicts that came out, sorted. No key is trusted here,
 * since the ledger has a stream only after a while. Waits for the checkpoint behind a session that has ended.
 */
export async function verifyAll(instance: TestInstance): Promise<string[]> {
  const client = instance.collector();
  const verdicts = new Set<string>();
  for await (const { id, endedAt } of allSessions(client)) {
    const verdict = await until(`session ${id} is signed`, async () => {
      const report = await verifyExport(client.bytes(`/v1/sessions/${id}/export`), { keys: [] });
      return report.verdict.kind === 'unbroken' && endedAt !== null ? undefined : report.verdict;
    });
    verdicts.add(
      verdict.kind === 'broken' ? `broken at ${verdict.at}: ${verdict.why}` : verdict.kind,
    );
  }
  return [...verdicts].sort();
}
