import type { Facts, StatementFacts } from '../facts.ts';
import type { Unreadable, UnreadableCause } from '../operation.ts';
import type { RecordedVerdict, VerdictReason } from '../record/kinds.ts';
import {
  coversElement,
  isAboutBackend,
  isAboutSubject,
  type Asker,
  type CompiledPolicies,
  type CompiledPolicy,
  type CompiledRule,
} from './compile.ts';
import { elementsOf, type Element } from './elements.ts';
import { Effort, type Value } from './expression.ts';
import { operationTerms, type Terms } from './vocabulary.ts';

/** What is decided of an operation. */
export interface Verdict {
  readonly recorded: RecordedVerdict;
  /** What the rule that refused says to the agent. */
  readonly message: string | undefined;
  /** What no Allow covers, where that is why it was refused. */
  readonly uncovered: readonly Element[];
  /** Why nothing could be judged, where that is why it was refused or would be. */
  readonly unreadable?: UnreadableCause;
  /** Which of the units decided, from 0; none did of what cannot be judged. */
  readonly unit?: number;
}

/** The rules that are about one asker at one backend, and how their policies stand to each other. */
export interface Case {
  readonly asker: Asker;
  readonly revision: string;
  readonly policies: readonly CompiledPolicy[];
  /** Of policies that enforce, and of those that only observe. */
  readonly enforced: readonly CaseRule[];
  readonly observed: readonly CaseRule[];
  /** Undefined when none enforces. */
  readonly binding: readonly Level[] | undefined;
  readonly all: readonly Level[];
}

/** A rule with the policy that it stands in. */
export interface CaseRule {
  readonly policy: CompiledPolicy;
  readonly rule: CompiledRule;
}

/** The policies of the cluster, or those of the namespace: each level has to allow on its own. */
interface Level {
  readonly name: CompiledPolicy['level'];
  /** Deny as soon as one policy says so; that one, or else the first. */
  readonly defaultAction: 'Allow' | 'Deny';
  readonly policy: string;
  /** Whether anything is denied or held here: then nothing may pass that nobody can read. */
  readonly restricts: boolean;
  readonly grants: boolean;
}

/** A statement, or an operation that has none. */
export interface Unit {
  readonly statement: StatementFacts | undefined;
  readonly elements: readonly Element[];
  /** A text that holds nothing at all. */
  readonly isEmpty: boolean;
}

/** A rule that has to do with a unit. */
export interface Finding extends CaseRule {
  readonly outcome: 'counts' | 'error';
  /** Why, for an error. */
  readonly error?: string;
}

/** What policies come to over a unit. */
interface Settled {
  readonly action: 'Allow' | 'Deny';
  readonly reason: VerdictReason;
  readonly policy: string;
  readonly rule?: CompiledRule | undefined;
  readonly uncovered?: readonly Element[];
}

/** The same, with the unit that it was settled over, from 0. */
type SettledAt = Settled & { readonly unit: number };

/** Decides one operation. */
export function decide(
  compiled: CompiledPolicies,
  asker: Asker,
  facts: Facts | Unreadable,
): Verdict {
  return decideCase(caseOf(compiled, asker), facts);
}

/** Finds the rules that are about an asker: once for a session. */
export function caseOf({ revision, policies, backends }: CompiledPolicies, asker: Asker): Case {
  const backend = backends.get(asker.backend);
  const rules = policies.flatMap((policy) =>
    policy.rules
      .filter((rule) => isAboutBackend(rule, asker.backend, backend) && isAboutSubject(rule, asker))
      .map((rule) => ({ policy, rule })),
  );
  const enforcing = policies.filter(({ enforces }) => enforces);
  return {
    asker,
    revision,
    policies,
    enforced: rules.filter(({ policy }) => policy.enforces),
    observed: rules.filter(({ policy }) => !policy.enforces),
    binding: enforcing.length > 0 ? levelsOf(enforcing, rules) : undefined,
    all: levelsOf(policies, rules),
  };
}

function levelsOf(
  policies: readonly CompiledPolicy[],
  rules: readonly CaseRule[],
): readonly Level[] {
  return (['Cluster', 'Namespace'] as const).flatMap((name) => {
    const members = policies.filter(({ level }) => level === name);
    const decisive = members.find(({ defaultAction }) => defaultAction === 'Deny') ?? members[0];
    if (!decisive) return [];
    const own = rules.filter(({ policy }) => members.includes(policy));
    return [
      {
        name,
        defaultAction: decisive.defaultAction,
        policy: decisive.name,
        restricts: own.some(({ rule }) => rule.action !== 'Allow'),
        grants: own.some(({ rule }) => rule.action === 'Allow'),
      },
    ];
  });
}

/**
 * Decides one operation of a case. Nothing is allowed without a policy, and what could not be read is never allowed
 * under Enforce. A message takes the strictest verdict of its statements.
 */
export function decideCase(inCase: Case, facts: Facts | Unreadable): Verdict {
  const { binding, enforced, observed, revision, policies } = inCase;
  const [first] = policies;
  if (!first) return plain({ action: 'Deny', wouldBe: 'Deny', reason: 'no-policy', revision });
  const [most, least] = binding ? [enforced, observed] : [observed, enforced];
  if (facts.protocol === 'Unreadable' || isTooMuch(facts, most)) {
    const policy = (policies.find(({ enforces }) => enforces) ?? first).name;
    const action = binding ? 'Deny' : 'Allow';
    const unreadable =
      facts.protocol === 'Unreadable' ? facts.because : 'too many rules for what it holds';
    return {
      ...plain({ action, wouldBe: 'Deny', reason: 'unreadable', policy, revision }),
      unreadable,
    };
  }
  const { decided, wouldBe } = settleUnits(inCase, facts, isTooMuch(facts, least));
  const settled = decided ?? { ...wouldBe, action: 'Allow', reason: 'observe' };
  return {
    recorded: {
      action: settled.action,
      wouldBe: wouldBe.action,
      reason: settled.reason,
      policy: settled.policy,
      ...(settled.rule ? { rule: settled.rule.name } : {}),
      revision,
    },
    message: settled.rule?.message,
    uncovered: settled.uncovered ?? [],
    unit: settled.unit,
  };
}

/** Rules times elements of one message; past it deciding would hold up other sessions: some 200 ms. */
const maxChecks = 2_000_000;

function isTooMuch(facts: Facts, rules: readonly CaseRule[]): boolean {
  if (facts.protocol !== 'Postgres') return false;
  let elements = 0;
  for (const { commands, tables, functions } of facts.statements)
    elements += commands.length + tables.length + functions.length;
  return elements * rules.length > maxChecks;
}

/** Settles unit by unit until nothing can become stricter. `skipTrial`: what observing rules would do is taken for a Deny. */
function settleUnits(
  { asker, binding, all, enforced, observed }: Case,
  facts: Facts,
  skipTrial: boolean,
): { readonly decided: SettledAt | undefined; readonly wouldBe: SettledAt } {
  let decided: SettledAt | undefined;
  let wouldBe: SettledAt | undefined;
  const effort = new Effort();
  const trialEffort = new Effort(); // a trial that takes long must not take from what binds
  for (const [at, unit] of unitsOf(facts).entries()) {
    const findings = findingsOf(asker, enforced, unit, effort);
    if (binding && decided?.action !== 'Deny')
      decided = stricter(decided, { ...settle(binding, unit, findings), unit: at });
    if (wouldBe?.action !== 'Deny') {
      const trial = skipTrial ? [] : findingsOf(asker, observed, unit, trialEffort);
      wouldBe = stricter(wouldBe, { ...settle(all, unit, [...findings, ...trial]), unit: at });
    }
    if (wouldBe.action === 'Deny' && (!binding || decided?.action === 'Deny')) break;
  }
  if (!wouldBe) throw new TypeError('an operation has at least one unit');
  return { decided, wouldBe: skipTrial ? { ...wouldBe, action: 'Deny' } : wouldBe };
}

function plain(recorded: RecordedVerdict): Verdict {
  return { recorded, message: undefined, uncovered: [] };
}

function stricter(before: SettledAt | undefined, now: SettledAt): SettledAt {
  return before && now.action === 'Allow' ? before : now;
}

/** Returns what is decided one by one; never nothing. */
export function unitsOf(facts: Facts): readonly Unit[] {
  const statements = facts.protocol === 'Postgres' ? facts.statements : [];
  if (statements.length === 0)
    return [{ statement: undefined, elements: [], isEmpty: facts.protocol === 'Postgres' }];
  return statements.map((statement) => ({
    statement,
    elements: elementsOf(statement),
    isEmpty: false,
  }));
}

/** Returns the rules that have to do with a unit. */
export function findingsOf(
  asker: Asker,
  rules: readonly CaseRule[],
  unit: Unit,
  effort: Effort,
): readonly Finding[] {
  let terms: Terms | undefined;
  const findings: Finding[] = [];
  for (const { policy, rule } of rules) {
    if (rule.problem !== undefined) {
      findings.push({ policy, rule, outcome: 'error', error: rule.problem });
    } else if (unit.isEmpty && rule.when?.asksOfStatement) {
      continue; // drivers and pools send texts without a statement to see who is there
    } else if (concerns(rule, unit)) {
      const { value, error } = rule.when
        ? rule.when.over((terms ??= operationTerms(asker, unit.statement)), effort)
        : always;
      if (error !== undefined) findings.push({ policy, rule, outcome: 'error', error });
      else if (value === true) findings.push({ policy, rule, outcome: 'counts' });
    }
  }
  return findings;
}

const always: Value = { value: true };

/** Whether a rule is about anything in a unit, whatever its condition says. */
export function concerns(rule: CompiledRule, { statement, elements }: Unit): boolean {
  const { match } = rule;
  if (!match) return true;
  if (!statement) return false;
  if (match.readOnly !== undefined && match.readOnly !== statement.readOnly) return false;
  if (match.isWhole) return true;
  return rule.action === 'Allow'
    ? elements.some((element) => match.covers(element))
    : elements.some((element) => match.touches(element));
}

/** What some policies come to: Deny before RequireApproval before what each level allows. */
function settle(levels: readonly Level[], unit: Unit, findings: readonly Finding[]): Settled {
  const counting = findings.filter(({ outcome }) => outcome === 'counts');
  const denying = counting.find(({ rule }) => rule.action === 'Deny');
  if (denying) return denied('rule', denying);
  const failed = findings.find(({ outcome }) => outcome === 'error');
  if (failed) return denied('error', failed);
  const holding = counting.find(({ rule }) => rule.action === 'RequireApproval');
  if (holding) return denied('approval-unavailable', holding);
  const settled = levels.map((level) =>
    settleLevel(
      level,
      unit,
      counting.filter(({ policy }) => policy.level === level.name),
    ),
  );
  const [first] = settled;
  const decisive = settled.find(({ action }) => action === 'Deny') ?? settled.find(byRule) ?? first;
  if (!decisive) throw new TypeError('policies have at least one level');
  return decisive;
}

function byRule({ reason }: Settled): boolean {
  return reason === 'rule';
}

function denied(reason: VerdictReason, { policy, rule }: CaseRule): Settled {
  return { action: 'Deny', reason, policy: policy.name, rule };
}

function settleLevel(level: Level, unit: Unit, allows: readonly Finding[]): Settled {
  const uncovered = uncoveredOf(
    unit,
    allows.map(({ rule }) => rule),
  );
  const [first] = allows;
  if (first && uncovered.length === 0)
    return { action: 'Allow', reason: 'rule', policy: first.policy.name, rule: first.rule };
  const { policy } = level;
  const unread = uncovered.some(({ kind }) => kind === 'command') && unit.statement?.isOpaque;
  if (level.defaultAction === 'Allow') {
    return unread && level.restricts
      ? { action: 'Deny', reason: 'opaque', policy, uncovered }
      : { action: 'Allow', reason: 'default-action', policy };
  }
  if (unit.isEmpty) return { action: 'Allow', reason: 'empty', policy };
  if (unread && (level.grants || level.restricts))
    return { action: 'Deny', reason: 'opaque', policy, uncovered };
  const reason = level.grants ? 'not-covered' : 'default-action';
  return { action: 'Deny', reason, policy, uncovered };
}

/** Returns the elements that no Allow covers. */
function uncoveredOf(unit: Unit, allows: readonly CompiledRule[]): readonly Element[] {
  return unit.elements.filter(
    (element) =>
      !(element.kind === 'function' && element.harmless) &&
      !allows.some((rule) => coversElement(rule, element)),
  );
}
