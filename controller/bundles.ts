import { createHmac } from 'node:crypto';
import type { JWK } from 'jose';
import type {
  Attachment,
  BundleMessage,
  BundleNetwork,
  ResourceDocument,
} from '#core/bundle-message.ts';
import type { BackendCredential } from '#core/control.ts';
import type { Workload } from '#core/identity/principal.ts';
import type { Parsed } from '#core/policy/parse.ts';
import { concerns, withoutLogin } from '#core/policy/concerns.ts';
import { resolve } from '#core/policy/resolve.ts';
import { nameOf, type Problem, type Resource } from '#core/policy/resources.ts';

/** A resource of ours in the cluster: what its author wrote, and what that means or why it means nothing. */
export interface KeptResource {
  readonly document: ResourceDocument;
  /** `Kind/namespace/name`, also of one that cannot be read. */
  readonly name: string;
  /** Of a namespaced kind. */
  readonly namespace: string | undefined;
  readonly parsed: Parsed;
}

/** A Secret of the credentials namespace. */
export interface KeptCredential {
  readonly name: string;
  /** Hosts of upstreams that it may be sent to, by annotation. */
  readonly hosts: readonly string[];
  /** Undefined where its keys are those of no login. */
  readonly byType: ReadonlyMap<BackendCredential['type'], BackendCredential>;
}

/** A pod with what is known of its namespace. */
export interface KeptPod extends Workload {
  readonly uid: string;
  readonly attachment: Attachment;
}

/** Everything that bundles are made of. */
export interface Cluster {
  readonly resources: readonly KeptResource[];
  readonly credential: (name: string) => KeptCredential | undefined;
  readonly keysOf: (provider: string) => readonly JWK[];
  readonly networkOf: (namespace: string) => BundleNetwork;
  readonly authorities: BundleMessage['authorities'];
  /** Of this process: a revision tells nobody a password. */
  readonly secret: Buffer;
}

/** A bundle, or what keeps this pod from getting one: then it keeps the last. */
export type Built =
  | { readonly kind: 'bundle'; readonly message: BundleMessage }
  | { readonly kind: 'held'; readonly problems: readonly string[] };

/**
 * Makes what one pod is told. A policy that cannot be read holds it back where it could be about this pod, and so does a
 * Backend of its own that does not hold together: leaving either out would allow what was to be denied.
 */
export function buildBundle(pod: KeptPod, cluster: Cluster): Built {
  const concerned = cluster.resources.filter((kept) => mayConcern(kept, pod));
  const unread = concerned.filter(({ parsed }) => parsed.resource === undefined);
  if (unread.length > 0)
    return { kind: 'held', problems: unread.map(({ name, parsed }) => `${name}: ${said(parsed.problems ?? [])}`) }; // prettier-ignore
  const injects = pod.attachment !== 'Pod';
  const documents = concerned.map(({ document }) =>
    injects ? document : withoutCredential(document),
  );
  const resources = concerned.flatMap(({ parsed }) => parsed.resource ?? []).map((resource) => (injects ? resource : withoutLogin(resource))); // prettier-ignore
  const given = credentialsFor(resources, cluster);
  if (given.problems.length > 0) return { kind: 'held', problems: given.problems };
  const types = [...given.credentials].map(([name, { type }]) => [name, type] as const);
  const { problems = [] } = resolve(resources, pod, new Map(types));
  if (problems.length > 0)
    return { kind: 'held', problems: problems.map(({ resource, path, message }) => `${nameAt(resources, resource)}: ${path}: ${message}`) }; // prettier-ignore
  const content = {
    workload: { pod: pod.pod, namespace: pod.namespace, serviceAccount: pod.serviceAccount, uid: pod.uid, labels: Object.fromEntries(pod.labels) }, // prettier-ignore
    attachment: pod.attachment,
    resources: documents,
    keys: keysFor(resources, cluster),
    credentials: Object.fromEntries(given.credentials),
    network: cluster.networkOf(pod.namespace),
    authorities: cluster.authorities,
  };
  const revision = createHmac('sha256', cluster.secret).update(JSON.stringify(content)).digest('hex').slice(0, 16); // prettier-ignore
  return { kind: 'bundle', message: { type: 'bundle', version: 1, revision, ...content } };
}

/** One that cannot be read concerns all that it could be about. */
function mayConcern({ parsed, namespace }: KeptResource, pod: KeptPod): boolean {
  const { resource } = parsed;
  if (resource) return concerns(resource, pod);
  return namespace === undefined || namespace === pod.namespace;
}

function credentialsFor(
  resources: readonly Resource[],
  cluster: Cluster,
): {
  readonly credentials: ReadonlyMap<string, BackendCredential>;
  readonly problems: readonly string[];
} {
  const credentials = new Map<string, BackendCredential>();
  const problems: string[] = [];
  for (const resource of resources) {
    if (resource.kind !== 'Backend' || !resource.spec.credential) continue;
    const { secretName, type } = resource.spec.credential;
    const kept = cluster.credential(secretName);
    const login = kept?.byType.get(type);
    const { host } = resource.spec.upstream;
    const problem = (text: string): unknown => problems.push(`${nameOf(resource)}: ${text}`);
    if (!kept) problem(`there is no Secret ${secretName} in the namespace of credentials`);
    else if (!login) problem(`the Secret ${secretName} has not the keys of a ${type}`);
    else if (!kept.hosts.includes(host.toLowerCase()))
      problem(`the Secret ${secretName} may not be sent to ${host}: its annotation chaperone.dev/hosts names it not`); // prettier-ignore
    else credentials.set(secretName, login);
  }
  return { credentials, problems };
}

function keysFor(resources: readonly Resource[], { keysOf }: Cluster): BundleMessage['keys'] {
  const names = resources.flatMap(({ kind, metadata }) => kind === 'IdentityProvider' ? metadata.name : []); // prettier-ignore
  return Object.fromEntries(names.map((name) => [name, keysOf(name)]));
}

function withoutCredential(document: ResourceDocument): ResourceDocument {
  const { kind, spec } = document;
  if (kind !== 'Backend' || typeof spec !== 'object' || spec === null) return document;
  const { credential: _, ...rest } = spec as Readonly<Record<string, unknown>>; // an object, as was seen
  return { ...document, spec: rest };
}

function nameAt(resources: readonly Resource[], index: number): string {
  const resource = resources[index];
  return resource ? nameOf(resource) : 'a resource';
}

function said(problems: readonly Problem[]): string {
  return problems.map(({ path, message }) => `${path}: ${message}`).join('; ');
}
