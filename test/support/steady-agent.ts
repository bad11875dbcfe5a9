import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { projectDirectory } from '../../cli/instance.ts';
import { signalContainer } from '../cluster/containers.ts';
import { state } from '../cluster/places.ts';
import type { Namespace } from './cluster.ts';
import { until } from './until.ts';

/** An agent of this machine's own cluster that asks its database steadily, and says what becomes of each statement. */
export class SteadyAgent {
  readonly name: string;
  readonly #namespace: Namespace;
  readonly #log: LogFile;

  /** Numbers of statements by what became of them. */
  readonly answered = new Set<number>();
  readonly failed = new Map<number, string>();
  /** Sent, and the connection ended without an answer. */
  readonly lost = new Map<number, string>();
  /** Numbers of connections by how they ended; those that could not be opened were never there. */
  readonly broken = new Set<number>();
  readonly closed = new Set<number>();
  readonly unreached = new Map<number, string>();
  /** Hashes of the trust bundle, as it was found at each connection whose certificate was verified. */
  readonly trusted: string[] = [];
  /** The last order of a policy that it was refused with. */
  order = 'none';
  stopped = false;

  private constructor(namespace: Namespace, name: string, log: LogFile) {
    this.#namespace = namespace;
    this.name = name;
    this.#log = log;
  }

  /** Starts one, and waits until it is answered. */
  static async start(namespace: Namespace, name: string, image: string): Promise<SteadyAgent> {
    await namespace.apply([agentPod(name, image)]);
    await namespace.waitFor(`pod/${name}`, 'condition=Ready');
    const uid = await namespace.kubectl(['get', 'pod', name, '--output=jsonpath={.metadata.uid}']);
    const directory = join(state, 'log/pods', `${namespace.name}_${name}_${uid}`, 'main');
    const agent = new SteadyAgent(namespace, name, new LogFile(directory));
    await agent.more(10);
    return agent;
  }

  /** Reads what it has said since. */
  read(): this {
    for (const line of this.#log.lines()) this.#take(line);
    return this;
  }

  /** Waits until so many more statements are answered. */
  async more(count: number, timeoutMs = 60_000): Promise<void> {
    const before = this.read().answered.size;
    const what = `${this.name} has ${count} more answers`;
    await until(what, () => this.read().answered.size >= before + count, timeoutMs);
  }

  /** The id of one of its containers. */
  async container(name: 'chaperone' | 'main'): Promise<string> {
    const kind = name === 'main' ? 'containerStatuses' : 'initContainerStatuses';
    const path = `{.status.${kind}[?(@.name=="${name}")].containerID}`;
    return this.#namespace.kubectl(['get', 'pod', this.name, `--output=jsonpath=${path}`]);
  }

  /** Has it end what it is at, and close its connections. */
  async stop(): Promise<void> {
    signalContainer(await this.container('main'), 'SIGTERM');
    await until(`${this.name} has stopped`, () => this.read().stopped);
  }

  #take(line: string): void {
    const [what, first = '', second = '', ...more] = line.split(' ');
    const number = Number(first);
    switch (what) {
      case 'answered':
        this.answered.add(number);
        break;
      case 'failed':
        this.failed.set(number, second);
        break;
      case 'lost':
        this.lost.set(number, second);
        break;
      case 'broken':
        this.broken.add(number);
        break;
      case 'closed':
        this.closed.add(number);
        break;
      case 'unreached':
        this.unreached.set(number, [second, ...more].join(' '));
        break;
      case 'verified':
        this.trusted.push(first);
        break;
      case 'order':
        this.order = first;
        break;
      case 'stopped':
        this.stopped = true;
        break;
      default:
        throw new Error(`${this.name} says ${line}`);
    }
  }
}

/** Lines of a container's log where the kubelet keeps it: they can be read while the API server is away. */
class LogFile {
  readonly #directory: string;
  #offset = 0;
  #rest = '';

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Those since the last time, without the time and stream before each. */
  lines(): readonly string[] {
    const names = readdirSync(this.#directory);
    if (names.join() !== '0.log') throw new Error(`${this.#directory} has ${names.join()}`);
    const buffer = Buffer.alloc(64 * 1024);
    const fd = openSync(join(this.#directory, '0.log'), 'r');
    try {
      for (;;) {
        const count = readSync(fd, buffer, 0, buffer.length, this.#offset);
        if (count === 0) break;
        this.#offset += count;
        this.#rest += buffer.toString('latin1', 0, count);
      }
    } finally {
      closeSync(fd);
    }
    const lines = this.#rest.split('\n');
    this.#rest = lines.pop() ?? '';
    return lines.map((line) => line.replace(/^\S+ stdout F /, ''));
  }
}

/** What agents are, for the namespace that they run in. */
export async function steadyProgram(): Promise<object> {
  const { outputFiles } = await build({
    entryPoints: [join(projectDirectory, 'test/support/steady-program.ts')],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    external: ['pg-native'],
    minify: true, // a ConfigMap is small
    write: false,
  });
  const data = { 'agent.cjs': outputFiles[0]?.text };
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'steady' }, data };
}

function agentPod(name: string, image: string): object {
  const env = { PGHOST: 'faults-db', PGUSER: 'agent', PGDATABASE: 'faults', STEADY_POD: name };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: 'steady' } },
    spec: {
      restartPolicy: 'Never',
      containers: [
        {
          name: 'main',
          image,
          command: ['/usr/bin/node', '/agent/agent.cjs'],
          env: Object.entries(env).map(([variable, value]) => ({ name: variable, value })),
          volumeMounts: [{ name: 'agent', mountPath: '/agent' }],
        },
      ],
      volumes: [{ name: 'agent', configMap: { name: 'steady' } }],
    },
  };
}
