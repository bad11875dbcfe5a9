import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectDirectory } from '../../cli/instance.ts';

/** What tests of a pod's network make in a cluster: servers, names, Backends, policies and agents, as resources. */

export const namespaces = { agents: 'network-agents', outside: 'network-outside' } as const;

export const domain = `${namespaces.outside}.svc.cluster.local`;
export const password = 'of-the-network-5e0a';

/** Addresses that names stand for and nobody has. */
export const madeUp = {
  headless: ['10.98.1.1', '10.98.1.2', '10.98.1.3'],
  many: Array.from({ length: 90 }, (_, index) => `10.98.2.${index + 1}`),
  six: ['fd10:98::1', 'fd10:98::2'],
} as const;

const meta = (name: string, labels: Readonly<Record<string, string>> = {}): object => ({
  name,
  labels,
});

/** The program of all peers, for both namespaces. */
export function peerProgram(): object {
  const program = readFileSync(join(projectDirectory, 'test/interception/peer.py'), 'utf8');
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: meta('peer'),
    data: { 'peer.py': program },
  };
}

export const runPeer = (what: string, args: readonly unknown[]): readonly string[] => [
  'python3',
  '/peer/peer.py',
  what,
  JSON.stringify(args),
];

const peerVolume = { name: 'peer', configMap: { name: 'peer' } };
const peerMount = { name: 'peer', mountPath: '/peer' };

/** Servers that say who they are, close connections, speak HTTP, and a database. */
export function servers(image: string): readonly object[] {
  const container = (name: string, what: string, args: readonly unknown[]): object => ({
    name,
    image,
    command: runPeer(what, args),
    stdin: true, // they serve until it ends
    volumeMounts: [peerMount],
  });
  const env = [
    { name: 'POSTGRES_PASSWORD', value: password },
    { name: 'PGDATA', value: '/tmp/data' },
  ];
  return [
    pod('server', {
      securityContext: { runAsUser: 0 }, // for ports below 1024
      volumes: [peerVolume],
      containers: [
        container('serve', 'serve', ['outside', ['0.0.0.0', '::'], [53, 443, 8000]]),
        container('closer', 'closer', ['::', 7001]),
        container('http', 'http', [['::'], 8080]),
      ],
    }),
    pod('database', {
      containers: [
        {
          name: 'main',
          image,
          args: ['postgres'],
          env,
          readinessProbe: { tcpSocket: { port: 5432 }, periodSeconds: 1 },
        },
      ],
    }),
  ];
}

function pod(name: string, spec: object, labels: Readonly<Record<string, string>> = {}): object {
  const metadata = meta(name, { app: name, ...labels });
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec: { terminationGracePeriodSeconds: 1, ...spec } }; // prettier-ignore
}

/** Services of every kind: with addresses of their own, without, of IPv6 alone, and names of names. */
export function names(): readonly object[] {
  const service = (name: string, spec: object): object => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: meta(name),
    spec,
  });
  const named = (name: string, to: string): object =>
    service(name, { type: 'ExternalName', externalName: `${to}.${domain}` });
  const headless = (name: string, addresses: readonly string[], family = 'IPv4'): object[] => [
    service(name, {
      clusterIP: 'None',
      ipFamilies: [family],
      ports: [{ name: 'echo', port: 8000 }],
    }),
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: meta(name, { 'kubernetes.io/service-name': name }),
      addressType: family,
      ports: [{ name: 'echo', port: 8000, protocol: 'TCP' }],
      endpoints: addresses.map((address) => ({
        addresses: [address],
        conditions: { ready: true },
      })),
    },
  ];
  const ports = [8000, 8080].map((port) => ({ name: `p${port}`, port }));
  const both = { ipFamilyPolicy: 'PreferDualStack' };
  return [
    service('server', { selector: { app: 'server' }, ports, ...both }),
    ...['first', 'second'].map((name) => service(name, { selector: { app: 'database' }, ports: [{ port: 5432 }] })), // prettier-ignore
    named('alias-of-first', 'first'),
    named('alias-of-second', 'second'),
    named('chain', 'link'),
    named('link', 'server'),
    ...headless('headless', madeUp.headless),
    ...headless('many', madeUp.many),
    ...headless('six', madeUp.six, 'IPv6'),
  ];
}

/** The host of the one that has many is known to agents alone. */
export const forAgentsAlone = 'only-for-agents';

/** One has names of every kind, one is declared under a name of a name, and one under what another is a name of. */
export function backends(): readonly object[] {
  const backend = (name: string, protocol: string, port: number, hosts: readonly string[], to: string): object => ({
    apiVersion: 'chaperone.dev/v1alpha1',
    kind: 'Backend',
    metadata: meta(name),
    spec: {
      protocol,
      hosts,
      ports: [port],
      upstream: { address: `${to}.${domain}:${port}`, tls: { mode: 'Disable' } },
      consumers: [{ namespace: namespaces.agents }],
    },
  }); // prettier-ignore
  const hosts = ['server', 'chain', 'headless', 'many', 'six'].map((name) => `${name}.${domain}`);
  return [
    backend('network-names', 'TCP', 8000, [...hosts, forAgentsAlone], 'server'),
    backend('network-alias', 'Postgres', 5432, [`alias-of-first.${domain}`], 'alias-of-first'),
    backend('network-target', 'Postgres', 5432, [`second.${domain}`], 'second'),
  ];
}

/** What holds of agents that are called so: both enforce, and differ in what becomes of hosts that no Backend has. */
export function policies(): readonly object[] {
  return ['Record', 'Deny'].map((unknownHosts) => ({
    apiVersion: 'chaperone.dev/v1alpha1',
    kind: 'AuditPolicy',
    metadata: meta(unknownHosts.toLowerCase()),
    spec: {
      podSelector: { matchLabels: { unknown: unknownHosts } },
      mode: 'Enforce',
      defaultAction: 'Allow',
      unknownHosts,
      record: { requests: 'Full', responses: 'Full' },
      rules: [
        {
          name: 'no-drop',
          backends: ['network-alias', 'network-target'],
          anySubject: true,
          postgres: { commands: ['DROP'] },
          action: 'Deny',
          message: 'nothing is dropped here',
        },
      ],
    },
  }));
}

/** Does nothing until it is told to. Any group of its may ask for echoes (ping), as a pod's author can have it. */
export function agent(image: string, unknown: 'Record' | 'Deny'): object {
  const name = `agent-${unknown.toLowerCase()}`;
  return pod(
    name,
    {
      securityContext: {
        sysctls: [{ name: 'net.ipv4.ping_group_range', value: '0 2147483647' }],
      },
      volumes: [peerVolume],
      containers: [{ name: 'main', image, command: ['sleep', 'infinity'], volumeMounts: [peerMount] }],
    },
    { unknown },
  ); // prettier-ignore
}

export interface As {
  /** Of the container. */
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly runAsUser?: number;
}

/** Has a container for each of them, which does one thing. */
export function users(name: string, containers: readonly As[]): object {
  return pod(
    name,
    {
      restartPolicy: 'Never',
      volumes: [peerVolume],
      containers: containers.map(({ runAsUser, ...container }) => ({
        ...container,
        volumeMounts: [peerMount],
        ...(runAsUser !== undefined && { securityContext: { runAsUser } }),
      })),
    },
    { unknown: 'Deny' },
  );
}
