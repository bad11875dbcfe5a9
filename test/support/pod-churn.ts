import { setTimeout as delay } from 'node:timers/promises';
import { ApiException, type CoreV1Api, type V1Pod } from '@kubernetes/client-node';
import type { Namespace } from './cluster.ts';
import { until } from './until.ts';

/** What the API server made of pods that it was asked to create. */
export interface Answers {
  readonly asked: number;
  readonly injected: number;
  /** Because the webhook did not answer. */
  readonly refused: number;
  /** Let in without a sidecar. */
  readonly bare: number;
}

/** Creates pods all the time, as dry runs: they are admitted like any other, and nobody starts them. */
export interface Questions {
  /** Waits for so many more answers. */
  more(count: number): Promise<void>;
  /** @throws where one was refused for another reason than that the webhook did not answer. */
  stop(): Promise<Answers>;
}

const askers = 3;
const pauseMs = 25;

export function startQuestions(core: CoreV1Api, namespace: string): Questions {
  const count = { asked: 0, injected: 0, refused: 0, bare: 0 };
  let isOver = false;
  const ask = async (): Promise<void> => {
    while (!isOver) {
      const answer = await answerTo(core, namespace);
      count.asked += 1;
      count[answer] += 1;
      await delay(pauseMs);
    }
  };
  const asking = Promise.all(Array.from({ length: askers }, ask));
  asking.catch(() => (isOver = true)); // whoever stops it is told
  return {
    more: async (wanted) => {
      const before = count.asked;
      await until(`${wanted} more answers`, () => isOver || count.asked >= before + wanted, 60_000);
    },
    stop: async () => {
      isOver = true;
      await asking;
      return count;
    },
  };
}

async function answerTo(
  core: CoreV1Api,
  namespace: string,
): Promise<'injected' | 'refused' | 'bare'> {
  const body: V1Pod = {
    metadata: { generateName: 'question-' },
    spec: { containers: [{ name: 'main', image: 'localhost/pause:1' }] },
  };
  try {
    const { spec } = await core.createNamespacedPod({ namespace, body, dryRun: 'All' });
    const isInjected = spec?.initContainers?.some(({ name }) => name === 'chaperone') === true;
    return isInjected ? 'injected' : 'bare';
  } catch (error) {
    if (error instanceof ApiException && /failed calling webhook/.test(String(error.body)))
      return 'refused';
    throw error;
  }
}

/** Has one pod after the other start, for as long as it lasts. */
export interface Churn extends AsyncDisposable {
  /** Waits until so many pods more have started that were not created yet. */
  more(count: number): Promise<void>;
  /** Ends with the pod that is starting, and says how many have. @throws where one did not start. */
  stop(): Promise<number>;
}

export function startPodChurn(namespace: Namespace, image: string): Churn {
  let created = 0;
  let started = 0;
  let isOver = false;
  const turn = async (): Promise<void> => {
    while (!isOver) {
      created += 1;
      const name = `churn-${created}`;
      await namespace.apply([idlePod(name, image)]);
      await namespace.waitFor(`pod/${name}`, 'condition=Ready');
      started += 1;
      await namespace.kubectl(['delete', 'pod', name, '--wait=false']);
    }
  };
  const turning = turn();
  turning.catch(() => (isOver = true)); // whoever stops it is told
  const stop = async (): Promise<number> => {
    isOver = true;
    await turning;
    return started;
  };
  return {
    more: async (count) => {
      const before = created;
      await until(`${count} more pods`, () => isOver || started >= before + count, 120_000);
    },
    stop,
    [Symbol.asyncDispose]: async () => void (await stop()),
  };
}

/** A pod that waits, and goes at once when it is asked to. */
export function idlePod(name: string, image: string): object {
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: idleSpec(image) };
}

/** Two of them. */
export function idleDeployment(name: string, image: string): object {
  const labels = { app: name };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: idleSpec(image) },
    },
  };
}

function idleSpec(image: string): object {
  const script = `process.on('SIGTERM', () => process.exit()); setInterval(() => 0, 1_000)`;
  // What they leave of their time is the sidecar's, to ship what it has.
  const containers = [{ name: 'main', image, command: ['/usr/bin/node', '-e', script] }];
  return { terminationGracePeriodSeconds: 20, containers };
}
