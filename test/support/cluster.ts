import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { projectDirectory } from '../../cli/instance.ts';
import { isUp, noCluster } from '../cluster/cluster.ts';
import { kube, kubeconfigFile, kubectlCache } from '../cluster/places.ts';

/** Whether tests have this machine's own cluster: the node of another is elsewhere. */
export const ownCluster = (process.env['KUBECONFIG'] ?? '') === '';

/** Why tests can have no cluster here, or false. One that KUBECONFIG names serves everybody. */
export const withoutCluster: string | false = ownCluster ? noCluster : false;

/** A Kubernetes cluster: the one that KUBECONFIG names, or this machine's own. */
export interface Cluster extends AsyncDisposable {
  readonly kubeconfig: string;
  /** Whether it is this machine's own, whose addresses `test/cluster/addresses.ts` lists. */
  readonly own: boolean;
  /** Runs kubectl and returns what it wrote; fails with what it said. It has two minutes unless told otherwise. */
  kubectl(args: readonly string[], options?: KubectlOptions): Promise<string>;
  /** Builds the product's image where that is needed, gives it to the node, and says its name. */
  image(): Promise<string>;
  /** The same for the image of what runs beside the product: PostgreSQL, psql, curl, dig, Python. */
  workloads(): Promise<string>;
  /** Has the definitions of Chaperone's resources there without its chart; those that were missing go again at the end. */
  definitions(): Promise<AsyncDisposable>;
  /** Makes a namespace, empty. At its end the cluster begins to remove it, and nobody waits for that. */
  namespace(name: string, labels?: Readonly<Record<string, string>>): Promise<Namespace>;
}

/** A namespace of a test's own. */
export interface Namespace extends AsyncDisposable {
  readonly name: string;
  /** Like the cluster's, in this namespace. */
  kubectl(args: readonly string[], options?: KubectlOptions): Promise<string>;
  /** Applies YAML, or resources as objects. */
  apply(resources: string | readonly object[]): Promise<void>;
  /**
   * Waits for what `kubectl wait --for` takes, such as `condition=Ready` of `pod/agent`. When it does not come, the
   * error has the state of the pods, their events and the end of their logs.
   */
  waitFor(what: string, condition: string, timeoutMs?: number): Promise<void>;
  /** What a pod wrote: all of its containers, or one. */
  logs(pod: string, container?: string): Promise<string>;
}

export interface KubectlOptions {
  readonly input?: string;
  readonly timeoutMs?: number;
}

const waitMs = 120_000; // seconds are usual; a busy machine takes its time
const upMs = 15 * 60_000; // with what is to be compiled, if nobody has done so
const imageMs = 10 * 60_000;

let users = 0;
let current: Promise<{ readonly started: boolean }> | undefined;
let loaded: Promise<string> | undefined;
let workloads: Promise<string> | undefined;

/**
 * Brings the cluster up, once for a test process however many ask; one that is up is used as it is. It goes down with
 * the last of its users if it was started here.
 */
export async function cluster(): Promise<Cluster> {
  const named = process.env['KUBECONFIG'] ?? '';
  const own = named === '';
  if (own) current ??= startOwn();
  users += 1;
  await current;
  const kubeconfig = own ? kubeconfigFile : named;
  const kubectl = (args: readonly string[], options: KubectlOptions = {}): Promise<string> =>
    runKubectl(kubeconfig, args, options);
  return {
    kubeconfig,
    own,
    kubectl,
    image: () =>
      (loaded ??= own ? loadImage('tools/image.ts') : imageElsewhere('CHAPERONE_TEST_IMAGE')),
    workloads: () => (workloads ??= own ? loadImage('test/cluster/main.ts', 'workloads') : imageElsewhere('CHAPERONE_TEST_WORKLOADS')), // prettier-ignore
    definitions: () => openDefinitions(kubectl),
    namespace: (name, labels = {}) => openNamespace(kubectl, name, labels),
    [Symbol.asyncDispose]: async () => {
      users -= 1;
      if (users > 0 || current === undefined) return;
      const { started } = await current;
      current = undefined;
      loaded = undefined;
      workloads = undefined;
      if (started) await runTool('test/cluster/main.ts', ['down'], waitMs);
    },
  };
}

async function startOwn(): Promise<{ readonly started: boolean }> {
  const wasUp = isUp();
  await runTool('test/cluster/main.ts', ['up'], upMs);
  return { started: !wasUp };
}

/** Runs a tool that prints the path of an image's archive, and gives the image to the node. */
async function loadImage(file: string, ...args: readonly string[]): Promise<string> {
  const { out } = await runTool(file, args, imageMs);
  const archive = out.trim();
  const said = await runTool('test/cluster/main.ts', ['load-image', archive], waitMs);
  const [, name] = /^unpacking (\S+)/m.exec(said.out) ?? [];
  if (name === undefined) throw new Error(`the image was not loaded: ${said.out}${said.err}`);
  return name;
}

/** Another cluster takes images from where it can. */
async function imageElsewhere(variable: string): Promise<string> {
  const name = process.env[variable] ?? '';
  if (name === '')
    throw new Error(`${variable} has to name the image in the cluster of KUBECONFIG`);
  return name;
}

async function runTool(
  file: string,
  args: readonly string[],
  timeout: number,
): Promise<{ readonly out: string; readonly err: string }> {
  const child = spawn(process.execPath, [join(projectDirectory, file), ...args], {
    cwd: projectDirectory,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout,
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${file} ${args.join(' ')}: ${err}${out}`);
  return { out, err };
}

function runKubectl(
  kubeconfig: string,
  args: readonly string[],
  { input = '', timeoutMs = waitMs }: KubectlOptions,
): Promise<string> {
  const [program, ...before] = existsSync(kube) ? [kube, 'kubectl'] : ['kubectl'];
  return new Promise((resolve, reject) => {
    const child = execFile(
      program ?? 'kubectl',
      [...before, `--kubeconfig=${kubeconfig}`, ...args],
      {
        env: {
          ...process.env,
          ...(kubeconfig === kubeconfigFile && { KUBECACHEDIR: kubectlCache }),
        },
        timeout: timeoutMs,
        maxBuffer: 64 * 1024 * 1024,
      },
      (error, out, err) => {
        if (!error) resolve(out);
        else if (error.killed === true)
          reject(new Error(`kubectl ${args.join(' ')}: no end within ${timeoutMs} ms; ${err}`));
        else reject(new Error(`kubectl ${args.join(' ')}: ${err.trim() || error.message}`));
      },
    );
    child.stdin?.on('error', () => undefined); // it has ended without reading, and its code says why
    child.stdin?.end(input);
  });
}

async function openDefinitions(kubectl: Cluster['kubectl']): Promise<AsyncDisposable> {
  const files = `--filename=${join(projectDirectory, 'crds')}`;
  const there = await kubectl(['get', files, '--ignore-not-found', '--output=name']);
  if (there === '') {
    await kubectl(['apply', files]);
    await kubectl(['wait', files, '--for=condition=Established', `--timeout=${waitMs / 1000}s`]);
  }
  return {
    [Symbol.asyncDispose]: async () => {
      if (there === '') await kubectl(['delete', files, '--ignore-not-found']);
    },
  };
}

async function openNamespace(
  ofCluster: Cluster['kubectl'],
  name: string,
  labels: Readonly<Record<string, string>>,
): Promise<Namespace> {
  const kubectl: Cluster['kubectl'] = (args, options) =>
    ofCluster(['--namespace', name, ...args], options);
  const apply: Namespace['apply'] = async (resources) => {
    const input =
      typeof resources === 'string'
        ? resources
        : JSON.stringify({ apiVersion: 'v1', kind: 'List', items: resources });
    await kubectl(['apply', '--filename=-'], { input });
  };
  const remove = async (wait: boolean): Promise<void> => {
    const flags = [
      '--ignore-not-found',
      '--grace-period=1',
      `--wait=${wait}`,
      `--timeout=${waitMs / 1000}s`,
    ];
    await ofCluster(['delete', 'namespace', name, ...flags], { timeoutMs: waitMs + 5_000 });
  };
  await remove(true); // what an earlier test, or a run that was killed, has left
  await apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }]);
  await ofCluster(['--namespace', name, 'wait', '--for=create', 'serviceaccount/default']);
  return {
    name,
    kubectl,
    apply,
    waitFor: async (what, condition, timeoutMs = waitMs) => {
      const args = [
        'wait',
        `--for=${condition}`,
        what,
        `--timeout=${Math.ceil(timeoutMs / 1000)}s`,
      ];
      await kubectl(args, { timeoutMs: timeoutMs + 5_000 }).catch(async (cause: unknown) => {
        const why = cause instanceof Error ? cause.message : 'unknown';
        throw new Error(`${why}\n${await stateOf(kubectl)}`, { cause });
      });
    },
    logs: (pod, container) =>
      kubectl(['logs', pod, ...(container === undefined ? ['--all-containers'] : ['--container', container])]), // prettier-ignore
    [Symbol.asyncDispose]: () => remove(false),
  };
}

/** A line a pod: its name, and those of its containers. */
const podsAndContainers =
  '{range .items[*]}{.metadata.name}{range .spec.initContainers[*]} {.name}{end}{range .spec.containers[*]} {.name}{end}{"\\n"}{end}';

/** What somebody would look at first when a pod does not do what it should. */
async function stateOf(kubectl: Cluster['kubectl']): Promise<string> {
  const look = (...args: readonly string[]): Promise<string> =>
    kubectl(args, { timeoutMs: 10_000 }).catch((error: unknown) => String(error));
  const pods = await look('get', 'pods', '--output=wide');
  const events = await look('get', 'events', '--sort-by=.lastTimestamp');
  const lines = (await look('get', 'pods', `--output=jsonpath=${podsAndContainers}`)).split('\n');
  // Each by itself: kubectl shows none of a pod's logs as long as one of its containers has none.
  const logs = await Promise.all(
    lines.flatMap((line) => {
      const [pod = '', ...containers] = line.split(' ');
      return containers.map((name) =>
        look('logs', pod, '--container', name, '--prefix', '--tail=20'),
      );
    }),
  );
  return [pods, events.split('\n').slice(-30).join('\n'), ...logs].join('\n');
}
