import type { AuditPolicy, Backend, IdentityProvider, Resource } from '#core/policy/resources.ts';
import { nameOf } from '#core/policy/resources.ts';
import { said, type KeptResource } from '../bundles.ts';
import { findLogin, type KeptCredential } from '../login.ts';

/** Why a condition is what it is, in one word for programs; docs/policies.md says what each means. */
export const reasons = [
  'Accepted',
  'Invalid',
  'Conflict',
  'HostNotAllowed',
  'ResolvedRefs',
  'SecretNotFound',
  'SecretWithoutKeys',
  'BackendNotFound',
  'ProviderNotFound',
  'Programmed',
  'NoSidecars',
  'Pending',
  'HeldBack',
  'Refused',
] as const;

/** What a condition says. */
export interface Finding {
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: (typeof reasons)[number];
  readonly message: string;
}

/** What is found of a resource beside the others, whoever uses it. */
export interface Findings {
  readonly accepted: Finding;
  readonly resolvedRefs: Finding;
}

/** Judges all resources of a cluster, by their names. */
export function judgeResources(
  kept: readonly KeptResource[],
  credential: (name: string) => KeptCredential | undefined,
): ReadonlyMap<string, Findings> {
  const resources = kept.flatMap(({ parsed }) => parsed.resource ?? []);
  const conflicts = new Map([...conflictsOfBackends(resources), ...conflictsOfProviders(resources)]); // prettier-ignore
  const names = new Set(resources.map(nameOf));
  return new Map(
    kept.map(({ name, parsed }): [string, Findings] => {
      const { resource, problems = [] } = parsed;
      if (!resource)
        return [name, { accepted: no('Invalid', said(problems)), resolvedRefs: unread }];
      const conflict = conflicts.get(name);
      const { accepted, resolvedRefs } = judgeRefs(resource, names, credential);
      return [name, { accepted: conflict ? no('Conflict', conflict) : accepted, resolvedRefs }];
    }),
  );
}

const valid: Finding = { status: 'True', reason: 'Accepted', message: 'it is valid' };
const resolved: Finding = { status: 'True', reason: 'ResolvedRefs', message: 'everything that it names exists' }; // prettier-ignore
const unread: Finding = { status: 'Unknown', reason: 'Invalid', message: 'it cannot be read' };

function no(reason: Finding['reason'], message: string): Finding {
  return { status: 'False', reason, message };
}

function judgeRefs(
  resource: Resource,
  names: ReadonlySet<string>,
  credential: (name: string) => KeptCredential | undefined,
): Findings {
  if (resource.kind === 'IdentityProvider') return { accepted: valid, resolvedRefs: resolved };
  if (resource.kind !== 'Backend')
    return { accepted: valid, resolvedRefs: judgeNames(resource, names) };
  const found = findLogin(resource, credential);
  switch (found.kind) {
    case 'login':
    case 'none':
      return { accepted: valid, resolvedRefs: resolved };
    case 'no-secret':
      return { accepted: valid, resolvedRefs: no('SecretNotFound', found.problem) };
    case 'no-keys':
      return { accepted: valid, resolvedRefs: no('SecretWithoutKeys', found.problem) };
    case 'other-host':
      return { accepted: no('HostNotAllowed', found.problem), resolvedRefs: resolved };
  }
}

function judgeNames({ spec }: AuditPolicy, names: ReadonlySet<string>): Finding {
  const backends = spec.rules.flatMap(({ where }) => where.kind === 'backends' ? where.names.map((name) => `Backend/${name}`) : []); // prettier-ignore
  const providers = spec.rules.flatMap(({ subjects }) =>
    subjects === 'Anybody'
      ? []
      : subjects.flatMap((subject) =>
          subject.kind === 'token' ? `IdentityProvider/${subject.provider}` : [],
        ),
  );
  const missing = (named: readonly string[]): readonly string[] => [...new Set(named)].filter((name) => !names.has(name)); // prettier-ignore
  const [noBackends, noProviders] = [missing(backends), missing(providers)];
  const problems = [...noBackends, ...noProviders].map((name) => `there is no ${name}`);
  const needsOne = spec.identity === 'Token' && ![...names].some((name) => name.startsWith('IdentityProvider/')); // prettier-ignore
  if (needsOne) problems.push('identity Token needs an IdentityProvider, and there is none');
  if (problems.length === 0) return resolved;
  return no(noBackends.length > 0 ? 'BackendNotFound' : 'ProviderNotFound', problems.join('; '));
}

/** Backends of one address, where a pod could use both: nobody could tell which one it means. */
function conflictsOfBackends(resources: readonly Resource[]): ReadonlyMap<string, string> {
  const owners = new Map<string, Backend[]>();
  for (const resource of resources) {
    if (resource.kind !== 'Backend') continue;
    const { hosts, ports } = resource.spec;
    for (const host of new Set(hosts.map((each) => each.toLowerCase())))
      for (const port of ports) {
        const address = `${host}:${port}`;
        owners.set(address, [...(owners.get(address) ?? []), resource]);
      }
  }
  const conflicts = new Map<string, string>();
  for (const [address, sharing] of owners)
    for (const one of sharing) {
      const other = sharing.find((each) => each !== one && haveCommonConsumer(one, each));
      if (other) conflicts.set(nameOf(one), `${address} belongs to ${nameOf(other)} as well`);
    }
  return conflicts;
}

function haveCommonConsumer(one: Backend, other: Backend): boolean {
  return one.spec.consumers.some(({ namespace, serviceAccounts }) =>
    other.spec.consumers.some(
      (each) =>
        each.namespace === namespace &&
        (serviceAccounts === undefined ||
          each.serviceAccounts === undefined ||
          each.serviceAccounts.some((account) => serviceAccounts.includes(account))),
    ),
  );
}

function conflictsOfProviders(resources: readonly Resource[]): ReadonlyMap<string, string> {
  const providers = resources.filter((resource): resource is IdentityProvider => resource.kind === 'IdentityProvider'); // prettier-ignore
  const byIssuer = Map.groupBy(providers, ({ spec }) => spec.issuer);
  const conflicts = new Map<string, string>();
  for (const sharing of byIssuer.values())
    for (const one of sharing) {
      const other = sharing.find((each) => each !== one);
      if (other) conflicts.set(nameOf(one), `${nameOf(other)} has this issuer as well; list all audiences in one`); // prettier-ignore
    }
  return conflicts;
}
