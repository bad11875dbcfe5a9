import { createPublicKey, type KeyObject } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import type { CollectorSecrets, ServerKeyPair, WriterIdentity } from '#core/control.ts';
import { createLocalCa } from '../../cli/dev/certificates.ts';
import { startCollector, type RunningCollector } from '../../cli/dev/node-parts.ts';
import { projectDirectory, type Instance } from '../../cli/instance.ts';
import { isAcknowledged, type Acknowledgement } from '#core/record/acknowledgement.ts';
import { startBackendServer, type BackendServer } from './backend-server.ts';
import { batchOf, localIdentity } from './stream-author.ts';
import { until } from './until.ts';

export interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly text: string;
}

export interface CollectorsOptions {
  /** How many collectors share the database. Default 1. */
  readonly count?: number;
  readonly version?: 15 | 18;
  /** Further settings of each. */
  readonly env?: Readonly<Record<string, string>>;
  /** Pods that may write beside `localIdentity`, whose tokens are `token-<pod>`. */
  readonly pods?: readonly string[];
  /** Called with the database before a collector has seen it. */
  readonly prepare?: (store: CollectorSecrets['store']) => Promise<void>;
  /** What Node runs. Default: the sources. */
  readonly program?: string;
}

const tokens = { read: 'reader', operator: 'operator' };

/** Collectors on one database, each a process of its own. */
export interface Collectors extends AsyncDisposable {
  readonly server: BackendServer;
  readonly store: CollectorSecrets['store'];
  readonly directory: string;
  readonly all: readonly TestCollector[];
  readonly first: TestCollector;
  /** A superuser's connection to their database. */
  readonly db: Client;
  /** What acknowledgements and the ledger are verified with. */
  readonly publicKey: KeyObject;
}

export const podIdentity = (pod: string): WriterIdentity =>
  pod === 'local' ? localIdentity : { pod, namespace: 'ns', serviceAccount: 'sa' };

/** Starts a server, a database in it, and collectors on that. */
export async function startCollectors(options: CollectorsOptions = {}): Promise<Collectors> {
  const { count = 1, version = 18, pods = [], prepare } = options;
  const stack = new AsyncDisposableStack();
  const server = stack.use(await startBackendServer({ version }));
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-collectors-'));
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const login = { host: server.directory, port: server.port, user: 'postgres' };
  const admin = new Client({ ...login, database: 'postgres' });
  await admin.connect();
  await admin.query('CREATE DATABASE chaperone');
  await admin.end();
  const store = { ...login, password: server.password, database: 'chaperone' };
  const db = new Client(store);
  db.on('error', () => undefined);
  await db.connect();
  stack.defer(() => db.end());
  await prepare?.(store);
  const ca = await createLocalCa(Date.now());
  const tls = await ca.issue('chaperone-collector');
  const all: TestCollector[] = [];
  for (let index = 0; index < count; index += 1) {
    const name = `collector-${index}`;
    const collector = new TestCollector({ name, directory, store, tls, ca: ca.certificate, pods, options }); // prettier-ignore
    await collector.start();
    stack.defer(() => collector.stop());
    all.push(collector);
  }
  const [first] = all;
  if (!first) throw new Error('want one collector or more');
  return {
    server,
    store,
    directory,
    all,
    first,
    db,
    publicKey: createPublicKey(readFileSync(join(directory, 'collector.key.pub'))),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

interface TestCollectorOptions {
  readonly name: string;
  readonly directory: string;
  readonly store: CollectorSecrets['store'];
  readonly tls: ServerKeyPair;
  readonly ca: string;
  readonly pods: readonly string[];
  readonly options: CollectorsOptions;
}

/** A collector process, and how to speak to it. */
export class TestCollector {
  readonly #options: TestCollectorOptions;
  readonly #agent: Agent;
  #running: RunningCollector | undefined;

  constructor(options: TestCollectorOptions) {
    this.#options = options;
    this.#agent = new Agent({ keepAlive: true, ca: options.ca });
  }

  get pid(): number {
    return this.#running?.pid ?? 0;
  }

  get url(): string {
    return this.#running?.url ?? '';
  }

  /** Where it says whether it is ready. */
  get readyUrl(): string {
    return new URL('/readyz', this.#running?.metricsUrl).href;
  }

  /** Settles when its process has ended, for whatever reason. */
  get exited(): Promise<void> {
    return this.#running?.exited ?? Promise.resolve();
  }

  /** The CA that has signed its certificate. */
  get ca(): string {
    return this.#options.ca;
  }

  get ledgerFile(): string {
    return join(this.#options.directory, `${this.#options.name}.ledger`);
  }

  get log(): string {
    return readFileSync(join(this.#options.directory, `${this.#options.name}.log`), 'utf8');
  }

  async start(): Promise<void> {
    await this.launch();
    await until(
      'the collector is ready',
      async () => (await this.get('/v1/sessions')).status === 200,
    );
  }

  /** Starts its process, whether it can use its database or not. */
  async launch(): Promise<void> {
    const { name, directory, store, tls, pods, options } = this.#options;
    this.#running = await startCollector({
      program: options.program ?? join(projectDirectory, 'collector/main.ts'),
      secrets: {
        type: 'secrets',
        tls,
        store,
        writers: ['local', ...pods].map((pod) => ({
          token: `token-${pod}`,
          identity: podIdentity(pod),
        })),
        readToken: tokens.read,
        operatorToken: tokens.operator,
      },
      logFile: join(directory, `${name}.log`),
      env: {
        PATH: process.env['PATH'] ?? '',
        CHAPERONE_LISTEN: '127.0.0.1:0',
        CHAPERONE_METRICS_LISTEN: '127.0.0.1:0',
        CHAPERONE_COLLECTOR_KEY_FILE: join(directory, 'collector.key'),
        CHAPERONE_LEDGER_FILE: this.ledgerFile,
        ...options.env,
      },
    });
  }

  async stop(timeoutMs = 10_000): Promise<void> {
    await this.#running?.stop(timeoutMs);
    this.#running = undefined;
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    if (this.#running) process.kill(this.#running.pid, 'SIGKILL');
    await this.#running?.exited;
    this.#running = undefined;
  }

  /** Sends frames as a pod's batch. */
  put(frames: readonly Buffer[], pod = 'local'): Promise<Answer> {
    return this.post(batchOf(...frames), pod);
  }

  /** Sends a body as a pod's batch. */
  post(body: Buffer, pod = 'local'): Promise<Answer> {
    const headers = {
      'content-type': 'application/vnd.chaperone.frames',
      'content-encoding': 'zstd',
    };
    return this.send('POST', '/v1/records', { token: `token-${pod}`, headers, body });
  }

  get(path: string): Promise<Answer> {
    return this.send('GET', path, { token: tokens.read });
  }

  /** Orders something as an operator. */
  order(method: 'POST' | 'PUT', path: string, order: object): Promise<Answer> {
    const headers = { 'content-type': 'application/json' };
    const body = Buffer.from(JSON.stringify(order));
    return this.send(method, path, { token: tokens.operator, headers, body });
  }

  send(
    method: string,
    path: string,
    {
      token,
      headers = {},
      body,
    }: { token: string; headers?: Record<string, string>; body?: Buffer },
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        new URL(path, this.#running?.url),
        {
          method,
          agent: this.#agent,
          headers: {
            authorization: `Bearer ${token}`,
            ...headers,
            ...(body ? { 'content-length': String(body.length) } : {}),
          },
        },
        (response) => {
          const pieces: Buffer[] = [];
          response.on('data', (piece: Buffer) => pieces.push(piece));
          response.on('error', reject);
          response.on('end', () => {
            const text = Buffer.concat(pieces).toString();
            const isJson = /json/.test(response.headers['content-type'] ?? '');
            const parsed = isJson ? (JSON.parse(text) as Record<string, unknown>) : {};
            resolve({ status: response.statusCode ?? 0, body: parsed, text });
          });
        },
      );
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }

  /** What its metrics say of a name, with a label where one is given. */
  async metric(name: string, label = ''): Promise<number> {
    const text = await (await fetch(this.#running?.metricsUrl ?? '')).text();
    const line = text.split('\n').find((each) => each.startsWith(name) && each.includes(label));
    return Number(line?.slice(line.lastIndexOf(' ')));
  }

  /** Findings of a stream, oldest first, as kind with seqs. */
  async findings(stream: string | undefined): Promise<string[]> {
    const { body } = await this.get('/v1/findings');
    return (body['findings'] as FoundRow[])
      .filter((found) => found.stream === (stream ?? null))
      .map(({ kind, from, to }) => [kind, from, to].filter((each) => each !== undefined).join(' '))
      .reverse();
  }
}

interface FoundRow {
  readonly kind: string;
  readonly stream: string | null;
  readonly from?: number;
  readonly to?: number;
}

/** Whether an answer is an acknowledgement that the collector has signed. */
export function isSignedAnswer(key: KeyObject, { body }: Answer): boolean {
  const { stream, seq, link, signature } = body as unknown as Acknowledgement;
  return isAcknowledged(key, { stream, seq, link, signature });
}

/** Writes a file as the tests that tamper do. */
export function overwrite(path: string, text: string): void {
  writeFileSync(path, text);
}

/** The first collector as `chaperone dev` would tell where it is. */
export function instanceOf({ first, directory }: Collectors): Instance {
  const file = (name: string, text: string): string => {
    writeFileSync(join(directory, name), text);
    return join(directory, name);
  };
  return {
    backends: {},
    collector: {
      url: first.url,
      caFile: file('ca.crt', first.ca),
      readTokenFile: file('read-token', tokens.read),
      operatorTokenFile: file('operator-token', tokens.operator),
      publicKeyFile: join(directory, 'collector.key.pub'),
      ledgerFile: first.ledgerFile,
      metricsUrl: '',
    },
    sidecar: { caFile: '', spoolDir: '', metricsUrl: '', adminSocket: '' },
    issuer: { tokenUrl: '' },
    pids: { supervisor: process.pid, sidecar: 0, collector: first.pid, store: 0 },
  };
}
