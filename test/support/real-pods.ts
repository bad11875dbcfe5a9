import { sidecarAudiences } from '#core/audiences.ts';
import { isObject } from '#core/policy/fields.ts';
import { uidRange } from '../../webhook/names.ts';
import type { Pod } from '../../webhook/pod.ts';
import { asPod } from './pods.ts';
import type { Random } from './random.ts';

/** Generates pods with all that real ones have, nearly all of which the API server takes. */

type Fields = Record<string, unknown>;
type Make = () => Fields;

/** RuntimeClasses that generated pods name, by their handlers. */
export const runtimeClasses = { 'mutation-kata': 'kata', 'mutation-gvisor': 'runsc' } as const;

/** What Chaperone refuses, each as an author would write it. */
const refusable: readonly Fields[] = [
  { hostNetwork: true },
  { hostPID: true },
  { hostIPC: true },
  { hostUsers: false },
  { shareProcessNamespace: true },
  { securityContext: { runAsUser: uidRange.first } },
  { runtimeClassName: 'mutation-gvisor' },
  { nodeSelector: { 'kubernetes.io/os': 'windows' } },
  { volumes: [{ name: 'host', hostPath: { path: '/var/log' } }] },
  { volumes: [{ name: 'chaperone-spool', emptyDir: {} }] },
  { volumes: [projected('stolen', { audience: sidecarAudiences.controller })] },
  { volumes: [projected('api', {})] },
  { containers: [{ name: 'app', image: 'app', securityContext: { privileged: true } }] },
  { containers: [{ name: 'app', image: 'app', securityContext: { runAsUser: uidRange.last } }] },
  { containers: [{ name: 'istio-proxy', image: 'istio/proxyv2' }] },
  { containers: [{ name: 'chaperone-network', image: 'app' }] },
  {
    containers: [
      {
        name: 'app',
        image: 'app',
        livenessProbe: { httpGet: { path: '/', port: 80, host: '127.0.0.1' } },
      },
    ],
  },
  { initContainers: [{ name: 'chaperone', image: 'app', restartPolicy: 'Always' }] },
];

function projected(name: string, token: Fields): Fields {
  const serviceAccountToken = { path: 'token', expirationSeconds: 3600, ...token };
  return { name, projected: { sources: [{ serviceAccountToken }] } };
}

/** A pod that Chaperone injects, or with `refused` one that it refuses. */
export function realPod(random: Random, name: string, refused = false): Pod {
  const volumes = randomVolumes(random);
  const mounts = volumes.map((volume) => String(volume['name']));
  const native = count(random, 2).map((index) => ({
    ...container(random, `native-${index}`, mounts),
    restartPolicy: 'Always',
    ...maybe(random, () => ({ startupProbe: probe(random) })),
  }));
  const init = count(random, 3).map((index) => step(random, `init-${index}`, mounts));
  const initContainers = random.below(2) ? [...native, ...init] : [...init, ...native];
  return asPod({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...random.pick([{ name }, { generateName: `${name}-` }]),
      labels: { app: 'agent', ...maybe(random, () => ({ 'example.com/a': 'b', tier: '' })) },
      annotations: {
        'example.com/some_thing': 'kept',
        ...maybe(random, () => ({ 'kubectl.kubernetes.io/default-container': 'app-0' })),
        ...maybe(random, () => ({ 'cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes': 'work' })), // prettier-ignore
      },
    },
    spec: merged({
      containers: [0, ...count(random, 2).map((index) => index + 1)].map((index) => ({
        ...container(random, `app-${index}`, mounts),
        ...maybe(random, () => ({ startupProbe: probe(random) })),
      })),
      ...(initContainers.length > 0 && { initContainers }),
      ...(volumes.length > 0 && { volumes }),
      ...settings(random),
    }, refused ? random.pick(refusable) : {}), // prettier-ignore
  });
}

/** Adds to lists and mappings, and sets everything else. */
function merged(fields: Fields, more: Fields): Fields {
  const entries = Object.entries(more).map(([name, value]) => {
    const present = fields[name];
    if (Array.isArray(value)) return [name, [...(Array.isArray(present) ? present : []), ...value]];
    return [name, isObject(value) && isObject(present) ? { ...present, ...value } : value];
  });
  return { ...fields, ...Object.fromEntries(entries) };
}

function maybe(random: Random, make: Make): Fields {
  return random.below(2) ? make() : {};
}

/** Indices of up to `most` things. */
function count(random: Random, most: number): readonly number[] {
  return Array.from({ length: random.below(most + 1) }, (_, index) => index);
}

/** What is said of the pod as a whole. */
function settings(random: Random): Fields {
  const selector = { matchLabels: { app: 'agent' } };
  const all: readonly Make[] = [
    () => random.pick<Fields>([{ restartPolicy: 'Never' }, { restartPolicy: 'OnFailure' }]),
    () => ({ terminationGracePeriodSeconds: random.pick([4, 600]) }),
    () => ({ activeDeadlineSeconds: 3600 }),
    () => random.pick<Fields>([
      { dnsPolicy: 'Default' },
      { dnsPolicy: 'None', dnsConfig: { nameservers: ['192.0.2.53'], searches: ['example.com'], options: [{ name: 'ndots', value: '2' }] } },
    ]),
    () => ({ hostAliases: [{ ip: '192.0.2.7', hostnames: ['db.example.com', 'db'] }] }),
    () => ({ hostname: 'agent', subdomain: 'agents', setHostnameAsFQDN: random.below(2) === 0 }),
    () => ({ nodeSelector: { 'example.com/pool': 'agents' } }),
    () => ({ affinity: {
      nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'In', values: ['a'] }] }] } },
      podAntiAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 7, podAffinityTerm: { topologyKey: 'kubernetes.io/hostname', labelSelector: selector, matchLabelKeys: ['tier'] } }] },
    } }),
    () => ({ topologySpreadConstraints: [{ maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'ScheduleAnyway', labelSelector: selector, matchLabelKeys: ['tier'] }] }),
    () => ({ tolerations: [{ key: 'example.com/agents', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 60 }] }),
    () => random.pick<Fields>([{ priorityClassName: 'system-cluster-critical' }, { priorityClassName: 'system-node-critical', preemptionPolicy: 'PreemptLowerPriority' }]),
    () => ({ schedulingGates: [{ name: 'example.com/quota' }] }),
    () => ({ readinessGates: [{ conditionType: 'example.com/in-service' }] }),
    () => ({ resourceClaims: [{ name: 'gpu', resourceClaimName: 'gpu-0' }] }),
    () => ({ runtimeClassName: 'mutation-kata' }),
    () => ({ os: { name: 'linux' } }),
    () => ({ imagePullSecrets: [{ name: 'registry' }] }),
    () => ({ enableServiceLinks: false }),
    () => ({ serviceAccountName: 'default', automountServiceAccountToken: random.below(2) === 0 }),
    () => ({ hostUsers: true, hostNetwork: false, shareProcessNamespace: false }),
    () => ({ schedulerName: 'other-scheduler' }),
    () => ({ resources: random.pick<Fields>([
      { limits: { cpu: '1', memory: '128Mi' } },
      { requests: { cpu: '4', memory: '4Gi' }, limits: { cpu: '8', memory: '8Gi' } },
    ]) }),
    () => ({ securityContext: podSecurity(random) }),
  ]; // prettier-ignore
  return Object.assign({}, ...all.map((make) => (random.below(5) === 0 ? make() : {}))) as Fields;
}

function podSecurity(random: Random): Fields {
  return random.pick<Fields>([
    {},
    { runAsNonRoot: true, runAsUser: 1000, runAsGroup: 0, fsGroup: uidRange.first },
    { supplementalGroups: [uidRange.first, 7], supplementalGroupsPolicy: 'Strict' },
    { seccompProfile: { type: 'Localhost', localhostProfile: 'agents.json' } },
    { fsGroup: 2000, fsGroupChangePolicy: 'OnRootMismatch' },
    { sysctls: [{ name: 'net.ipv4.ip_local_port_range', value: '30000 60000' }] },
    { seLinuxOptions: { level: 's0:c1,c2' }, appArmorProfile: { type: 'Unconfined' } },
  ]);
}

/** One that runs to its end. */
function step(random: Random, name: string, mounts: readonly string[]): Fields {
  return {
    name,
    image: random.pick(['app', 'nginx:1', 'registry.example:5000/team/app@sha256:' + 'a'.repeat(64)]), // prettier-ignore
    ...maybe(random, () => ({ imagePullPolicy: random.pick(['Always', 'Never', 'IfNotPresent']) })),
    ...maybe(random, () => ({ command: ['sh', '-c'], args: ['exec agent "$(HOME)"'], workingDir: '/' })), // prettier-ignore
    ...maybe(random, () => ({ env: randomEnv(random) })),
    ...maybe(random, () => ({
      envFrom: [
        { prefix: 'A_', configMapRef: { name: 'settings', optional: true } },
        { secretRef: { name: 'logins' } },
      ],
    })),
    ...maybe(random, () => ({ resources: randomResources(random) })),
    ...maybe(random, () => ({ volumeMounts: mounts.flatMap((mount) => mountsOf(random, mount)) })),
    ...maybe(random, () => ({ securityContext: randomSecurity(random) })),
    ...maybe(random, () => ({ terminationMessagePolicy: 'FallbackToLogsOnError' })),
    ...maybe(random, () => ({ terminationMessagePath: '/tmp/end', stdin: true, tty: true })),
  };
}

/** One that goes on. */
function container(random: Random, name: string, mounts: readonly string[]): Fields {
  const ports = [
    { name: 'http', containerPort: 1 + random.below(65_535) },
    { name: 'dns', containerPort: 53, protocol: 'UDP' },
    { containerPort: 15_490 }, // ours as well
  ];
  return {
    ...step(random, name, mounts),
    ports: ports.slice(0, 1 + random.below(ports.length)),
    ...maybe(random, () => ({ readinessProbe: { ...probe(random), successThreshold: 2 } })),
    ...maybe(random, () => ({ livenessProbe: { ...probe(random), terminationGracePeriodSeconds: 9 } })), // prettier-ignore
    ...maybe(random, () => ({ lifecycle: { postStart: handler(random), preStop: { sleep: { seconds: 3 } } } })), // prettier-ignore
    ...maybe(random, () => ({ resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'NotRequired' }] })), // prettier-ignore
  };
}

function handler(random: Random): Fields {
  const port = 1 + random.below(65_535);
  return random.pick<Fields>([
    { httpGet: { path: '/', port, scheme: 'HTTPS', httpHeaders: [{ name: 'X-A', value: 'b' }] } },
    { httpGet: { path: '/', port: 'http', scheme: 'HTTP' } },
    { tcpSocket: { port } },
    { tcpSocket: { port: 'http' } },
    { exec: { command: ['true'] } },
  ]);
}

function probe(random: Random): Fields {
  const port = 1 + random.below(65_535);
  const how = random.below(4) === 0 ? { grpc: { port, service: 'agent' } } : handler(random);
  return { ...how, initialDelaySeconds: 1, timeoutSeconds: 2 };
}

function randomEnv(random: Random): readonly Fields[] {
  const fieldRef = (fieldPath: string): Fields => ({ fieldRef: { fieldPath } });
  const sources = [
    { secretKeyRef: { name: 'logins', key: 'key', optional: true } },
    { configMapKeyRef: { name: 'settings', key: 'key' } },
    fieldRef('status.podIP'),
    fieldRef('status.hostIPs'),
    fieldRef("metadata.labels['app']"),
    { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } },
  ];
  return ['HOME', 'NODE_EXTRA_CA_CERTS', 'PGSSLROOTCERT', 'JAVA_TOOL_OPTIONS', 'TOKEN', 'EMPTY']
    .filter(() => random.below(2))
    .map((name) => random.pick<Fields>([
      { name, value: `$(HOME)/${random.below(9)}` },
      { name },
      { name, valueFrom: random.pick<Fields>(sources) },
    ])); // prettier-ignore
}

function randomResources(random: Random): Fields {
  return random.pick<Fields>([
    {},
    { limits: { cpu: '0.5', memory: '1024Mi' } },
    { requests: { cpu: '1e-1', memory: '128974848' }, limits: { cpu: '500m', memory: '1G' } },
    { requests: { 'ephemeral-storage': '1Gi' }, limits: { 'example.com/gpu': '1' } },
    { limits: { 'hugepages-2Mi': '4Mi', cpu: '100m', memory: '8Mi' } },
  ]);
}

function randomSecurity(random: Random): Fields {
  const capabilities = ['NET_RAW', 'CHOWN', 'CAP_CHOWN', 'SYS_TIME', 'kill', 'SETUID', 'NET_ADMIN', 'ALL']; // prettier-ignore
  const some = (): string[] => capabilities.filter(() => random.below(4) === 0);
  return random.pick<Fields>([
    {},
    { runAsUser: random.pick([0, 1000, uidRange.first - 1, uidRange.last + 1]) },
    { allowPrivilegeEscalation: random.below(2) === 0, readOnlyRootFilesystem: true },
    { capabilities: { drop: some() }, privileged: false },
    { capabilities: { add: some(), drop: some() } },
    { capabilities: { drop: ['ALL'] }, allowPrivilegeEscalation: false, runAsNonRoot: true },
    { seccompProfile: { type: 'RuntimeDefault' }, appArmorProfile: { type: 'RuntimeDefault' } },
    { seLinuxOptions: { type: 'container_t' }, procMount: 'Default', runAsGroup: uidRange.first },
  ]);
}

/** Sources of volumes, of every kind that a pod may still name. */
const sources: readonly Fields[] = [
  { emptyDir: {} },
  { emptyDir: { medium: 'Memory', sizeLimit: '0.5Gi' } },
  { configMap: { name: 'settings', items: [{ key: 'a', path: 'b/c' }], defaultMode: 0o400 } },
  { secret: { secretName: 'logins', optional: true } },
  { persistentVolumeClaim: { claimName: 'data', readOnly: true } },
  { ephemeral: { volumeClaimTemplate: { spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } } } },
  { csi: { driver: 'secrets-store.csi.k8s.io', readOnly: true, volumeAttributes: { a: 'b' } } },
  { nfs: { server: 'nfs.example', path: '/' } },
  { iscsi: { targetPortal: '192.0.2.7', iqn: 'iqn.2001-04.com.example:storage', lun: 0 } },
  { downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] } },
  { projected: { sources: [
    { configMap: { name: 'settings' } },
    { secret: { name: 'logins', items: [{ key: 'a', path: 'a' }] } },
    { downwardAPI: { items: [{ path: 'cpu', resourceFieldRef: { containerName: 'app-0', resource: 'limits.cpu' } }] } },
    { serviceAccountToken: { audience: 'vault', path: 'vault', expirationSeconds: 600 } },
  ] } },
  { image: { reference: 'registry.example/model:1', pullPolicy: 'IfNotPresent' } },
  { fc: { targetWWNs: ['500a0982991b8dc5'], lun: 0 } },
  { flexVolume: { driver: 'example.com/cifs' } },
  { gcePersistentDisk: { pdName: 'data' } },
  { awsElasticBlockStore: { volumeID: 'vol-1' } },
  { azureFile: { secretName: 'azure', shareName: 'share' } },
  { cephfs: { monitors: ['192.0.2.7:6789'] } },
]; // prettier-ignore

function randomVolumes(random: Random): readonly Fields[] {
  const names = ['work', 'data', 'config', 'model'].filter(() => random.below(2));
  return names.map((name) => ({ name, ...random.pick(sources) }));
}

function mountsOf(random: Random, name: string): readonly Fields[] {
  return random.pick<readonly Fields[]>([
    [],
    [{ name, mountPath: `/${name}` }],
    [{ name, mountPath: `/${name}`, readOnly: true, recursiveReadOnly: 'IfPossible' }],
    [{ name, mountPath: `/${name}/`, subPathExpr: '$(HOME)' }, { name, mountPath: `/run/${name}`, subPath: 'run' }], // prettier-ignore
    [{ name, mountPath: `/run/chaperone-${name}`, mountPropagation: 'HostToContainer' }],
  ]);
}
