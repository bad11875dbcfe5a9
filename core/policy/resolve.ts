import { hash } from 'node:crypto';
import type { JWK } from 'jose';
import type { Workload } from '../identity/principal.ts';
import {
  nameOf,
  recordLevels,
  type AuditPolicy,
  type Backend,
  type CredentialRef,
  type Delivery,
  type IdentityProvider,
  type LabelSelector,
  type NameMappings,
  type Problem,
  type Protocol,
  type RecordLevel,
  type Resource,
  type Upstream,
} from './resources.ts';

/** A Backend that the pod may use. */
export interface ResolvedBackend {
  readonly name: string;
  readonly protocol: Protocol;
  readonly upstream: Upstream;
  /** What the sidecar logs in with. Undefined: the agent's own login is relayed, and TCP has none. */
  readonly credential: CredentialRef | undefined;
  readonly postgres: NameMappings;
}

/** An IdentityProvider whose tokens may log in. */
export interface ResolvedProvider {
  readonly name: string;
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly jwksUri: string | undefined;
  readonly claims: IdentityProvider['spec']['claims'];
}

/** A provider with its public keys, as far as they could be fetched. */
export interface ProviderKeys extends ResolvedProvider {
  readonly keys: readonly JWK[];
}

/** All policies that select the pod, combined. */
export interface EffectivePolicy {
  /**
   * Required: an Enforce policy asks for a token. Optional: only observing ones do, so that a token is asked for and
   * must verify where one is presented, and the workload itself may connect without.
   */
  readonly identity: 'None' | 'Optional' | 'Required';
  /** Whether any of them enforces. */
  readonly enforcing: boolean;
  /** What binds an operation that no rule matches, and the policy that says so. */
  readonly defaultAction: Default;
  /** What all of them, observing ones included, would do. */
  readonly wouldBe: Default;
  readonly record: {
    readonly requests: RecordLevel;
    readonly responses: RecordLevel;
    readonly maxBytes: number;
  };
  readonly delivery: Delivery;
  readonly waitMs: number;
}

/** An action, and the name of the policy that it comes from. */
export interface Default {
  readonly action: 'Allow' | 'Deny';
  readonly policy: string;
}

/** Everything that a sidecar needs to know to serve one pod. */
export interface Bundle {
  /** Digest of what the bundle says, without keys. */
  readonly revision: string;
  readonly workload: Workload;
  readonly backends: ReadonlyMap<string, ResolvedBackend>;
  readonly providers: readonly ProviderKeys[];
  /** Undefined when no policy selects the pod: then everything is refused. */
  readonly policy: EffectivePolicy | undefined;
}

/** A mistake that shows only beside other resources; `resource` is the index of the one to mend. */
export interface ResourceConflict extends Problem {
  readonly resource: number;
}

/** A bundle, or every mistake that keeps the resources from being one. */
export type Resolved =
  | { readonly bundle: Bundle; readonly problems?: never }
  | { readonly bundle?: never; readonly problems: readonly ResourceConflict[] };

/** Finds what applies to a pod, and how it combines. `credentials` are those that exist, with their types. */
export function resolve(
  resources: readonly Resource[],
  workload: Workload,
  credentials: ReadonlyMap<string, CredentialRef['type']>,
): Resolved {
  const problems = [
    ...findDuplicates(resources),
    ...findDoubleAddresses(resources),
    ...findDoubleIssuers(resources),
    ...findDangling(resources, workload, credentials),
    ...findTokenless(resources, workload),
  ];
  if (problems.length > 0) return { problems };
  const ordered = inOrder(resources); // the same content has the same revision, whatever file it stands in
  const backends = ordered
    .filter((resource) => resource.kind === 'Backend')
    .filter((backend) => mayUse(backend, workload))
    .map(resolveBackend);
  const providers = ordered
    .filter((resource) => resource.kind === 'IdentityProvider')
    .map(resolveProvider);
  const policy = combine(selecting(ordered, workload));
  const content = JSON.stringify({ backends, providers, policy }, (_, value: unknown) =>
    value instanceof Map ? [...value] : value,
  );
  return {
    bundle: {
      revision: hash('sha256', content, 'hex').slice(0, 16),
      workload,
      backends: new Map(backends.map((backend) => [backend.name, backend])),
      providers: providers.map((provider) => ({ ...provider, keys: [] })),
      policy,
    },
  };
}

function resolveBackend({ metadata, spec }: Backend): ResolvedBackend {
  return {
    name: metadata.name,
    protocol: spec.protocol,
    upstream: spec.upstream,
    credential: spec.credential,
    postgres: spec.postgres,
  };
}

function resolveProvider({ metadata, spec }: IdentityProvider): ResolvedProvider {
  return { name: metadata.name, ...spec };
}

function mayUse({ spec }: Backend, workload: Workload): boolean {
  return spec.consumers.some(
    ({ namespace, serviceAccounts }) =>
      namespace === workload.namespace &&
      (serviceAccounts?.includes(workload.serviceAccount) ?? true),
  );
}

function selecting(resources: readonly Resource[], workload: Workload): AuditPolicy[] {
  return resources
    .filter(isAuditPolicy)
    .filter(
      ({ metadata }) =>
        metadata.namespace === undefined || metadata.namespace === workload.namespace,
    )
    .filter(({ spec }) => matches(spec.podSelector, workload.labels));
}

function isAuditPolicy(resource: Resource): resource is AuditPolicy {
  return resource.kind === 'AuditPolicy' || resource.kind === 'ClusterAuditPolicy';
}

/** Whether a label selector selects what carries these labels. */
export function matches(selector: LabelSelector, labels: ReadonlyMap<string, string>): boolean {
  for (const [key, value] of selector.matchLabels) if (labels.get(key) !== value) return false;
  return selector.matchExpressions.every(({ key, operator, values }) => {
    const value = labels.get(key);
    switch (operator) {
      case 'In':
        return value !== undefined && values.includes(value);
      case 'NotIn':
        return value === undefined || !values.includes(value);
      case 'Exists':
        return value !== undefined;
      case 'DoesNotExist':
        return value === undefined;
    }
  });
}

function inOrder<T extends Resource>(resources: readonly T[]): T[] {
  const byName = resources.map((resource) => ({ resource, name: nameOf(resource) }));
  byName.sort((a, b) => (a.name < b.name ? -1 : 1));
  return byName.map(({ resource }) => resource);
}

/**
 * Combines policies; the order in which they are given does not matter. A policy binds in its own mode: with only Observe policies everything passes, whatever
 * they would do. Recorded is the most that any asks for; of those that bind the strictest delivery and the least wait hold.
 */
export function combine(selected: readonly AuditPolicy[]): EffectivePolicy | undefined {
  const policies = inOrder(selected);
  const enforcing = policies.filter(({ spec }) => spec.mode === 'Enforce');
  const binding = enforcing.length > 0 ? enforcing : policies;
  const [first] = binding;
  if (!first) return undefined;
  const asksForToken = ({ spec }: AuditPolicy): boolean => spec.identity === 'Token';
  const strictest = strictestDefault(binding, first);
  return {
    identity: enforcing.some(asksForToken)
      ? 'Required'
      : policies.some(asksForToken)
        ? 'Optional'
        : 'None',
    enforcing: enforcing.length > 0,
    defaultAction: enforcing.length > 0 ? strictest : { action: 'Allow', policy: nameOf(first) },
    wouldBe: strictestDefault(policies, first),
    record: {
      requests: most(policies.map(({ spec }) => spec.record.requests)),
      responses: most(policies.map(({ spec }) => spec.record.responses)),
      maxBytes: Math.max(...policies.map(({ spec }) => spec.record.maxBytes)),
    },
    delivery: binding.some(({ spec }) => spec.delivery === 'Acknowledged')
      ? 'Acknowledged'
      : 'Spool',
    waitMs: Math.min(...binding.map(({ spec }) => spec.waitMs)),
  };
}

function strictestDefault(policies: readonly AuditPolicy[], first: AuditPolicy): Default {
  const policy = policies.find(({ spec }) => spec.defaultAction === 'Deny') ?? first;
  return { action: policy.spec.defaultAction, policy: nameOf(policy) };
}

function most(levels: readonly RecordLevel[]): RecordLevel {
  return recordLevels.findLast((level) => levels.includes(level)) ?? 'Full';
}

function findDuplicates(resources: readonly Resource[]): ResourceConflict[] {
  const seen = new Set<string>();
  return resources.flatMap((resource, index) => {
    const name = nameOf(resource);
    if (!seen.has(name)) {
      seen.add(name);
      return [];
    }
    return [{ resource: index, path: 'metadata.name', message: `${name} is defined twice` }];
  });
}

function findDoubleAddresses(resources: readonly Resource[]): ResourceConflict[] {
  const owners = new Map<string, string>();
  return resources.flatMap((resource, index) => {
    if (resource.kind !== 'Backend') return [];
    const { hosts, ports } = resource.spec;
    const addresses = hosts.flatMap((host) => ports.map((port) => `${host.toLowerCase()}:${port}`));
    return addresses.flatMap((address) => {
      const owner = owners.get(address);
      owners.set(address, owner ?? nameOf(resource));
      if (owner === undefined || owner === nameOf(resource)) return [];
      return [
        { resource: index, path: 'spec.hosts', message: `${address} belongs to ${owner} already` },
      ];
    });
  });
}

// A token names its issuer and nothing else: which of two providers vouches for it would be chance.
function findDoubleIssuers(resources: readonly Resource[]): ResourceConflict[] {
  const owners = new Map<string, string>();
  return resources.flatMap((resource, index) => {
    if (resource.kind !== 'IdentityProvider') return [];
    const owner = owners.get(resource.spec.issuer);
    owners.set(resource.spec.issuer, owner ?? nameOf(resource));
    if (owner === undefined) return [];
    const message = `${owner} has this issuer already; list all audiences there`;
    return [{ resource: index, path: 'spec.issuer', message }];
  });
}

// With the agent's own login relayed there is no place left in the protocol for a token.
function findTokenless(resources: readonly Resource[], workload: Workload): ResourceConflict[] {
  const policy = combine(selecting(resources, workload));
  if (policy?.identity !== 'Required') return [];
  return resources.flatMap((resource, index) => {
    if (resource.kind !== 'Backend' || resource.spec.protocol !== 'Postgres') return [];
    if (resource.spec.credential || !mayUse(resource, workload)) return [];
    const message =
      'missing: a policy asks for a token, which takes the place of a login of the agent’s own';
    return [{ resource: index, path: 'spec.credential', message }];
  });
}

function findDangling(
  resources: readonly Resource[],
  workload: Workload,
  credentials: ReadonlyMap<string, CredentialRef['type']>,
): ResourceConflict[] {
  const hasProvider = resources.some(({ kind }) => kind === 'IdentityProvider');
  const selected = new Set<Resource>(selecting(resources, workload));
  return resources.flatMap((resource, index) => {
    if (resource.kind === 'Backend') {
      const { credential } = resource.spec;
      if (!credential || !mayUse(resource, workload)) return [];
      const { secretName, type } = credential;
      const found = credentials.get(secretName);
      if (found === type) return [];
      const message =
        found === undefined
          ? `there is no credential named "${secretName}"`
          : `the credential "${secretName}" is of type ${found}`;
      return [{ resource: index, path: 'spec.credential.secretRef.name', message }];
    }
    if (resource.kind === 'IdentityProvider' || hasProvider) return [];
    if (!selected.has(resource) || resource.spec.identity !== 'Token') return [];
    return [
      {
        resource: index,
        path: 'spec.identity',
        message: 'Token needs an IdentityProvider; there is none',
      },
    ];
  });
}
