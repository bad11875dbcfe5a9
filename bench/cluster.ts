import { setTimeout as delay } from 'node:timers/promises';
import { KubeConfig, Watch, type V1Pod } from '@kubernetes/client-node';
import { memoryOfContainer } from '../test/cluster/memory.ts';
import { cluster, type Namespace } from '../test/support/cluster.ts';
import { install } from '../test/support/installed.ts';
import type { Effort } from './postgres/throughput.ts';
import { figureOf, type Figure, type Measured } from './rounds.ts';

/** Pods a way; the goal is about their median. */
const pods = 20;
const podMs = 60_000;

/** What happens to a pod one after the other, in seconds since somebody began to create it. */
interface Start {
  /** The API server had answered, after all webhooks. */
  readonly admitted: number;
  /** The kubelet had made its network. */
  readonly network: number;
  /** The sidecar's process had started. */
  readonly sidecar: number;
  /** The rules of its network were set and proven, and the sidecar was ready. */
  readonly proven: number;
  /** Its own container ran. */
  readonly running: number;
}

/** How long pods take to start with Chaperone and without, and how much memory an idle sidecar has. */
export async function* podStarts(effort: Effort): AsyncGenerator<Measured> {
  effort.say('a cluster, with the chart');
  await using running = await cluster();
  const image = await running.workloads();
  await using _ = await install(running);
  await using plain = await running.namespace('bench-plain');
  await using labelled = await running.namespace('bench-labelled', { 'chaperone.dev/enforce': 'true' }); // prettier-ignore
  const config = new KubeConfig();
  config.loadFromFile(running.kubeconfig);
  const count = effort.rounds < 3 ? 3 : pods;
  const starts: Record<'direct' | 'chaperone', Start[]> = { direct: [], chaperone: [] };
  let memory: readonly number[] = [];
  for (let index = 0; index < count; index += 1) {
    effort.say(`pod ${index + 1} of ${count}, without and with`);
    starts.direct.push(await startPod(plain, config, image));
    starts.chaperone.push(await startPod(labelled, config, image));
    if (running.own && index === count - 1) memory = await memoryWhenIdle(labelled);
    for (const namespace of [plain, labelled])
      await namespace.kubectl(['delete', 'pod', 'measured', '--grace-period=1']);
  }
  const figure = (way: 'direct' | 'chaperone', moment: keyof Start): Figure =>
    figureOf(starts[way].map((start) => start[moment]));
  yield {
    measure: 'a pod, from its creation until its container runs',
    unit: 's',
    figures: { direct: figure('direct', 'running'), chaperone: figure('chaperone', 'running') },
    goal: { kind: 'more-than-direct', by: 3 },
  };
  for (const [what, from, to] of [
    ['admission', undefined, 'admitted'],
    ['scheduling, volumes and network', 'admitted', 'network'],
    ['start of the sidecar', 'network', 'sidecar'],
    ['rules and their proof, sidecar ready', 'sidecar', 'proven'],
    ['its own container', 'proven', 'running'],
  ] as const) {
    const took = (start: Start): number => start[to] - (from === undefined ? 0 : start[from]);
    const chaperone = figureOf(starts.chaperone.map(took));
    const direct = from === undefined ? { direct: figureOf(starts.direct.map(took)) } : {};
    yield { measure: `  of that: ${what}`, unit: 's', figures: { ...direct, chaperone } };
  }
  if (memory.length > 0)
    yield {
      measure: 'memory of an idle sidecar in its pod, anon and kernel',
      unit: 'MB',
      figures: { chaperone: figureOf(memory) },
      goal: { kind: 'limit', most: 80 },
    };
}

/** Creates a pod, and returns when its container runs. */
async function startPod(namespace: Namespace, config: KubeConfig, image: string): Promise<Start> {
  const moments = new Map<keyof Start, number>();
  const running = Promise.withResolvers<void>();
  let began = Number.NaN;
  const note = (moment: keyof Start): void => {
    if (!moments.has(moment)) moments.set(moment, (performance.now() - began) / 1000);
  };
  const onPod = ({ status }: V1Pod): void => {
    const init = status?.initContainerStatuses ?? [];
    const done = (name: string): boolean =>
      init.some((each) => each.name.includes(name) && each.state?.terminated?.exitCode === 0);
    if (status?.podIP !== undefined || init.some(({ state }) => state?.waiting === undefined)) note('network'); // prettier-ignore
    if (init.some(({ name, started }) => name === 'chaperone' && started)) note('sidecar'); // prettier-ignore
    if (done('network')) note('proven');
    if (status?.containerStatuses?.some(({ state }) => state?.running) !== true) return;
    note('running');
    running.resolve();
  };
  const watch = await new Watch(config).watch(
    `/api/v1/namespaces/${namespace.name}/pods`,
    {},
    (_type, pod: V1Pod) => onPod(pod),
    (error) => running.reject(error instanceof Error ? error : new Error('the watch ended')),
  );
  const slow = setTimeout(() => running.reject(new Error('a pod does not start')), podMs);
  try {
    began = performance.now();
    await namespace.apply([
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'measured' },
        spec: { containers: [{ name: 'main', image, command: ['sleep', 'infinity'] }] },
      },
    ]);
    note('admitted');
    await running.promise;
  } finally {
    clearTimeout(slow);
    watch.abort();
  }
  const at = (moment: keyof Start): number => moments.get(moment) ?? Number.NaN;
  return {
    admitted: at('admitted'),
    network: at('network'),
    sidecar: at('sidecar'),
    proven: at('proven'),
    running: at('running'),
  };
}

const byName = '{.status.initContainerStatuses[?(@.name=="chaperone")].containerID}';

/** Megabytes of the sidecar of the pod that was started last, several times once it has settled. */
async function memoryWhenIdle(namespace: Namespace): Promise<readonly number[]> {
  const read = (path: string): Promise<string> =>
    namespace.kubectl(['get', 'pod', 'measured', `--output=jsonpath=${path}`]);
  const [uid, container] = [await read('{.metadata.uid}'), await read(byName)];
  const values: number[] = [];
  for (let round = 0; round < 6; round += 1) {
    await delay(10_000);
    values.push(memoryOfContainer(uid, container) / 1e6);
  }
  return values.slice(2);
}
