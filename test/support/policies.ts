import type { Facts, RelationName, StatementFacts, TableAccess, TableFact } from '#core/facts.ts';
import type { Principal, Workload } from '#core/identity/principal.ts';
import type { Unreadable } from '#core/operation.ts';
import { combine } from '#core/policy/combine.ts';
import { compilePolicies, type Asker, type CompiledPolicies } from '#core/policy/compile.ts';
import { decide, type Verdict } from '#core/policy/decide.ts';
import type { ResolvedBackend } from '#core/policy/resolve.ts';
import type { AuditPolicy } from '#core/policy/resources.ts';
import { noLimits, type Rule, type TableMatch } from '#core/policy/rules.ts';
import type { RecordedVerdict } from '#core/record/kinds.ts';

/** Policies as the parser leaves them, and facts as a lane finds them. */

export const workload: Workload = {
  pod: 'pod',
  namespace: 'local',
  serviceAccount: 'agent',
  labels: new Map([['app', 'shop']]),
};

export const agent: Principal = { kind: 'workload', user: 'system:serviceaccount:local:agent' };

export const ada: Principal = {
  kind: 'token',
  provider: 'idp',
  issuer: 'https://i.example',
  user: 'ada',
  groups: ['analysts', 'all'],
  expiresAt: 0,
};

export const shop: ResolvedBackend = {
  name: 'shop',
  protocol: 'Postgres',
  upstream: { host: 'h', port: 1, tls: { mode: 'Disable', ca: undefined } },
  credential: undefined,
  postgres: { users: new Map(), databases: new Map(), applicationName: 'Keep', settings: [] },
  hosts: ['Shop-DB', 'shop.db.example.com'],
  ports: [5_432],
  labels: new Map([['tier', 'gold']]),
};

/** Of `sum(amount)`'s kind: harmless functions have to be named nowhere. */
export const harmless = { schema: 'pg_catalog', name: 'sum' };

export function statement(given: Partial<StatementFacts>): StatementFacts {
  return {
    commands: ['SELECT'],
    tables: [],
    functions: [],
    hasWhere: undefined,
    limit: undefined,
    copy: undefined,
    settings: [],
    changesMeaning: false,
    readOnly: true,
    isOpaque: false,
    ...given,
  };
}

export function table(
  name: string,
  access: TableAccess = 'Read',
  more: Partial<TableFact> = {},
): TableFact {
  return { ...relation(name), access, columns: [], through: undefined, ...more };
}

/** `schema.name`, or a name whose schema nobody knows. */
export function relation(name: string): RelationName {
  const [schema, inSchema] = name.split('.');
  return inSchema === undefined ? { schema: undefined, name } : { schema, name: inSchema };
}

/** `orders` to read, `orders:Write` for another access. */
export function tables(...names: readonly string[]): readonly TableMatch[] {
  return names.map((each) => {
    const [name = '', access = 'Read'] = each.split(':');
    return { name, access: [access as TableAccess] };
  });
}

export function rule(action: Rule['action'], given: Partial<Rule> = {}): Rule {
  return {
    name: 'rule',
    where: { kind: 'backends', names: ['shop'] },
    subjects: 'Anybody',
    postgres: undefined,
    when: undefined,
    action,
    message: undefined,
    approval: undefined,
    ...given,
  };
}

/** A rule about elements of statements. */
export function about(
  action: Rule['action'],
  postgres: Partial<NonNullable<Rule['postgres']>>,
  given: Partial<Rule> = {},
): Rule {
  const nothing = { commands: undefined, tables: undefined, functions: undefined };
  return rule(action, { postgres: { ...nothing, readOnly: undefined, ...postgres }, ...given });
}

export interface PolicyGiven {
  readonly name?: string;
  readonly cluster?: boolean;
  readonly mode?: 'Observe' | 'Enforce';
  readonly defaultAction?: 'Allow' | 'Deny';
  readonly rules?: readonly Rule[];
}

/** Enforces unless it says otherwise; its rules get names of their own where they have none. */
export function policy({
  name = 'p',
  cluster = false,
  mode = 'Enforce',
  defaultAction = mode === 'Enforce' ? 'Deny' : 'Allow',
  rules = [],
}: PolicyGiven): AuditPolicy {
  return {
    kind: cluster ? 'ClusterAuditPolicy' : 'AuditPolicy',
    metadata: { name, namespace: cluster ? undefined : 'local', labels: new Map() },
    spec: {
      podSelector: { matchLabels: new Map(), matchExpressions: [] },
      identity: 'Workload',
      mode,
      defaultAction,
      record: { requests: 'Full', responses: 'Full', maxBytes: Infinity },
      delivery: 'Spool',
      waitMs: 10_000,
      rules: rules.map((each, index) =>
        each.name === 'rule' ? { ...each, name: `rule-${index}` } : each,
      ),
      limits: noLimits,
      unknownHosts: 'Record',
      inboundPorts: [],
    },
  };
}

export function compiled(policies: readonly AuditPolicy[]): CompiledPolicies {
  return compilePolicies({
    revision: 'r',
    policy: combine(policies),
    backends: new Map([['shop', shop]]),
  });
}

export function fullVerdictOf(
  policies: readonly AuditPolicy[],
  what: StatementFacts | readonly StatementFacts[] | Facts | Unreadable,
  asker: Partial<Asker> = {},
): Verdict {
  return decide(
    compiled(policies),
    { backend: 'shop', who: ada, workload, ...asker },
    factsOf(what),
  );
}

export function verdictOf(...given: Parameters<typeof fullVerdictOf>): RecordedVerdict {
  return fullVerdictOf(...given).recorded;
}

export function factsOf(
  what: StatementFacts | readonly StatementFacts[] | Facts | Unreadable,
): Facts | Unreadable {
  if ('protocol' in what) return what;
  return { protocol: 'Postgres', statements: 'commands' in what ? [what] : what };
}
