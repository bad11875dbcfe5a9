import { isDeepStrictEqual } from 'node:util';
import { drainMs, shipMs } from '#core/stop-times.ts';
import { changeAgent, type AgentOptions } from './agent-container.ts';
import { findOwn, type Found } from './find-own.ts';
import { refuseHostAliases } from './host-aliases.ts';
import { isOwnName, keys, volumeNames } from './names.ts';
import { findOpenPorts } from './open-ports.ts';
import { buildOwnParts, type Mode, type OwnParts, type PartOptions } from './own-parts.ts';
import type { Container, Pod, Volume } from './pod.ts';
import { PodPatch, type PatchOperation } from './pod-patch.ts';
import { raiseResources } from './pod-resources.ts';
import {
  findRefusals,
  isPluginVolume,
  refuse,
  refusePorts,
  type Refusal,
  type RefusalFacts,
} from './refusals.ts';

/** What an installation says of all injections. */
export interface InjectOptions extends PartOptions, AgentOptions {}

/** What is known of a pod beside its own text: of its namespace, its RuntimeClass and the policies that select it. */
export interface PodFacts extends RefusalFacts {
  /** `inbound.ports` of the policies that select the pod. */
  readonly inboundPorts: readonly number[];
}

/** What becomes of a pod. */
export type Injection =
  | {
      readonly kind: 'injected';
      /** Empty where everything is in place already. */
      readonly patch: readonly PatchOperation[];
      readonly uid: number;
      readonly warnings: readonly string[];
    }
  | { readonly kind: 'refused'; readonly refusals: readonly Refusal[] };

/** What a sidecar takes at most once the agent has ended. */
const endSeconds = (drainMs + shipMs) / 1_000;

/** Where a sidecar's uid comes from. */
export interface Uids {
  /** Returns one of `uidRange` that nobody can foresee. */
  draw(): number;
  /**
   * Whether a uid that a pod came with may stay. An author who copies parts of ours into a pod knows the uid
   * beforehand, and can have an image run under it: on the way into a cluster none may.
   */
  readonly keeps: boolean;
}

/**
 * Says how a pod is injected, or everything that keeps it from being so. A pod that is injected already stays as it is
 * where its uid may stay, also after the API server has filled in defaults.
 */
export function injectPod(
  pod: Pod,
  facts: PodFacts,
  options: InjectOptions,
  uids: Uids,
): Injection {
  const found = findOwn(pod, options, facts.mode);
  const foreign = foreignContainers(pod);
  const openPorts = findOpenPorts(
    foreign.map(({ container }) => container),
    facts.inboundPorts,
  );
  const refusals = [
    ...(found.kind === 'other' ? found.paths.map(refuseName) : []),
    ...findRefusals(pod, foreign.map(({ label, container }) => [label, container]), facts),
    ...refuseHostAliases(pod, [options.controller.url, options.collector.url]),
    ...(facts.mode === 'transparent' ? refusePorts(openPorts.length) : []),
  ]; // prettier-ignore
  if (refusals.length > 0) return { kind: 'refused', refusals };
  const uid = found.kind === 'ours' && uids.keeps ? found.parameters.uid : uids.draw();
  const parts = buildOwnParts(options, facts.mode, { uid, openPorts });
  const isInPlace =
    found.kind === 'ours' &&
    found.first &&
    found.parameters.uid === uid &&
    (facts.mode === 'explicit' || isDeepStrictEqual(found.parameters.openPorts, openPorts));
  return { kind: 'injected', uid, ...buildPatch({ pod, facts, options, found, foreign, parts, isInPlace }) }; // prettier-ignore
}

interface Foreign {
  readonly path: readonly (string | number)[];
  /** The same for people. */
  readonly label: string;
  readonly container: Container;
}

/** All containers of the pod that do not have one of our names. */
function foreignContainers({ spec }: Pod): readonly Foreign[] {
  const listed = (list: 'containers' | 'initContainers'): Foreign[] =>
    (spec[list] ?? []).map((container, index) => ({
      path: ['spec', list, index],
      label: `spec.${list}[${container.name}]`,
      container,
    }));
  return [...listed('containers'), ...listed('initContainers')].filter(
    ({ container }) => !isOwnName(container.name),
  );
}

function refuseName(path: string): Refusal {
  return refuse(
    'name-taken',
    `${path} is not what Chaperone would put there, and names that begin with "chaperone" are its own: remove or rename it`,
  );
}

interface PatchInput {
  readonly pod: Pod;
  readonly facts: PodFacts;
  readonly options: InjectOptions;
  readonly found: Found;
  readonly foreign: readonly Foreign[];
  readonly parts: OwnParts;
  /** Whether our containers are where and what they should be. */
  readonly isInPlace: boolean;
}

function buildPatch(input: PatchInput): {
  patch: readonly PatchOperation[];
  warnings: readonly string[];
} {
  const { pod, facts, options, found, foreign, parts, isInPlace } = input;
  const patch = new PodPatch();
  const warnings = endWarnings(pod);
  const lost = facts.kubeApiToken ? [] : (pod.spec.volumes ?? []).filter(isPluginVolume);
  const lostNames = new Set(lost.map(({ name }) => name));
  for (const { path, container } of foreign) {
    const change = changeAgent(container, options, lostNames);
    patch.append([...path, 'env'], container.env, change.env);
    if (change.volumeMounts) patch.set([...path, 'volumeMounts'], change.volumeMounts);
    if (change.securityContext) patch.set([...path, 'securityContext'], change.securityContext);
    warnings.push(...change.warnings);
  }
  if (!facts.kubeApiToken) withholdToken(pod, lost, patch, warnings);
  if (found.kind === 'nothing') {
    patch.append(['spec', 'volumes'], volumesWithout(pod, lost), parts.volumes);
    makeRoom(pod, facts.mode, options, patch);
  }
  if (!isInPlace) placeFirst(pod, found.kind === 'ours', parts, patch);
  describe(pod, patch);
  return { patch: patch.operations, warnings };
}

function endWarnings({ spec: { terminationGracePeriodSeconds: grace } }: Pod): string[] {
  if (grace === undefined || grace >= endSeconds) return [];
  return [
    `of ${grace} s of terminationGracePeriodSeconds the sidecar gets what the agent leaves, and 2 s at least, where it takes up to ${endSeconds} s: what it has not shipped by then is lost with the pod`,
  ];
}

/** Removes what the ServiceAccount plugin of the API server mounted before us, and keeps it from doing so again. */
function withholdToken(
  { spec }: Pod,
  lost: readonly Volume[],
  patch: PodPatch,
  warnings: string[],
): void {
  if (spec.automountServiceAccountToken !== false)
    patch.set(['spec', 'automountServiceAccountToken'], false);
  if (lost.length === 0) return;
  for (const [index, volume] of [...(spec.volumes ?? []).entries()].reverse())
    if (lost.includes(volume)) patch.remove(['spec', 'volumes', index]);
  warnings.push(
    'the pod gets no token for the Kubernetes API: a ClusterAuditPolicy would have to allow it',
  );
}

/** Once: a pod that has our containers states amounts with them in it. */
function makeRoom({ spec }: Pod, mode: Mode, options: InjectOptions, patch: PodPatch): void {
  const { sidecarResources: sidecar, initResources } = options;
  const init = mode === 'explicit' ? undefined : initResources;
  const raised = spec.resources && raiseResources(spec.resources, { sidecar, init });
  if (raised) patch.set(['spec', 'resources'], raised);
}

/** Undefined where no list of volumes is there to append to. */
function volumesWithout({ spec }: Pod, lost: readonly Volume[]): readonly Volume[] | undefined {
  return spec.volumes?.filter((volume) => !lost.includes(volume));
}

/** Puts our containers before all others: what runs before them would not be intercepted. */
function placeFirst({ spec }: Pod, isOurs: boolean, parts: OwnParts, patch: PodPatch): void {
  const present = spec.initContainers;
  for (const [index, { name }] of [...(present ?? []).entries()].reverse())
    if (isOwnName(name)) patch.remove(['spec', 'initContainers', index]);
  const placed = isOurs ? parts.containers.map((part) => asGiven(part, present)) : parts.containers;
  patch.prepend(['spec', 'initContainers'], present, placed);
}

/**
 * What plugins of the API server have given to a container of ours stays, as LimitRanger and AlwaysPullImages do: they are
 * not asked again after us, and then refuse a container without it.
 */
function asGiven(part: Container, present: readonly Container[] = []): Container {
  const before = present.find(({ name }) => name === part.name);
  const { resources, imagePullPolicy, resizePolicy } = before ?? {};
  return {
    ...part,
    ...(resources && { resources }),
    ...(imagePullPolicy !== undefined && { imagePullPolicy }),
    ...(resizePolicy && { resizePolicy }),
  };
}

/** Says in labels and annotations what other programs ask for. */
function describe({ metadata, spec }: Pod, patch: PodPatch): void {
  const { labels, annotations } = metadata;
  patch.merge(['metadata', 'labels'], labels, { [keys.injected]: 'true' });
  const evictable = (annotations?.[keys.safeToEvict] ?? '')
    .split(',')
    .filter((name) => name !== '');
  const ours = [volumeNames.spool, volumeNames.memory, volumeNames.trust, volumeNames.noToken];
  patch.merge(['metadata', 'annotations'], annotations, {
    [keys.defaultContainer]: annotations?.[keys.defaultContainer] ?? spec.containers[0]?.name ?? '',
    [keys.safeToEvict]: [...new Set([...evictable, ...ours])].join(','),
  });
}
