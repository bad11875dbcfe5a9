import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parse, stringify } from 'yaml';
import type { ServerAddresses } from '../../webhook/own-service.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { accountsIn, isShared, renderChart, trialValues } from './chart.ts';
import type { Cluster, Namespace } from './cluster.ts';
import { injectOptions } from './pods.ts';

/** A replica of the controller as a process of this machine, with the rights of its account. */
export interface Controller extends AsyncDisposable {
  readonly name: string;
  readonly port: number;
  /** Lines of its log so far. */
  readonly log: readonly string[];
  /** As a machine that is switched off. */
  kill(): Promise<void>;
}

/** What replicas share: objects of the chart, an account, and nothing else that the chart has. */
export interface ControllerPlace extends AsyncDisposable {
  readonly own: Namespace;
  readonly credentials: Namespace;
  /** Where pods are told to turn to. */
  readonly urls: { readonly controller: string; readonly collector: string };
  /** Of the Services by these names. */
  readonly addresses: ServerAddresses;
  /** Starts a replica, and waits until it answers. */
  start(name: string): Promise<Controller>;
}

const prefix = 'status-test-';

/** Makes what controllers need in a cluster in which none is installed. */
export async function makeControllerPlace(
  running: Cluster,
  name: string,
): Promise<ControllerPlace> {
  // prettier-ignore
  const installed = await running.kubectl(['get', 'mutatingwebhookconfiguration', 'chaperone', '--ignore-not-found', '--output=name']); // prettier-ignore
  if (installed !== '') throw new Error('Chaperone is installed in this cluster');
  await using stack = new AsyncDisposableStack();
  const [own, credentials, objects] = await Promise.all([
    running.namespace(name),
    running.namespace(`${name}-credentials`),
    renderChart(name, [...trialValues, `credentials.namespace=${name}-credentials`]),
  ]);
  stack.use(own);
  stack.use(credentials);
  const accounts = accountsIn(objects, prefix).filter(({ metadata }) =>
    /chaperone-(controller|credentials)$/.test(metadata.name),
  );
  const made = objects.filter(({ kind, metadata }) =>
    kind === 'Lease' || (kind === 'Service' && /^chaperone-(controller|collector)$/.test(metadata.name)) || (['ConfigMap', 'Secret'].includes(kind) && /^chaperone-(authorit|\w+-tls|kills|programmed)/.test(metadata.name))); // prettier-ignore
  await running.kubectl(['apply', '--filename=-'], { input: listOf([...accounts, ...made]) });
  stack.defer(async () => {
    const input = listOf(accounts.filter(isShared));
    await running.kubectl(['delete', '--ignore-not-found', '--filename=-'], { input });
  });
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-controllers-'));
  stack.defer(() => rmSync(directory, { recursive: true }));
  const kubeconfig = join(directory, 'kubeconfig');
  const token = (await own.kubectl(['create', 'token', 'chaperone-controller'])).trim();
  writeFileSync(kubeconfig, withToken(readFileSync(running.kubeconfig, 'utf8'), token), {
    mode: 0o600,
  });
  const urls = { controller: `https://chaperone-controller.${name}.svc/`, collector: `https://chaperone-collector.${name}.svc/` }; // prettier-ignore
  const env = {
    PATH: process.env['PATH'],
    KUBECONFIG: kubeconfig,
    CHAPERONE_LISTEN: '127.0.0.1:0',
    CHAPERONE_POD_NAMESPACE: name,
    CHAPERONE_CREDENTIALS_NAMESPACE: credentials.name,
    CHAPERONE_RESOLVER: '10.96.0.10:53',
    CHAPERONE_IMAGE: injectOptions.image,
    CHAPERONE_CONTROLLER_URL: urls.controller,
    CHAPERONE_COLLECTOR_URL: urls.collector,
    CHAPERONE_DRAIN_SECONDS: '0',
  };
  const addressesOf = async (server: string): Promise<readonly string[]> =>
    (await own.kubectl(['get', 'service', `chaperone-${server}`, '--output=jsonpath={.spec.clusterIPs[*]}'])).split(' '); // prettier-ignore
  const addresses = { controller: await addressesOf('controller'), collector: await addressesOf('collector') }; // prettier-ignore
  const held = stack.move();
  return {
    own,
    credentials,
    urls,
    addresses,
    start: (replica) => startController(replica, { ...env, CHAPERONE_POD_NAME: replica }),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

async function startController(name: string, env: NodeJS.ProcessEnv): Promise<Controller> {
  const main = join(projectDirectory, 'controller/main.ts');
  const child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const closed = once(child, 'close');
  const log: string[] = [];
  const port = await new Promise<number>((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      log.push(line);
      const [, ready] = /"address":\{[^}]*"port":(\d+).*"msg":"ready"/.exec(line) ?? [];
      if (ready !== undefined) resolve(Number(ready));
    });
    child.on('exit', () => reject(new Error(`the controller ended: ${log.join('\n')}`)));
  });
  const end = async (signal: 'SIGKILL' | 'SIGTERM'): Promise<void> => {
    child.kill(signal);
    await closed;
  };
  return { name, port, log, kill: () => end('SIGKILL'), [Symbol.asyncDispose]: () => end('SIGTERM') }; // prettier-ignore
}

/** The same cluster, asked by somebody else. */
function withToken(kubeconfig: string, token: string): string {
  const { clusters } = parse(kubeconfig) as { readonly clusters: readonly { readonly name: string }[] }; // prettier-ignore
  const context = { cluster: clusters[0]?.name, user: 'controller' };
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters,
    users: [{ name: 'controller', user: { token } }],
    contexts: [{ name: 'test', context }],
    'current-context': 'test',
  });
}

function listOf(items: readonly object[]): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
}
