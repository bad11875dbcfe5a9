import type { Attachment } from '#core/bundle-message.ts';
import type { Workload } from '#core/identity/principal.ts';
import { concerns, withoutLogin } from '#core/policy/concerns.ts';
import { resolve, type Bundle } from '#core/policy/resolve.ts';
import { nameOf, type Problem } from '#core/policy/resources.ts';
import { attachmentOf } from '../../webhook/attachment.ts';
import { documentOf, nameOfDocument, readDocument } from '../../webhook/document.ts';
import { containerNames, keys } from '../../webhook/names.ts';
import type { Pod } from '../../webhook/pod.ts';
import { credentialsOf } from '../policy-directory.ts';

/** What was read of a cluster about one pod. */
export interface Seen {
  readonly namespace: string;
  readonly pod: Pod;
  readonly namespaceLabels: Readonly<Record<string, string>>;
  /** Resources of ours, as the API shows them. */
  readonly objects: readonly unknown[];
}

/** What keeps the pod at what was in force before, and why. */
export interface LeftOut {
  /** Such as `Backend/shop`. */
  readonly name: string;
  readonly problems: readonly Problem[];
}

/** What applies to a pod. */
export interface Effective {
  readonly workload: Workload;
  readonly attachment: Attachment;
  /** Whether there is a container of the sidecar's name; whether it is ours the controller alone can say. */
  readonly hasSidecar: boolean;
  /** Whether a label asks for a sidecar. */
  readonly isSelected: boolean;
  /** Undefined where resources contradict each other. */
  readonly bundle: Bundle | undefined;
  readonly heldBack: readonly LeftOut[];
}

/** Finds what applies to a pod, as the controller would. Credentials that are named are taken to be there. */
export function effectiveOf({ namespace, pod, namespaceLabels, objects }: Seen): Effective {
  const { metadata, spec } = pod;
  const names = (spec.initContainers ?? []).map(({ name }) => name);
  const hasSidecar = names.includes(containerNames.sidecar);
  const isExplicit = hasSidecar
    ? !names.includes(containerNames.network)
    : namespaceLabels[keys.mode] === 'explicit';
  const attachment = attachmentOf(isExplicit ? 'explicit' : 'transparent', namespaceLabels);
  const workload: Workload = {
    pod: metadata.name ?? '',
    namespace,
    serviceAccount: spec.serviceAccountName ?? 'default',
    labels: new Map(Object.entries(metadata.labels ?? {})),
  };
  const parsed = objects.map((object) => ({ object, ...readDocument(documentOf(object)).parsed }));
  const resources = parsed
    .flatMap(({ resource }) => resource ?? [])
    .filter((resource) => concerns(resource, workload))
    .map((resource) => (attachment === 'Pod' ? withoutLogin(resource) : resource));
  const invalid = parsed.flatMap(({ object, problems }) =>
    problems ? [{ name: nameOfDocument(documentOf(object)), problems }] : [],
  );
  const { bundle, problems = [] } = resolve(resources, workload, credentialsOf(resources));
  const conflicts = problems.flatMap((problem) => {
    const resource = resources[problem.resource];
    return resource ? [{ name: nameOf(resource), problems: [problem] }] : [];
  });
  return {
    workload,
    attachment,
    hasSidecar,
    isSelected: namespaceLabels[keys.enforce] === 'true' || metadata.labels?.[keys.inject] === 'true',
    bundle,
    heldBack: [...invalid, ...conflicts],
  }; // prettier-ignore
}
