/** Names that the webhook gives or understands. What begins with `chaperone` in a pod is ours alone. */

/** Labels and annotations. */
export const keys = {
  /** Label of a namespace: all its pods are injected, and nothing on a pod opts it out. */
  enforce: 'chaperone.dev/enforce',
  /** Label of a namespace: `explicit` where agents dial the sidecar themselves, and could dial past it. */
  mode: 'chaperone.dev/mode',
  /** Label of a pod, in namespaces that do not enforce. */
  inject: 'chaperone.dev/inject',
  /** Label that shows which pods were injected. It proves nothing: who writes pods can write it. */
  injected: 'chaperone.dev/injected',
  /** What `kubectl logs` and `exec` take when no container is named; else the first one, which is ours. */
  defaultContainer: 'kubectl.kubernetes.io/default-container',
  /** Volumes that do not keep the cluster autoscaler from removing a node. */
  safeToEvict: 'cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes',
  /** Of a static pod: the kubelet runs it whether its image in the API exists or not. */
  mirror: 'kubernetes.io/config.mirror',
  /** Annotation of a Secret with a login: the hosts that it may be sent to. */
  hosts: 'chaperone.dev/hosts',
} as const;

/** Init containers, in the order in which they start. */
export const containerNames = {
  sidecar: 'chaperone',
  network: 'chaperone-network',
} as const;

export const volumeNames = {
  tokens: 'chaperone-tokens',
  spool: 'chaperone-spool',
  memory: 'chaperone-memory',
  trust: 'chaperone-trust',
  noToken: 'chaperone-no-token',
} as const;

/** Whether a container or a volume of this name could only be ours. */
export function isOwnName(name: string): boolean {
  return name === 'chaperone' || name.startsWith('chaperone-');
}

/** Where the ServiceAccount plugin of the API server mounts the token for the Kubernetes API. */
export const kubeTokenPath = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * Uids of sidecars, both included. One is drawn for each pod: the image of an agent whose USER is a uid that is known
 * beforehand would walk past the rules, which let out whatever runs under the sidecar's.
 */
export const uidRange = { first: 1_000_000_000, last: 1_999_999_999 } as const;

/** Whether a uid could be a sidecar's. */
export function isSidecarUid(uid: number): boolean {
  return uid >= uidRange.first && uid <= uidRange.last;
}

/** Port at the pod's address that serves `/healthz`, `/readyz` and `/metrics`, and nothing else. */
export const healthPort = 15_490;

/** Directories of the mounts. */
export const paths = {
  tokens: '/run/chaperone/tokens',
  spool: '/var/lib/chaperone/spool',
  memory: '/run/chaperone/memory',
  trust: '/run/chaperone/trust',
} as const;

/** What the image holds. Every container has its whole command, so that no entrypoint decides what runs. */
export const programs = {
  setpriv: '/usr/bin/setpriv',
  nft: '/usr/sbin/nft',
  rules: '/chaperone/rules.nft',
  node: '/usr/bin/node',
  sidecar: '/chaperone/sidecar.cjs',
  network: '/chaperone/network.cjs',
} as const;
