import { isObject } from '#core/policy/fields.ts';
import { trustVariables, harmlessCapabilities } from '../../webhook/agent-container.ts';
import { uidRange } from '../../webhook/names.ts';
import type { InjectOptions, PodFacts } from '../../webhook/inject.ts';
import type { Pod } from '../../webhook/pod.ts';
import type { Random } from './random.ts';

export const injectOptions: InjectOptions = {
  image: 'registry.example/chaperone@sha256:00',
  imagePullPolicy: 'IfNotPresent',
  controller: {
    url: 'https://chaperone-controller.chaperone-system.svc/',
    addresses: ['10.96.0.20', 'fd10:96::20'],
    ca: 'CA OF THE CONTROLLER',
  },
  collector: {
    url: 'https://chaperone-collector.chaperone-system.svc/',
    addresses: ['10.96.0.21'],
    ca: 'CA OF THE COLLECTOR',
  },
  sidecarResources: {
    requests: { cpu: '0.02', memory: '96Mi' },
    limits: { cpu: '2', memory: '256Mi' },
  },
  initResources: {
    requests: { cpu: '10m', memory: '16Mi' },
    limits: { cpu: '500m', memory: '128Mi' },
  },
  spoolMaxBytes: 1024 ** 3,
  logLevel: 'info',
  allowedCapabilities: harmlessCapabilities,
  trustVariables: trustVariables('/run/chaperone/trust'),
};

export const podFacts: PodFacts = {
  mode: 'transparent',
  runtimeHandler: undefined,
  kubeApiToken: false,
  apiAudiences: ['https://kubernetes.default.svc', 'k3s'],
  inboundPorts: [],
};

type Fields = Record<string, unknown>;

export const asPod = (fields: Fields): Pod => fields as unknown as Pod; // made by hand, as the API server would show it

/** The least that is a pod. */
export function plainPod(spec: Fields = {}, metadata: Fields = {}): Pod {
  return asPod({
    metadata: { name: 'agent', namespace: 'agents', ...metadata },
    spec: { containers: [{ name: 'app', image: 'app' }], ...spec },
  });
}

/** A pod that can be injected, of whatever a pod may have that the webhook looks at or steps round. */
export function randomPod(random: Random): Pod {
  const maybe = <T extends object>(make: () => T): T | object => (random.below(2) ? make() : {});
  const volumes = ['data', 'config', 'kube-api-access-x7k2p'].filter(() => random.below(2));
  const container = (name: string): Fields => ({
    name,
    image: random.pick(['app', 'nginx:1', 'busybox']),
    ...maybe(() => ({ env: randomEnv(random) })),
    ...maybe(() => ({ envFrom: [{ configMapRef: { name: 'settings' } }] })),
    ...maybe(() => ({ ports: [{ name: 'http', containerPort: 1 + random.below(65_535) }] })),
    ...maybe(() => ({ volumeMounts: volumes.map((volume) => mountOf(volume)) })),
    ...maybe(() => ({ securityContext: randomSecurity(random) })),
    ...maybe(() => ({ readinessProbe: randomProbe(random) })),
    ...maybe(() => ({ lifecycle: { preStop: { exec: { command: ['true'] } } } })),
    ...maybe(() => ({ resources: { limits: { cpu: '0.5', memory: '1024Mi' } } })),
  });
  const names = (prefix: string, least: number): string[] =>
    Array.from({ length: least + random.below(3) }, (_, index) => `${prefix}-${index}`);
  return asPod({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...random.pick([{ name: 'agent' }, { generateName: 'agent-' }]),
      ...maybe(() => ({ labels: { app: 'agent', 'example.com/a~b': 'c' } })),
      ...maybe(() => ({ annotations: randomAnnotations(random) })),
    },
    spec: {
      containers: names('app', 1).map(container),
      ...maybe(() => ({ initContainers: names('init', 0).map(container) })),
      ...(volumes.length > 0 || random.below(2) ? { volumes: volumes.map(volumeOf) } : {}),
      ...maybe(() => ({ automountServiceAccountToken: random.below(2) === 0 })),
      ...maybe(() => ({ securityContext: { fsGroup: uidRange.first, runAsUser: 1000 } })),
      ...maybe(() => ({ runtimeClassName: 'kata', restartPolicy: 'Never' })),
      ...maybe(() => ({ hostUsers: true, hostNetwork: false })),
    },
  });
}

function randomEnv(random: Random): Fields[] {
  return ['HOME', 'NODE_EXTRA_CA_CERTS', 'PGSSLROOTCERT', 'TOKEN']
    .filter(() => random.below(2))
    .map((name) =>
      random.below(2)
        ? { name, value: `value ${random.below(9)}` }
        : { name, valueFrom: { secretKeyRef: { name: 'secret', key: 'key' } } },
    );
}

function randomSecurity(random: Random): Fields {
  const capabilities = ['NET_RAW', 'CAP_CHOWN', 'SYS_ADMIN', 'kill', 'SETUID', 'ALL'];
  const some = (): string[] => capabilities.filter(() => random.below(3) === 0);
  return random.pick<Fields>([
    {},
    { runAsUser: random.pick([0, 1000, uidRange.first - 1, uidRange.last + 1]) },
    { allowPrivilegeEscalation: random.below(2) === 0, readOnlyRootFilesystem: true },
    { capabilities: { drop: some() }, privileged: false },
    { capabilities: { add: some(), drop: some() } },
    { capabilities: { add: some() }, runAsNonRoot: true },
  ]);
}

function randomProbe(random: Random): Fields {
  const port = 1 + random.below(65_535);
  return random.pick<Fields>([
    { httpGet: { path: '/', port } },
    { httpGet: { path: '/', port: 'http' } },
    { tcpSocket: { port } },
    { grpc: { port } },
    { exec: { command: ['true'] } },
  ]);
}

function randomAnnotations(random: Random): Fields {
  return random.pick<Fields>([
    { 'example.com/note': 'kept' },
    { 'kubectl.kubernetes.io/default-container': 'app-0' },
    { 'cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes': 'data,chaperone-spool' },
  ]);
}

function mountOf(volume: string): Fields {
  return volume.startsWith('kube-api-access-')
    ? { name: volume, mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true }
    : { name: volume, mountPath: `/${volume}` };
}

function volumeOf(name: string): Fields {
  const sources = [{ serviceAccountToken: { expirationSeconds: 3607, path: 'token' } }];
  return name.startsWith('kube-api-access-')
    ? { name, projected: { sources, defaultMode: 420 } }
    : { name, emptyDir: {} };
}

/** A pod as the API server shows it once it has decoded it and filled in defaults, with a LimitRange in its namespace. */
export function asServed(pod: Pod): Pod {
  const copy = structuredClone(pod) as unknown as { spec: Record<string, unknown> };
  for (const list of ['containers', 'initContainers'])
    for (const container of (copy.spec[list] ?? []) as Fields[]) {
      container['terminationMessagePath'] ??= '/dev/termination-log';
      container['terminationMessagePolicy'] ??= 'File';
      container['imagePullPolicy'] = 'Always'; // AlwaysPullImages
      container['resizePolicy'] = [{ resourceName: 'cpu', restartPolicy: 'NotRequired' }];
      const resources = (container['resources'] ??= {}) as Record<string, Fields>; // as written below
      for (const kind of ['requests', 'limits'])
        resources[kind] = {
          cpu: '100m',
          'ephemeral-storage': '1Gi',
          ...Object.fromEntries(
            Object.entries(resources[kind] ?? {}).map(([name, amount]) => [
              name,
              canonical(amount),
            ]),
          ),
        };
      for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe'])
        if (isObject(container[probe]))
          container[probe] = { periodSeconds: 10, failureThreshold: 3, ...container[probe] };
    }
  for (const volume of (copy.spec['volumes'] ?? []) as Record<string, Fields>[])
    if (volume['emptyDir']?.['sizeLimit'] !== undefined)
      volume['emptyDir']['sizeLimit'] = canonical(volume['emptyDir']['sizeLimit']);
  copy.spec['dnsPolicy'] ??= 'ClusterFirst';
  return copy as unknown as Pod;
}

function canonical(amount: unknown): unknown {
  const spellings = new Map([['0.02', '20m'], ['0.5', '500m'], ['1024Mi', '1Gi']]); // prettier-ignore
  return spellings.get(String(amount)) ?? amount;
}
