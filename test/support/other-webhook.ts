import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { ServerKeyPair } from '#core/control.ts';
import { addresses } from '../cluster/addresses.ts';
import { issueForHost } from './webhook-process.ts';

/** A mutating webhook of somebody else, as those of monitoring, secrets and registries are. */
export interface OtherWebhook extends AsyncDisposable {
  readonly url: string;
  /** How many pods it was asked about. */
  readonly asked: () => number;
}

/** What it does is said by the pod, in an annotation: some of these, with commas. */
export const otherKeys = {
  position: 'other.example/position',
  does: 'other.example/does',
  done: 'other.example/done',
} as const;

/** What such webhooks do to pods and to the containers that are theirs to change. */
export const politeDeeds = [
  'sidecar',
  'first-sidecar',
  'init',
  'native-sidecar',
  'env',
  'mount',
  'image',
  'labels',
  'privileges',
  'resources',
  'tolerations',
  'probe',
] as const;

/** What they do to every container of a pod, whosever it is: `late-env` only when they are asked again. */
export const bluntDeeds = ['env-of-all', 'image-of-all', 'mount-of-all', 'late-env'] as const;

export type Deed = (typeof politeDeeds)[number] | (typeof bluntDeeds)[number];

type Json = Record<string, unknown>;
interface Changing {
  metadata: { labels?: Record<string, string>; annotations?: Record<string, string> };
  spec: {
    containers: ChangingContainer[];
    initContainers?: ChangingContainer[];
    volumes?: { name: string; [field: string]: unknown }[];
    tolerations?: Json[];
  };
}
interface ChangingContainer {
  name: string;
  image?: string;
  env?: { name: string; value?: string }[];
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean }[];
  securityContext?: Json;
  resources?: Json;
  [field: string]: unknown;
}

const isOurs = ({ name }: ChangingContainer): boolean => name.startsWith('chaperone');
const isTheirs = ({ name }: ChangingContainer): boolean => name.startsWith('other-');

/** Adds to a list what has a name that is not there yet: being asked twice is nothing special for these webhooks either. */
function add<T extends { name: string }>(list: T[] | undefined, item: T, first = false): T[] {
  if (list?.some(({ name }) => name === item.name)) return list;
  return first ? [item, ...(list ?? [])] : [...(list ?? []), item];
}

function container(name: string, more: Json = {}): ChangingContainer {
  return { name, image: 'registry.example/other:1', ...more };
}

function giveEnv(each: ChangingContainer): void {
  each.env = add(each.env, { name: 'OTHER_AGENT', value: 'other.example:8126' });
}

function giveMount(each: ChangingContainer): void {
  each.volumeMounts = add(each.volumeMounts, { name: 'other-socket', mountPath: '/run/other' });
}

function mirror(each: ChangingContainer): void {
  if (!each.image?.startsWith('mirror.example/')) each.image = `mirror.example/${each.image ?? ''}`;
}

const probe = { httpGet: { path: '/', port: 9876 }, periodSeconds: 7 };

/** Each of them on a copy of the pod, `all` being its containers and `agents` those that are neither ours nor theirs. */
const deeds: Readonly<
  Record<Deed, (pod: Changing, all: ChangingContainer[], agents: ChangingContainer[]) => void>
> = {
  sidecar: ({ spec }) => {
    spec.containers = add(spec.containers, container('other-sidecar', { readinessProbe: probe }));
  },
  'first-sidecar': ({ spec }) => {
    spec.containers = add(spec.containers, container('other-first'), true);
  },
  init: ({ spec }) => {
    spec.initContainers = add(spec.initContainers, container('other-init'), true);
  },
  'native-sidecar': ({ spec }) => {
    const native = container('other-native', { restartPolicy: 'Always', startupProbe: probe });
    spec.initContainers = add(spec.initContainers, native, true);
  },
  env: (_pod, _all, agents) => agents.forEach(giveEnv),
  mount: (pod, _all, agents) => {
    pod.spec.volumes = add(pod.spec.volumes, { name: 'other-socket', emptyDir: {} });
    agents.forEach(giveMount);
  },
  image: (_pod, _all, agents) => agents.forEach(mirror),
  labels: (pod) => {
    pod.metadata.labels = { ...pod.metadata.labels, 'other.example/team': 'theirs' };
  },
  privileges: (_pod, _all, agents) => {
    for (const each of agents)
      each.securityContext = {
        ...each.securityContext,
        allowPrivilegeEscalation: true,
        capabilities: { add: ['NET_ADMIN', 'SETUID'] },
      };
  },
  resources: (_pod, _all, agents) => {
    for (const each of agents) each.resources ??= { requests: { cpu: '50m' } };
  },
  tolerations: ({ spec }) => {
    const toleration = { key: 'other.example/spot', operator: 'Exists' };
    if (!spec.tolerations?.some(({ key }) => key === toleration.key))
      spec.tolerations = [...(spec.tolerations ?? []), toleration];
  },
  probe: ({ spec }) => {
    for (const each of spec.containers) each['livenessProbe'] ??= { ...probe, failureThreshold: 9 };
  },
  'env-of-all': (_pod, all) => all.forEach(giveEnv),
  'image-of-all': (_pod, all) => all.forEach(mirror),
  'mount-of-all': (pod, all) => {
    pod.spec.volumes = add(pod.spec.volumes, { name: 'other-socket', emptyDir: {} });
    all.forEach(giveMount);
  },
  'late-env': ({ metadata }, all) => {
    if (metadata.annotations?.[otherKeys.done] === 'true') all.forEach(giveEnv);
  },
};

function change(pod: Changing): Changing {
  const wanted = pod.metadata.annotations?.[otherKeys.does]?.split(',') ?? [];
  for (const [name, deed] of Object.entries(deeds)) {
    if (!wanted.includes(name)) continue;
    const all = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])];
    deed(pod, all, all.filter((each) => !isOurs(each) && !isTheirs(each))); // prettier-ignore
  }
  pod.metadata.annotations = { ...pod.metadata.annotations, [otherKeys.done]: 'true' };
  return pod;
}

/** Starts it at the host's end of the link into the cluster. */
export async function startOtherWebhook(authority: ServerKeyPair): Promise<OtherWebhook> {
  let asked = 0;
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    asked += 1;
    const body = JSON.parse(Buffer.concat(await request.toArray()).toString()) as {
      request: { uid: string; object: Changing };
    };
    const { uid, object } = body.request;
    const before = structuredClone(object);
    const { metadata, spec } = change(object);
    const operations = [
      { op: 'replace', path: '/metadata', value: metadata },
      { op: 'replace', path: '/spec', value: spec },
    ];
    const isSame = JSON.stringify(before) === JSON.stringify(object);
    const patch = Buffer.from(JSON.stringify(operations)).toString('base64');
    response.setHeader('content-type', 'application/json');
    response.end(
      JSON.stringify({
        apiVersion: 'admission.k8s.io/v1',
        kind: 'AdmissionReview',
        response: { uid, allowed: true, ...(!isSame && { patchType: 'JSONPatch', patch }) },
      }),
    );
  };
  const server = createServer(await issueForHost(authority), (request, response) => {
    answer(request, response).catch((error: unknown) => response.destroy(error as Error)); // the API server says so
  });
  server.listen(0, addresses.host.v4);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP server's address is one
  return {
    url: `https://${addresses.host.v4}:${port}/`,
    asked: () => asked,
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
