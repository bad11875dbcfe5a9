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
import { findLogin, type KeptCredential } from './login.ts';
import { refusalOf, standInsFor } from './stand-ins.ts';

/** A resource of ours in the cluster: what its author wrote, and what that means or why it means nothing. */
export interface KeptResource {
  readonly document: ResourceDocument;
  /** `Kind/namespace/name`, also of one that cannot be read. */
  readonly name: string;
  /** Of a namespaced kind. */
  readonly namespace: string | undefined;
  /** Of this object, unlike that of one of the same name before it. */
  readonly uid: string;
  /** Which change of its spec this is, as the API server counts them. */
  readonly generation: number;
  /** What its author wrote, for comparison: its name and a digest. */
  readonly part: string;
  /** Of its document as JSON. */
  readonly bytes: number;
  readonly parsed: Parsed;
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

/** What is wrong with a resource beside the others. */
export interface Fault {
  /** Such as `Backend/shop`. */
  readonly resource: string;
  readonly text: string;
}

/** A bundle, or what keeps this pod from getting one: then it keeps the last. */
export type Built =
  /** `parts` are those of the resources in it; `faults` are of policies that others stand in for. */
  | {
      readonly kind: 'bundle';
      readonly message: BundleMessage;
      readonly parts: readonly string[];
      readonly faults: readonly Fault[];
    }
  | { readonly kind: 'held'; readonly faults: readonly Fault[] };

/**
 * Makes what one pod is told. What of the cluster's own cannot be read or does not hold together holds it back: leaving it
 * out would allow what was to be denied. Where that is a policy of the pod's namespace, a tighter one stands in for it.
 */
export function buildBundle(pod: KeptPod, cluster: Cluster): Built {
  const concerned = cluster.resources.filter((kept) => mayConcern(kept, pod));
  const own = concerned.filter(({ namespace }) => namespace !== undefined);
  const platform = concerned.filter(({ namespace }) => namespace === undefined);
  const tooMuch = excessOf(own);
  if (tooMuch !== undefined) return withoutOwn(own, tooMuch, (some) => buildOf([...platform, ...some], pod, cluster)); // prettier-ignore
  const built = buildOf(concerned, pod, cluster);
  if (built.kind === 'bundle' || own.length === 0) return built;
  const isFine = (some: readonly KeptResource[]): boolean =>
    buildOf([...platform, ...some], pod, cluster).kind === 'bundle';
  if (!isFine([])) return built;
  const faults: Fault[] = [];
  const replaced = own.map((kept) => {
    const alone = buildOf([...platform, kept], pod, cluster);
    if (alone.kind === 'bundle') return kept;
    const text = alone.faults.map((fault) => fault.text).join('; ');
    faults.push({ resource: kept.name, text });
    const standIns = standInsFor(kept, text);
    return standIns.find((standIn) => isFine([standIn])) ?? kept;
  });
  const mended = buildOf([...platform, ...replaced], pod, cluster);
  return mended.kind === 'bundle' ? { ...mended, faults } : built;
}

/** How much of its own a namespace may have for one pod: each of its bundles holds all of it, and is made anew at each change. */
const maxOwn = { policies: 64, bytes: 1024 * 1024 } as const;

function excessOf(own: readonly KeptResource[]): string | undefined {
  const bytes = own.reduce((sum, each) => sum + each.bytes, 0);
  if (own.length <= maxOwn.policies && bytes <= maxOwn.bytes) return undefined;
  return `${own.length} policies of the namespace select the pod, of ${bytes} bytes together; want at most ${maxOwn.policies}, of ${maxOwn.bytes} bytes`; // prettier-ignore
}

/** The bundle with one policy that refuses everything in the place of all of the namespace. */
function withoutOwn(
  own: readonly KeptResource[],
  why: string,
  build: (some: readonly KeptResource[]) => Built,
): Built {
  const [first] = own;
  const built = build(first ? [refusalOf(first, why)] : []);
  if (built.kind === 'held') return built;
  return { ...built, faults: own.map(({ name }) => ({ resource: name, text: why })) };
}

function buildOf(concerned: readonly KeptResource[], pod: KeptPod, cluster: Cluster): Built {
  const unread = concerned.filter(({ parsed }) => parsed.resource === undefined);
  if (unread.length > 0)
    return { kind: 'held', faults: unread.map(({ name, parsed }) => ({ resource: name, text: said(parsed.problems ?? []) })) }; // prettier-ignore
  const getsLogins = pod.attachment !== 'Pod';
  const documents = concerned.map(({ document }) =>
    getsLogins ? document : withoutCredential(document),
  );
  const resources = concerned.flatMap(({ parsed }) => parsed.resource ?? []).map((resource) => (getsLogins ? resource : withoutLogin(resource))); // prettier-ignore
  const given = credentialsFor(resources, cluster);
  if (given.faults.length > 0) return { kind: 'held', faults: given.faults };
  const types = [...given.credentials].map(([name, { type }]) => [name, type] as const);
  const { problems = [] } = resolve(resources, pod, new Map(types));
  if (problems.length > 0)
    return { kind: 'held', faults: problems.map(({ resource, path, message }) => ({ resource: nameAt(resources, resource), text: `${path}: ${message}` })) }; // prettier-ignore
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
  const parts = concerned.map(({ part }) => part);
  return { kind: 'bundle', message: { type: 'bundle', version: 1, revision, ...content }, parts, faults: [] }; // prettier-ignore
}

/** Whether a resource is about a pod; one that cannot be read is about all that it could be about. */
export function mayConcern({ parsed, namespace }: KeptResource, pod: Workload): boolean {
  const { resource } = parsed;
  if (resource) return concerns(resource, pod);
  return namespace === undefined || namespace === pod.namespace;
}

function credentialsFor(
  resources: readonly Resource[],
  cluster: Cluster,
): {
  readonly credentials: ReadonlyMap<string, BackendCredential>;
  readonly faults: readonly Fault[];
} {
  const credentials = new Map<string, BackendCredential>();
  const faults: Fault[] = [];
  for (const resource of resources) {
    if (resource.kind !== 'Backend') continue;
    const found = findLogin(resource, cluster.credential);
    if (found.kind === 'login') credentials.set(found.secretName, found.login);
    else if (found.kind !== 'none')
      faults.push({ resource: nameOf(resource), text: found.problem });
  }
  return { credentials, faults };
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

/** Says in one line what is wrong with a document. */
export function said(problems: readonly Problem[]): string {
  return problems.map(({ path, message }) => `${path}: ${message}`).join('; ');
}
