import { sidecarAudiences } from '#core/audiences.ts';
import { maxOpenPorts } from '#core/interception/nft-rules.ts';
import { handlersOf } from './open-ports.ts';
import type { Mode } from './own-parts.ts';
import { isOwnName, isSidecarUid, keys, paths, uidRange, volumeNames } from './names.ts';
import type { Container, Pod, PodSpec, Volume } from './pod.ts';

/** Why a pod is not let in; labels of a metric, so a closed set. */
export const refusalReasons = [
  'name-taken',
  'reserved-uid',
  'user-namespace',
  'host-namespace',
  'shared-processes',
  'privileged',
  'host-path',
  'host-alias',
  'probe-host',
  'service-mesh',
  'runtime-class',
  'windows',
  'static-pod',
  'reserved-token',
  'kube-api-token',
  'too-many-ports',
] as const;

export type RefusalReason = (typeof refusalReasons)[number];

/** Why a pod is not let in. */
export interface Refusal {
  readonly reason: RefusalReason;
  /** One sentence for the pod's author: what is wrong where, and what to change. */
  readonly message: string;
}

/** What counts beside the pod itself. */
export interface RefusalFacts {
  readonly mode: Mode;
  /** Of the pod's RuntimeClass; undefined where it names none. */
  readonly runtimeHandler: string | undefined;
  /** Whether a policy lets the pod's own containers have a token for the Kubernetes API. */
  readonly kubeApiToken: boolean;
  /** What a token for the Kubernetes API may have for its audience, beside none. */
  readonly apiAudiences: readonly string[];
}

/** Sidecars and init containers of service meshes, which lead the same connections to themselves. */
const meshContainers: ReadonlyMap<string, string> = new Map([
  ['istio-proxy', 'Istio'],
  ['istio-init', 'Istio'],
  ['istio-validation', 'Istio'],
  ['linkerd-proxy', 'Linkerd'],
  ['linkerd-init', 'Linkerd'],
  ['linkerd-network-validator', 'Linkerd'],
  ['kuma-sidecar', 'Kuma'],
  ['kuma-init', 'Kuma'],
  ['consul-dataplane', 'Consul'],
  ['consul-connect-inject-init', 'Consul'],
  ['osm-init', 'Open Service Mesh'],
]);

/** Handlers of gVisor, whose network stack knows no nft. */
const gVisorHandlers = /^(runsc|gvisor)/i;

/** Finds everything in a pod's own part that keeps it from being injected. `foreign` are the containers that are not ours. */
export function findRefusals(
  pod: Pod,
  foreign: readonly (readonly [path: string, container: Container])[],
  facts: RefusalFacts,
): readonly Refusal[] {
  return [
    ...ofPod(pod, facts),
    ...foreign.flatMap(([path, container]) => ofContainer(path, container)),
    ...(pod.spec.volumes ?? []).flatMap((volume) => ofVolume(volume, facts)),
  ];
}

function ofPod({ metadata, spec }: Pod, facts: RefusalFacts): Refusal[] {
  const found: Refusal[] = [];
  for (const field of ['hostNetwork', 'hostPID', 'hostIPC'] as const)
    if (spec[field] === true)
      found.push(refuse('host-namespace', `spec.${field} shares what the node is guarded by: remove it`)); // prettier-ignore
  if (spec.shareProcessNamespace === true)
    found.push(
      refuse('shared-processes', 'spec.shareProcessNamespace lets an agent see the sidecar’s process: remove it'),
    ); // prettier-ignore
  if (spec.hostUsers === false)
    found.push(
      refuse('user-namespace', 'spec.hostUsers: false gives uids another meaning than the rules of the network have: remove it'),
    ); // prettier-ignore
  const uid = spec.securityContext?.runAsUser;
  if (uid !== undefined) found.push(...ofUid('spec.securityContext.runAsUser', uid));
  if (facts.mode === 'transparent' && gVisorHandlers.test(facts.runtimeHandler ?? ''))
    found.push(
      refuse(
        'runtime-class',
        `spec.runtimeClassName ${show(spec.runtimeClassName)} is gVisor (handler ${show(facts.runtimeHandler)}), where connections cannot be intercepted: use another, or a namespace in explicit mode`,
      ),
    );
  if (isWindows(spec))
    found.push(refuse('windows', 'the pod is for Windows, where nothing is intercepted: run it in a namespace without Chaperone')); // prettier-ignore
  if (metadata.annotations?.[keys.mirror] !== undefined)
    found.push(refuse('static-pod', 'a static pod of a node cannot be injected: move it to a namespace without Chaperone')); // prettier-ignore
  return found;
}

function isWindows(spec: PodSpec): boolean {
  return (
    spec.os?.name === 'windows' ||
    spec.nodeSelector?.['kubernetes.io/os'] === 'windows' ||
    spec.securityContext?.windowsOptions !== undefined
  );
}

function ofContainer(path: string, container: Container): Refusal[] {
  const found: Refusal[] = [];
  const mesh = meshContainers.get(container.name);
  if (mesh !== undefined)
    found.push(
      refuse('service-mesh', `${path} is of ${mesh}, which takes the same connections: exclude the pod from the mesh`),
    ); // prettier-ignore
  if (container.securityContext?.privileged === true)
    found.push(
      refuse('privileged', `${path}.securityContext.privileged lets a container undo the interception: remove it`),
    ); // prettier-ignore
  const uid = container.securityContext?.runAsUser;
  if (uid !== undefined) found.push(...ofUid(`${path}.securityContext.runAsUser`, uid));
  for (const { httpGet, tcpSocket } of handlersOf(container)) {
    const host = httpGet?.host ?? tcpSocket?.host ?? '';
    if (host !== '')
      found.push(
        refuse('probe-host', `${path} has a probe or a lifecycle step with host ${show(host)}, whom the node would ask in the agent's place: remove host, or use exec`),
      ); // prettier-ignore
  }
  for (const mount of container.volumeMounts ?? []) {
    const isOurs = isTrustMount(mount);
    if (isOwnName(mount.name) && !isOurs)
      found.push(
        refuse('name-taken', `${path}.volumeMounts mounts ${show(mount.name)}, which belongs to Chaperone: remove it`),
      ); // prettier-ignore
    else if (!isOurs && trimmed(mount.mountPath) === paths.trust)
      found.push(
        refuse('name-taken', `${path}.volumeMounts mounts ${show(mount.name)} at ${paths.trust}, where Chaperone's certificates go: mount it elsewhere`),
      ); // prettier-ignore
  }
  return found;
}

/** The one mount of ours that an agent has. */
export function isTrustMount(mount: object): boolean {
  const { name, mountPath, readOnly, ...others } = mount as Record<string, unknown>; // any object has string keys
  return (
    name === volumeNames.trust &&
    mountPath === paths.trust &&
    readOnly === true &&
    Object.keys(others).length === 0
  );
}

function ofVolume(volume: Volume, facts: RefusalFacts): Refusal[] {
  if (isOwnName(volume.name)) return []; // is compared with ours
  const path = `spec.volumes[${show(volume.name)}]`;
  const found: Refusal[] = [];
  if (volume.hostPath !== undefined)
    found.push(refuse('host-path', `${path}.hostPath reaches into the node: use another kind of volume`)); // prettier-ignore
  for (const { serviceAccountToken } of volume.projected?.sources ?? []) {
    if (serviceAccountToken === undefined) continue;
    const { audience } = serviceAccountToken;
    if (Object.values(sidecarAudiences).some((ours) => ours === audience))
      found.push(
        refuse('reserved-token', `${path} projects a token of audience ${show(audience)}, with which the sidecar alone proves who it is: remove it`),
      ); // prettier-ignore
    else if (['', ...facts.apiAudiences].includes(audience ?? '') && !facts.kubeApiToken && !isPluginVolume(volume))
      found.push(
        refuse('kube-api-token', `${path} projects a token for the Kubernetes API, which no ClusterAuditPolicy allows here: remove it, or give it the audience of somebody else`),
      ); // prettier-ignore
  }
  return found;
}

/** Whether the ServiceAccount plugin of the API server made a volume, or somebody who calls it by that name. */
export function isPluginVolume(volume: Volume): boolean {
  return volume.name.startsWith('kube-api-access-') && volume.projected !== undefined;
}

function ofUid(path: string, uid: number): Refusal[] {
  if (!isSidecarUid(uid)) return [];
  const message = `${path} is ${uid}, and ${uidRange.first} to ${uidRange.last} are for sidecars: choose another uid`;
  return [refuse('reserved-uid', message)];
}

/** Refuses a pod that can be reached on more ports than the rules take. */
export function refusePorts(count: number): readonly Refusal[] {
  if (count <= maxOpenPorts) return [];
  const message = `the probes of the pod and the policies of its namespace open ${count} ports: use at most ${maxOpenPorts}`;
  return [refuse('too-many-ports', message)];
}

/** Makes a refusal. */
export function refuse(reason: RefusalReason, message: string): Refusal {
  return { reason, message };
}

/** Names of the API are short and plain; what is neither is cut, since it goes into a message of one line. */
function show(text: string | undefined): string {
  return JSON.stringify((text ?? '').slice(0, 253));
}

function trimmed(path: string): string {
  return path.replace(/\/+$/, '');
}
