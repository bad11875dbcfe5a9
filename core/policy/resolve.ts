import { hash } from 'node:crypto';
import type { JWK } from 'jose';
import type { Workload } from '../identity/principal.ts';
import { combine, type EffectivePolicy } from './combine.ts';
import {
  nameOf,
  type AuditPolicy,
  type Backend,
  type CredentialRef,
  type IdentityProvider,
  type LabelSelector,
  type PostgresSettings,
  type Problem,
  type Protocol,
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
  readonly postgres: PostgresSettings;
  /** Names by which agents know it, and its labels: rules say with either which backends they are about. */
  readonly hosts: readonly string[];
  readonly ports: readonly number[];
  readonly labels: ReadonlyMap<string, string>;
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
    hosts: spec.hosts,
    ports: spec.ports,
    labels: metadata.labels,
  };
}

function resolveProvider({ metadata, spec }: IdentityProvider): ResolvedProvider {
  return { name: metadata.name, ...spec };
}

/** Whether a workload is among the consumers of a Backend. */
export function mayUse({ spec }: Backend, workload: Workload): boolean {
  return spec.consumers.some(
    ({ namespace, serviceAccounts }) =>
      namespace === workload.namespace &&
      (serviceAccounts?.includes(workload.serviceAccount) ?? true),
  );
}

/** Returns the policies that select a pod. */
export function selecting(resources: readonly Resource[], workload: Workload): AuditPolicy[] {
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
        message: 'Token needs an IdentityProvider; there is none among these resources',
      },
    ];
  });
}
