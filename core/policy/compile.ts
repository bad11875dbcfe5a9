import type { Principal, Workload } from '../identity/principal.ts';
import type { Element } from './elements.ts';
import { parseCondition, type Expression } from './expression.ts';
import { Match } from './match.ts';
import { matches, type Bundle, type ResolvedBackend } from './resolve.ts';
import { nameOf, type AuditPolicy } from './resources.ts';
import type { Rule, RuleAction, RuleTarget, Subject } from './rules.ts';

/** The policies of a bundle, ready to decide. */
export interface CompiledPolicies {
  readonly revision: string;
  /** Sorted by name. Empty when none selects the pod. */
  readonly policies: readonly CompiledPolicy[];
  readonly backends: ReadonlyMap<string, ResolvedBackend>;
}

/** One of them. */
export interface CompiledPolicy {
  /** As `nameOf` has it. */
  readonly name: string;
  readonly level: 'Cluster' | 'Namespace';
  readonly enforces: boolean;
  readonly defaultAction: 'Allow' | 'Deny';
  /** Sorted by name. */
  readonly rules: readonly CompiledRule[];
}

/** A rule, whose names and condition were read. */
export interface CompiledRule {
  readonly name: string;
  readonly action: RuleAction;
  readonly message: string | undefined;
  readonly where: RuleTarget;
  readonly subjects: Rule['subjects'];
  /** Undefined: whatever is done there. */
  readonly match: Match | undefined;
  readonly when: Expression | undefined;
  /** Why the rule cannot be evaluated: it stops whatever it might be about. */
  readonly problem: string | undefined;
}

/** Who does something, and where. */
export interface Asker {
  /** Name of a Backend. */
  readonly backend: string;
  readonly who: Principal;
  readonly workload: Workload;
}

/** Compiles the policies of a bundle: once for all that is decided under it. */
export function compilePolicies({
  revision,
  policy,
  backends,
}: Pick<Bundle, 'revision' | 'policy' | 'backends'>): CompiledPolicies {
  const policies = policy?.policies ?? [];
  return {
    revision,
    policies: policies.map(compilePolicy).toSorted((a, b) => compareNames(a.name, b.name)),
    backends,
  };
}

function compilePolicy(policy: AuditPolicy): CompiledPolicy {
  const { mode, defaultAction, rules } = policy.spec;
  return {
    name: nameOf(policy),
    level: policy.kind === 'ClusterAuditPolicy' ? 'Cluster' : 'Namespace',
    enforces: mode === 'Enforce',
    defaultAction,
    rules: rules.map(compileRule).toSorted((a, b) => compareNames(a.name, b.name)),
  };
}

function compileRule(rule: Rule): CompiledRule {
  const match = rule.postgres && new Match(rule.postgres);
  const condition = rule.when === undefined ? undefined : parseCondition(rule.when);
  const [wrongName] = match?.wrongNames ?? [];
  return {
    name: rule.name,
    action: rule.action,
    message: rule.message,
    where: rule.where,
    subjects: rule.subjects,
    match,
    when: condition?.expression,
    problem:
      wrongName === undefined
        ? condition?.problem
        : `it names ${JSON.stringify(wrongName.slice(0, 200))}, which is no name`,
  };
}

function compareNames(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** Whether a rule is about a backend. */
export function isAboutBackend(
  { where }: CompiledRule,
  name: string,
  backend: ResolvedBackend | undefined,
): boolean {
  switch (where.kind) {
    case 'backends':
      return where.names.includes(name);
    case 'backendSelector':
      return matches(where.selector, backend?.labels ?? new Map<string, string>());
    case 'hosts':
      return (backend?.hosts ?? []).some((host) => where.names.some((want) => isHost(host, want)));
  }
}

// `*.example.com` stands for every name below, at any depth, and not for example.com itself.
function isHost(host: string, want: string): boolean {
  const [name, pattern] = [host.toLowerCase(), want.toLowerCase()];
  return pattern.startsWith('*.') ? name.endsWith(pattern.slice(1)) : name === pattern;
}

/** Whether a rule is about somebody. */
export function isAboutSubject({ subjects }: CompiledRule, { who, workload }: Asker): boolean {
  return subjects === 'Anybody' || subjects.some((subject) => isSubject(subject, who, workload));
}

function isSubject(subject: Subject, who: Principal, workload: Workload): boolean {
  if (subject.kind === 'workload')
    return subject.serviceAccounts.some(
      ({ namespace, name }) => namespace === workload.namespace && name === workload.serviceAccount,
    );
  if (who.kind !== 'token' || who.provider !== subject.provider) return false;
  return (
    subject.users.includes(who.user) || subject.groups.some((group) => who.groups.includes(group))
  );
}

/** Whether an Allow covers an element. One without a protocol covers whatever can be read. */
export function coversElement({ match }: CompiledRule, element: Element): boolean {
  if (match) return match.covers(element);
  return !(element.kind === 'command' && element.opaque);
}
