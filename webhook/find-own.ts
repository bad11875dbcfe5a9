import { containerNames, isOwnName, isSidecarUid } from './names.ts';
import { tryParseNftArguments, type NftParameters } from './nft-arguments.ts';
import { buildOwnParts, networkProgram, type Mode, type PartOptions } from './own-parts.ts';
import type { Container, Pod } from './pod.ts';
import { isSamePart } from './same-part.ts';

/** What of ours a pod holds already. */
export type Found =
  | { readonly kind: 'nothing' }
  | {
      readonly kind: 'ours';
      readonly parameters: NftParameters;
      /** Whether our containers come before all others, in their order. */
      readonly first: boolean;
    }
  /** Has our names, and is not what we would inject. `paths` say where, for a person. */
  | { readonly kind: 'other'; readonly paths: readonly string[] };

/**
 * Looks for our parts in a pod. They count as ours when all of them are there and equal what would be injected for the
 * uid and the open ports found in them: those differ from pod to pod, and whoever asks knows which ports may be open.
 */
export function findOwn(pod: Pod, options: PartOptions, mode: Mode): Found {
  const { containers, initContainers = [], volumes = [] } = pod.spec;
  const paths = [
    ...pathsOf('spec.containers', containers),
    ...pathsOf('spec.initContainers', initContainers),
    ...pathsOf('spec.volumes', volumes),
  ];
  if (paths.length === 0) return { kind: 'nothing' };
  const parameters = parametersOf(initContainers, mode);
  if (parameters === undefined) return { kind: 'other', paths };
  const expected = buildOwnParts(options, mode, parameters);
  const different = [
    ...pathsOf('spec.containers', containers),
    ...differing('spec.initContainers', initContainers, expected.containers),
    ...differing('spec.volumes', volumes, expected.volumes),
  ];
  if (different.length > 0) return { kind: 'other', paths: different };
  const first = expected.containers.every(
    ({ name }, index) => initContainers[index]?.name === name,
  );
  return { kind: 'ours', parameters, first };
}

interface Named {
  readonly name: string;
}

function pathsOf(list: string, parts: readonly Named[]): string[] {
  return parts.filter(({ name }) => isOwnName(name)).map(({ name }) => `${list}[${name}]`);
}

function differing(list: string, found: readonly Named[], expected: readonly Named[]): string[] {
  const byName = new Map(expected.map((part) => [part.name, part]));
  const own = found.filter(({ name }) => isOwnName(name));
  const seen = new Set<string>();
  const different = own.filter((part) => {
    const ours = byName.get(part.name);
    const isDouble = seen.has(part.name);
    seen.add(part.name);
    return isDouble || ours === undefined || !isSamePart(part, ours);
  });
  const missing = expected.filter(({ name }) => !seen.has(name));
  return [...different, ...missing].map(({ name }) => `${list}[${name}]`);
}

function parametersOf(containers: readonly Container[], mode: Mode): NftParameters | undefined {
  const named = (name: string): Container | undefined =>
    containers.find((container) => container.name === name);
  if (mode === 'transparent') {
    const command: unknown = (named(containerNames.network) as { command?: unknown } | undefined)
      ?.command; // not of a type, since nothing else reads it
    return Array.isArray(command)
      ? tryParseNftArguments(command.slice(networkProgram.length))
      : undefined;
  }
  const uid = named(containerNames.sidecar)?.securityContext?.runAsUser;
  return uid !== undefined && isSidecarUid(uid) ? { uid, openPorts: [] } : undefined;
}
