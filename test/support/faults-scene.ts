import { CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import { signalContainer } from '../cluster/containers.ts';
import { cluster, type Cluster, type Namespace } from './cluster.ts';
import { install, type Installed } from './installed.ts';
import { SteadyAgent, steadyProgram } from './steady-agent.ts';
import { audit, withClient, type Account, type Places } from './steady-audit.ts';
import { until } from './until.ts';

const password = 'of-the-agents-database';
const apiVersion = 'chaperone.dev/v1alpha1';

export type Component = 'webhook' | 'controller' | 'collector' | 'postgres';

/** A pod of the product. */
export interface Part {
  readonly name: string;
  readonly container: string;
  readonly restarts: number;
  readonly ready: boolean;
}

/** The chart on this machine's own cluster, with agents that ask their database steadily, for tests that break it. */
export class Scene implements AsyncDisposable {
  readonly running: Cluster;
  readonly installed: Installed;
  /** Of the agents; everything in it is injected. */
  readonly namespace: Namespace;
  readonly image: string;
  readonly core: CoreV1Api;
  readonly places: Places;
  readonly agents: SteadyAgent[] = [];
  readonly #stack: AsyncDisposableStack;
  #orders = 0;
  #started = 0;

  private constructor(
    given: Pick<Scene, 'running' | 'installed' | 'namespace' | 'image' | 'core' | 'places'>,
    stack: AsyncDisposableStack,
  ) {
    this.running = given.running;
    this.installed = given.installed;
    this.namespace = given.namespace;
    this.image = given.image;
    this.core = given.core;
    this.places = given.places;
    this.#stack = stack;
  }

  static async open(): Promise<Scene> {
    await using stack = new AsyncDisposableStack();
    const running = stack.use(await cluster());
    const config = new KubeConfig();
    config.loadFromFile(running.kubeconfig);
    const core = config.makeApiClient(CoreV1Api);
    const image = await running.image();
    const data = stack.use(await running.namespace('faults-data'));
    await data.apply(databaseOf(await running.workloads()));
    const namespace = stack.use(await running.namespace('faults', { 'chaperone.dev/enforce': 'true', 'pod-security.kubernetes.io/enforce': 'privileged' })); // prettier-ignore
    const installed = stack.use(await install(running));
    const database = `postgresql://postgres:${password}@${await addressOf(data, 'faults-db')}/faults`;
    await data.waitFor('pod/faults-db', 'condition=Ready');
    await until('the database serves', () =>
      withClient(database, async (client) => {
        await client.query('CREATE TABLE IF NOT EXISTS marks (mark text)');
        return true;
      }).catch(() => false),
    );
    const places = { database, store: await storeOf(installed.system) };
    stack.defer(async () => {
      await running.kubectl(['delete', 'backend', 'faults', '--ignore-not-found']);
    });
    await applyTo(running, backend);
    await namespace.apply([await steadyProgram()]);
    const given = { running, installed, namespace, image, core, places };
    const scene = new Scene(given, stack.move());
    await scene.addAgent();
    await scene.addAgent();
    return scene;
  }

  /** Starts one more agent. */
  async addAgent(): Promise<SteadyAgent> {
    const name = `agent-${this.#started}`;
    this.#started += 1;
    const agent = await SteadyAgent.start(this.namespace, name, this.image);
    this.agents.push(agent);
    return agent;
  }

  /** Has an agent end, audits it for the last time, and removes it. */
  async retire(agent: SteadyAgent): Promise<Account> {
    await agent.stop();
    const account = await audit(this.places, agent);
    this.agents.splice(this.agents.indexOf(agent), 1);
    await this.namespace.kubectl(['delete', 'pod', agent.name, '--wait=false']);
    return account;
  }

  /** Waits until each agent has so many more answers. */
  async more(count: number): Promise<void> {
    await Promise.all(this.agents.map((agent) => agent.more(count)));
  }

  /** Audits all agents. */
  async audit(): Promise<readonly Account[]> {
    return Promise.all(this.agents.map((agent) => audit(this.places, agent)));
  }

  /** Has a policy say something new, and waits until the sidecar of every agent goes by it. */
  async orderAll(timeoutMs = 30_000): Promise<void> {
    this.#orders += 1;
    const order = `order-${this.#orders}`;
    await this.namespace.apply([policySaying(order)]);
    const obeys = (agent: SteadyAgent): boolean => agent.read().order === order;
    await until(`all agents obey ${order}`, () => this.agents.every(obeys), timeoutMs);
  }

  async parts(component: Component): Promise<readonly Part[]> {
    const labelSelector = `app.kubernetes.io/name=chaperone,app.kubernetes.io/component=${component}`;
    const { items } = await this.core.listNamespacedPod({ namespace: this.installed.system.name, labelSelector }); // prettier-ignore
    return items.flatMap(({ metadata, status }) => {
      const [container] = status?.containerStatuses ?? [];
      if (!container || metadata?.deletionTimestamp !== undefined) return [];
      const { containerID = '', restartCount, ready } = container;
      return [
        { name: metadata?.name ?? '', container: containerID, restarts: restartCount, ready },
      ];
    });
  }

  /** A part whose container was never killed: the kubelet lets one wait the longer the more often it has ended. */
  async freshPart(component: Component): Promise<Part> {
    const isFresh = ({ ready, restarts }: Part): boolean => ready && restarts === 0;
    const found = (await this.parts(component)).find(isFresh);
    if (found) return found;
    const [worn] = await this.parts(component);
    await this.installed.system.kubectl(['delete', 'pod', worn?.name ?? '']);
    await this.wholeAgain(component);
    return until('a new one', async () => (await this.parts(component)).find(isFresh));
  }

  /** Kills a part as the kernel would, without warning. */
  kill({ container }: Part): void {
    signalContainer(container, 'SIGKILL');
  }

  /** Waits until a part that was killed runs again, and all of its component are ready. */
  async wholeAgain(component: Component, killed?: Part): Promise<void> {
    await until(`the ${component} is whole again`, async () => {
      const parts = await this.parts(component);
      const isBack = killed === undefined || parts.some(({ name, restarts }) => name === killed.name && restarts > killed.restarts); // prettier-ignore
      const wanted = component === 'postgres' ? 1 : 2;
      return isBack && parts.length === wanted && parts.every(({ ready }) => ready);
    }, 120_000); // prettier-ignore
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

async function addressOf(namespace: Namespace, service: string): Promise<string> {
  return namespace.kubectl(['get', 'service', service, '--output=jsonpath={.spec.clusterIP}']);
}

async function storeOf(system: Namespace): Promise<string> {
  const encoded = await system.kubectl(['get', 'secret/chaperone-database', '--output=jsonpath={.data.url}']); // prettier-ignore
  const url = new URL(Buffer.from(encoded, 'base64').toString());
  url.hostname = await addressOf(system, 'chaperone-postgres');
  // Nothing is known of how many rows what is read out of headers has: loops in loops would be taken for cheap.
  url.searchParams.set('options', '-c enable_nestloop=off -c jit=off');
  return url.href;
}

async function applyTo(running: Cluster, items: readonly object[]): Promise<void> {
  const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
  await running.kubectl(['apply', '--filename=-'], { input });
}

const databaseOf = (image: string): readonly object[] => [
  {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'faults-db', labels: { app: 'faults-db' } },
    spec: {
      containers: [
        {
          name: 'main',
          image,
          args: ['postgres', '-c', 'fsync=off'],
          env: [
            { name: 'POSTGRES_PASSWORD', value: password },
            { name: 'POSTGRES_DB', value: 'faults' },
            { name: 'PGDATA', value: '/tmp/data' },
          ],
        },
      ],
    },
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'faults-db' },
    spec: { selector: { app: 'faults-db' }, ports: [{ port: 5432 }] },
  },
];

const upstream = 'faults-db.faults-data.svc.cluster.local';
const backend = [
  {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: 'faults-login',
      namespace: 'chaperone-credentials',
      annotations: { 'chaperone.dev/hosts': upstream },
    },
    stringData: { username: 'postgres', password },
  },
  {
    apiVersion,
    kind: 'Backend',
    metadata: { name: 'faults' },
    spec: {
      protocol: 'Postgres',
      hosts: ['faults-db'],
      ports: [5432],
      upstream: { address: `${upstream}:5432`, tls: { mode: 'Disable' } },
      consumers: [{ namespace: 'faults' }],
      credential: { type: 'Password', secretRef: { name: 'faults-login' } },
    },
  },
];

/** Refuses with words that tell one version of it from another. */
const policySaying = (message: string): object => ({
  apiVersion,
  kind: 'AuditPolicy',
  metadata: { name: 'orders' },
  spec: {
    podSelector: {},
    mode: 'Enforce',
    defaultAction: 'Allow',
    unknownHosts: 'Deny',
    record: { requests: 'Full', responses: 'Full' },
    rules: [
      {
        name: 'orders',
        backends: ['faults'],
        anySubject: true,
        postgres: { commands: ['TRUNCATE'] },
        action: 'Deny',
        message,
      },
    ],
  },
});
