import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CollectorSecrets, ServerKeyPair, SidecarSecrets } from '#core/control.ts';
import { lockDirectory } from '../../runtime/directory-lock.ts';
import { adminSocketPath, instanceFile, projectDirectory, type Instance } from '../instance.ts';
import { createLocalCa } from './certificates.ts';
import { baseEnvironment } from './child.ts';
import { readEnvironment } from './config.ts';
import {
  collectorKeyFile,
  createDirectories,
  evidenceFiles,
  removeTokens,
  writeTokens,
} from './data-directory.ts';
import { demoDatabase, demoRole, loadDemoData } from './demo-data.ts';
import { runDemo } from './demo.ts';
import { findFreePort } from './free-port.ts';
import { startDemoIssuer, type DemoIssuer } from './issuer.ts';
import {
  startCollector,
  startSidecar,
  type Address,
  type RunningCollector,
  type RunningSidecar,
} from './node-parts.ts';
import { Part, type Running } from './part.ts';
import { nextSteps, ownBackendName, withLogin, type OwnBackend } from './own-backend.ts';
import { listenForSignals } from './stop-signals.ts';
import { preparePostgres, type PostgresHome } from './postgres-binaries.ts';
import {
  ensureDatabase,
  startPostgres,
  storeSettings,
  type PostgresServer,
} from './postgres-server.ts';

export interface SuperviseOptions {
  readonly config: string;
  readonly data: string;
  readonly port: number;
  readonly demo: boolean;
  readonly readyFile: string | undefined;
  /** In place of the demo's database. */
  readonly backend?: OwnBackend | undefined;
  /** What Node runs in place of the sources, such as bundles. */
  readonly programs?: { readonly sidecar: string; readonly collector: string };
  /** Beside what their environments have anyway. */
  readonly environment?: Partial<Record<'sidecar' | 'collector', Readonly<Record<string, string>>>>;
}

const sources = {
  sidecar: join(projectDirectory, 'sidecar/main.ts'),
  collector: join(projectDirectory, 'collector/main.ts'),
};

/** Made anew at each start, and known to the processes that need them alone. Those of people are in 0600 files too. */
export interface InstanceSecrets {
  readonly backendPassword: string;
  readonly storePassword: string;
  readonly ingestToken: string;
  readonly readToken: string;
  readonly operatorToken: string;
  /** Logins of further backends, by the name that a Backend's `credential.secretRef` gives. */
  readonly credentials: SidecarSecrets['credentials'];
}

type Say = (line: string) => void;

const collectorOffset = 48; // 15432 + 48 = 15480
const localPod = { pod: 'local', namespace: 'local', serviceAccount: 'local' };
const secretName = 'shop-credential';
const sidecarStopMs = 20_000; // 7 s for statements that run, 10 s to ship the spool
const stopMs = 10_000;

/** Draws the secrets of one start. */
export function createSecrets(): InstanceSecrets {
  const secret = (): string => randomBytes(32).toString('base64url');
  return {
    backendPassword: secret(),
    storePassword: secret(),
    ingestToken: secret(),
    readToken: secret(),
    operatorToken: secret(),
    credentials: {},
  };
}

/** Starts everything, keeps it running until a signal comes, and stops it in order. Returns the exit code. */
export async function supervise(
  options: SuperviseOptions,
  secrets: InstanceSecrets = createSecrets(),
): Promise<number> {
  const stopping = listenForSignals();
  const lock = await lockDirectory(
    options.data,
    `another "chaperone dev" runs on ${options.data}: stop it, or name another directory with --data`,
  );
  const say: Say = (line) => void process.stdout.write(`${line}\n`);
  const parts = new AsyncDisposableStack();
  try {
    const supervisor = new Supervisor(options, secrets, say);
    parts.defer(() => supervisor.stop());
    // A start that was begun is finished before it is undone: only then is it known what has to be stopped.
    await supervisor.start();
    if (options.demo && !stopping.signal.aborted) await supervisor.demo(stopping.signal);
    await stopping.requested;
    say('\nstopping: agent, sidecar (its spool is shipped), collector, databases');
    return 0;
  } finally {
    await parts.disposeAsync();
    lock.close();
  }
}

/** Everything that one start makes. */
class Supervisor {
  readonly #options: SuperviseOptions;
  readonly #say: Say;
  readonly #secrets: InstanceSecrets;
  readonly #sockets = mkdtempSync(join(tmpdir(), 'chaperone-'));
  #issuer: DemoIssuer | undefined;
  #backend: Part<PostgresServer> | undefined;
  #store: Part<PostgresServer> | undefined;
  #collector: Part<RunningCollector> | undefined;
  #sidecar: Part<RunningSidecar> | undefined;
  #ready = false;

  constructor(options: SuperviseOptions, secrets: InstanceSecrets, say: Say) {
    this.#options = options;
    this.#secrets = secrets;
    this.#say = say;
  }

  async start(): Promise<void> {
    const { data } = this.#options;
    const began = performance.now();
    createDirectories(data);
    chmodSync(this.#sockets, 0o711); // PostgreSQL's account passes through; what is in it is 0700
    rmSync(instanceFile(data), { force: true });
    const home = preparePostgres(data, this.#say);
    const { backend: own } = this.#options;
    const what = own ? 'for the audit store' : 'the demo backend and the audit store';
    this.#say(`starting PostgreSQL, ${what} …`);
    const ca = await createLocalCa(Date.now());
    writeFileSync(join(data, 'ca.crt'), ca.certificate);
    writeTokens(data, this.#secrets);
    const issuer = (this.#issuer = await startDemoIssuer());
    const backendPort = await findFreePort();
    // All are awaited even when one fails, so that what has started is known and can be stopped.
    const [backend, store] = await Promise.allSettled([
      own ? undefined : this.#startBackend(home, backendPort),
      this.#startStore(home),
    ]);
    if (backend.status === 'fulfilled') this.#backend = backend.value;
    if (store.status === 'fulfilled') this.#store = store.value;
    if (backend.status === 'rejected') throw backend.reason;
    if (store.status === 'rejected') throw store.reason;
    this.#say('starting the collector and the sidecar …');
    this.#collector = await this.#startCollector(
      store.value,
      await ca.issue('chaperone-collector'),
    );
    this.#sidecar = await this.#startSidecar(
      new Map([
        ['shop-db:5432', `127.0.0.1:${backendPort}`],
        ['issuer.local:80', `127.0.0.1:${issuer.port}`],
      ]),
      await ca.issue('chaperone-sidecar'),
    );
    this.#ready = true;
    this.#writeReadyFiles();
    this.#say(`ready in ${((performance.now() - began) / 1000).toFixed(1)} s\n`);
    const address = this.#instance().backends[ownBackendName];
    if (own && address) this.#say(nextSteps(own, address, this.#options.config));
  }

  /** Lets the demo's agent work, and tells what it did and what was recorded of it. */
  async demo(signal: AbortSignal): Promise<void> {
    await runDemo({
      instance: this.#instance(),
      say: this.#say,
      signal,
      logFile: this.#log('demo-agent'),
    });
  }

  /** Stops what was started: agent, sidecar, collector, then the databases. */
  async stop(): Promise<void> {
    await this.#sidecar?.stop(sidecarStopMs);
    await this.#collector?.stop(stopMs);
    await Promise.all([this.#store?.stop(stopMs), this.#backend?.stop(stopMs)]);
    this.#issuer?.stop();
    rmSync(this.#sockets, { recursive: true, force: true });
    const { data, readyFile } = this.#options;
    removeTokens(data);
    for (const file of [instanceFile(data), readyFile]) {
      if (file !== undefined) rmSync(file, { force: true });
    }
  }

  async #startBackend(home: PostgresHome, tcpPort: number): Promise<Part<PostgresServer>> {
    return this.#part('demo backend', async () => {
      const server = await startPostgres({
        home,
        name: 'backend',
        socketDirectory: join(this.#sockets, 'backend'),
        logFile: this.#log('backend'),
        tcpPort,
        // Every statement is in this log, to be compared with what was recorded.
        settings: { log_statement: 'all', log_line_prefix: '%m [%p] ', synchronous_commit: 'off' },
      });
      await ensureDatabase(server, demoRole, demoDatabase, this.#secrets.backendPassword);
      await loadDemoData(server);
      return server;
    });
  }

  async #startStore(home: PostgresHome): Promise<Part<PostgresServer>> {
    return this.#part('audit store', async () => {
      const server = await startPostgres({
        home,
        name: 'store',
        socketDirectory: join(this.#sockets, 'store'),
        logFile: this.#log('store'),
        tcpPort: undefined,
        settings: storeSettings,
      });
      await ensureDatabase(server, 'chaperone', 'chaperone', this.#secrets.storePassword);
      await server.administer('postgres', (client) =>
        client.query('ALTER DATABASE chaperone OWNER TO chaperone'),
      );
      return server;
    });
  }

  async #startCollector(
    store: Part<PostgresServer>,
    tls: ServerKeyPair,
  ): Promise<Part<RunningCollector>> {
    const { data, port } = this.#options;
    let wanted = port === 0 ? 0 : port + collectorOffset;
    return this.#part('collector', async () => {
      const { socketDirectory } = store.current;
      const secrets: CollectorSecrets = {
        type: 'secrets',
        tls,
        store: {
          host: socketDirectory,
          port: store.current.port,
          user: 'chaperone',
          password: this.#secrets.storePassword,
          database: 'chaperone',
        },
        writers: [{ token: this.#secrets.ingestToken, identity: localPod }],
        readToken: this.#secrets.readToken,
        operatorToken: this.#secrets.operatorToken,
      };
      const running = await startCollector({
        program: (this.#options.programs ?? sources).collector,
        secrets,
        logFile: this.#log('collector'),
        env: {
          ...baseEnvironment(readEnvironment()),
          CHAPERONE_LISTEN: `127.0.0.1:${wanted}`,
          CHAPERONE_METRICS_LISTEN: '127.0.0.1:0',
          CHAPERONE_COLLECTOR_KEY_FILE: collectorKeyFile(data),
          CHAPERONE_LEDGER_FILE: evidenceFiles(data).ledgerFile,
          CHAPERONE_LEDGER_SECONDS: '5', // whoever tries it verifies at once
          ...this.#options.environment?.collector,
        },
      });
      wanted = Number(new URL(running.url).port);
      return running;
    });
  }

  async #startSidecar(
    connectTo: ReadonlyMap<string, string>,
    tls: ServerKeyPair,
  ): Promise<Part<RunningSidecar>> {
    const { data, config, port } = this.#options;
    const secrets: SidecarSecrets = {
      type: 'secrets',
      tls,
      ingestToken: this.#secrets.ingestToken,
      credentials: {
        ...this.#secrets.credentials,
        [secretName]: {
          type: 'Password',
          username: demoRole,
          password: this.#secrets.backendPassword,
        },
      },
    };
    const backends = new Map<string, Address>();
    return this.#part('sidecar', () =>
      startSidecar({
        program: (this.#options.programs ?? sources).sidecar,
        secrets,
        logFile: this.#log('sidecar'),
        backends,
        say: this.#say,
        onListening: () => this.#writeReadyFiles(),
        env: {
          ...baseEnvironment(readEnvironment()),
          CHAPERONE_MODE: 'explicit',
          CHAPERONE_POD_NAME: localPod.pod,
          CHAPERONE_POD_NAMESPACE: localPod.namespace,
          CHAPERONE_SERVICE_ACCOUNT: localPod.serviceAccount,
          CHAPERONE_POD_LABELS: 'app=local',
          CHAPERONE_CONFIG_DIR: config,
          CHAPERONE_SPOOL_DIR: join(data, 'spool'),
          CHAPERONE_COLLECTOR_URL: this.#collector?.current.url ?? '',
          CHAPERONE_COLLECTOR_CA_FILE: join(data, 'ca.crt'),
          CHAPERONE_COLLECTOR_PUBLIC_KEY_FILE: evidenceFiles(data).publicKeyFile,
          CHAPERONE_METRICS_LISTEN: '127.0.0.1:0',
          CHAPERONE_ADMIN_SOCKET: this.#adminSocket,
          CHAPERONE_LISTEN_PORT: String(port),
          CHAPERONE_LISTEN_PORTS: pairs(
            [...backends].map(([name, address]) => [name, String(address.port)]),
          ),
          CHAPERONE_CONNECT_TO: pairs([...connectTo]),
          ...this.#options.environment?.sidecar,
        },
      }),
    );
  }

  #part<T extends Running>(name: string, start: () => Promise<T>): Promise<Part<T>> {
    return Part.start({ name, start, say: this.#say, onRestarted: () => this.#writeReadyFiles() });
  }

  get #adminSocket(): string {
    return adminSocketPath(this.#options.data, this.#sockets);
  }

  #log(name: string): string {
    return join(this.#options.data, 'log', `${name}.log`);
  }

  #instance(): Instance {
    const { data } = this.#options;
    const parts = {
      sidecar: this.#sidecar,
      collector: this.#collector,
      store: this.#store,
      backend: this.#backend,
    };
    const { sidecar, collector, store, backend } = parts;
    if (!sidecar || !collector || !store) throw new Error('asked before everything was started');
    const caFile = join(data, 'ca.crt');
    return {
      backends: withLogin(sidecar.current.backends, this.#options.backend),
      collector: {
        url: collector.current.url,
        caFile,
        ...evidenceFiles(data),
        metricsUrl: collector.current.metricsUrl,
      },
      sidecar: {
        caFile,
        spoolDir: join(data, 'spool'),
        metricsUrl: sidecar.current.metricsUrl,
        adminSocket: this.#adminSocket,
      },
      issuer: { tokenUrl: this.#issuer?.tokenUrl ?? '' },
      pids: {
        supervisor: process.pid,
        sidecar: sidecar.current.pid,
        collector: collector.current.pid,
        store: store.current.pid,
        ...(backend ? { backend: backend.current.pid } : {}),
      },
    };
  }

  #writeReadyFiles(): void {
    if (!this.#ready) return;
    const text = `${JSON.stringify(this.#instance(), null, 2)}\n`;
    for (const file of [instanceFile(this.#options.data), this.#options.readyFile]) {
      if (file === undefined) continue;
      writeFileSync(`${file}.new`, text, { mode: 0o600 });
      renameSync(`${file}.new`, file);
    }
  }
}

function pairs(entries: readonly (readonly [string, string])[]): string {
  return entries.map(([name, value]) => `${name}=${value}`).join(',');
}
