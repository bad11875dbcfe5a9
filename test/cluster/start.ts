import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { addresses, nodeName } from './addresses.ts';
import { containerdSocket, kube, kubeconfigFile, kubectlCache, pause, state } from './places.ts';
import { start, waitUntilReady } from './processes.ts';
import { run, succeeds } from '../../tools/run.ts';

/** The programs of the node, in the order in which they are started. */
export const nodePrograms = [
  'etcd',
  'containerd',
  'apiserver',
  'kcm',
  'scheduler',
  'kubelet',
  'proxy',
  'coredns',
] as const;

const { node, pods, services } = addresses;
const pki = (name: string): string => join(state, 'pki', name);
const kubectl = (...args: readonly string[]): readonly string[] => [
  'kubectl',
  `--kubeconfig=${kubeconfigFile}`,
  `--cache-dir=${kubectlCache}`,
  ...args,
];
const answers = (...args: readonly string[]): boolean => succeeds(kube, kubectl(...args));

/** Starts the programs that do not run, and waits until the node and what pods need are ready. */
export async function startPrograms(): Promise<void> {
  start('etcd', kube, [
    'etcd',
    `--data-dir=${state}/etcd`,
    '--unsafe-no-fsync', // nobody misses a test cluster that a power cut damages
    '--log-level=warn',
  ]);
  start('apiserver', kube, apiServer());
  await startContainerd();
  loadPauseImage();
  await waitUntilReady('apiserver', () => answers('get', '--raw', '/readyz'));
  start('kcm', kube, controllerManager());
  start('scheduler', kube, [
    'kube-scheduler',
    `--kubeconfig=${pki('scheduler.conf')}`,
    '--leader-elect=false',
  ]);
  start('kubelet', kube, [
    'kubelet',
    `--config=${state}/kubelet.yaml`,
    `--kubeconfig=${pki('kubelet.conf')}`,
    `--root-dir=${state}/kubelet`,
    `--hostname-override=${nodeName}`,
    `--node-ip=${node.v4},${node.v6}`,
  ]);
  start('proxy', kube, [
    'kube-proxy',
    `--kubeconfig=${pki('proxy.conf')}`,
    `--hostname-override=${nodeName}`,
    '--proxy-mode=nftables',
    `--cluster-cidr=${pods.v4},${pods.v6}`,
    '--conntrack-max-per-core=0', // that sysctl cannot be written in a network namespace
  ]);
  run(kube, kubectl('apply', '-f', join(import.meta.dirname, 'dns.yaml')));
  start('coredns', kube, ['coredns', '-conf', `${state}/Corefile`]);
  await waitUntilReady('kubelet', () => answers('wait', '--for=condition=Ready', `node/${nodeName}`, '--timeout=5s')); // prettier-ignore
  await waitUntilReady('kcm', () => answers('get', 'serviceaccount', 'default'));
}

/** Starts the container runtime, unless it runs, and waits until it answers. */
export async function startContainerd(): Promise<void> {
  start('containerd', 'containerd', [`--config=${state}/containerd.toml`]);
  await waitUntilReady('containerd', () =>
    succeeds('ctr', [`--address=${containerdSocket}`, 'version']),
  );
}

function loadPauseImage(): void {
  const archive = join(state, 'pause.tar');
  if (existsSync(archive)) return;
  run(pause, [archive]);
  run('ctr', [`--address=${containerdSocket}`, '--namespace=k8s.io', 'images', 'import', archive]);
}

function apiServer(): readonly string[] {
  return [
    'kube-apiserver',
    '--etcd-servers=http://127.0.0.1:2379',
    '--bind-address=::',
    `--advertise-address=${node.v4}`, // one that pods reach
    `--service-cluster-ip-range=${services.v4},${services.v6}`,
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    '--allow-privileged',
    `--client-ca-file=${pki('ca.crt')}`,
    `--tls-cert-file=${pki('apiserver.crt')}`,
    `--tls-private-key-file=${pki('apiserver.key')}`,
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-signing-key-file=${pki('sa.key')}`,
    `--service-account-key-file=${pki('sa.pub')}`,
    '--kubelet-preferred-address-types=InternalIP', // nothing resolves the node's name
    `--kubelet-certificate-authority=${pki('ca.crt')}`,
    `--kubelet-client-certificate=${pki('kubelet-client.crt')}`,
    `--kubelet-client-key=${pki('kubelet-client.key')}`,
  ];
}

function controllerManager(): readonly string[] {
  return [
    'kube-controller-manager',
    `--kubeconfig=${pki('kcm.conf')}`,
    '--leader-elect=false',
    '--use-service-account-credentials',
    // Watches of an API server that is killed again and again wait for up to a minute. The node must not count as lost
    // meanwhile (after 50 s, by default): its pods would leave their Services.
    '--node-monitor-grace-period=10m',
    `--service-account-private-key-file=${pki('sa.key')}`,
    `--root-ca-file=${pki('ca.crt')}`,
    `--flex-volume-plugin-dir=${state}/volume-plugins`, // or it makes one in /usr/libexec
    `--cluster-signing-cert-file=${pki('ca.crt')}`,
    `--cluster-signing-key-file=${pki('ca.key')}`,
  ];
}
