import type { Facts, StatementFacts } from '../facts.ts';
import type { Unreadable, UnreadableCause } from '../operation.ts';
import type { RecordedVerdict } from '../record/kinds.ts';
import {
  coversElement,
  isAboutBackend,
  isAboutSubject,
  type Asker,
  type CompiledPolicies,
  type CompiledPolicy,
  type CompiledRule,
} from './compile.ts';
import {
  concerns,
  findingsOf,
  unitsOf,
  type CaseRule,
  type Finding,
  type Unit,
  type Verdict,
} from './decide.ts';
import { describeElement, type Element } from './elements.ts';
import { Effort } from './expression.ts';
import { Judge } from './judge.ts';

/** Why an operation is allowed or denied, rule by rule. */
export interface Explanation {
  readonly verdict: Verdict;
  /** What it would be if every policy enforced. */
  readonly wouldBe: Verdict;
  readonly policies: readonly {
    readonly name: string;
    readonly mode: 'Observe' | 'Enforce';
    readonly defaultAction: 'Allow' | 'Deny';
  }[];
  /** One for each statement; one for an operation that has none; none for what cannot be read. */
  readonly parts: readonly ExplainedPart[];
  /** Why nothing could be understood, or judged. */
  readonly unreadable: UnreadableCause | undefined;
}

/** What is decided on its own, with every rule there is. */
export interface ExplainedPart {
  readonly statement: StatementFacts | undefined;
  readonly elements: readonly ExplainedElement[];
  readonly rules: readonly ExplainedRule[];
}

/** An element, with the rules that have to do with it. */
export interface ExplainedElement {
  readonly element: Element;
  /** As a person reads it. */
  readonly text: string;
  /** Whether an Allow has to cover it at all. */
  readonly needsCover: boolean;
  readonly coveredBy: readonly RuleName[];
  /** Rules that deny or hold it. */
  readonly stoppedBy: readonly RuleName[];
}

/** Where a rule stands. */
export interface RuleName {
  readonly policy: string;
  readonly rule: string;
}

/** A rule, and what became of it. */
export interface ExplainedRule extends RuleName {
  readonly action: CompiledRule['action'];
  readonly outcome: RuleOutcome;
  /** What is wrong, for an error. */
  readonly error: string | undefined;
}

/**
 * What became of a rule: `decided` alone says the verdict; `counts` and `error` have a part in it; the others are out, by the first
 * thing that keeps them out.
 */
export type RuleOutcome =
  | 'decided'
  | 'counts'
  | 'error'
  | 'other-backend'
  | 'other-subject'
  | 'read-only' // about statements that read, or that do not
  | 'no-element' // nothing that it lists is there
  | 'condition'; // which is false, or asks about `statement` in a text without any

/** Explains what is decided; it decides just as a `Judge` does. */
export function explain(
  compiled: CompiledPolicies,
  asker: Asker,
  facts: Facts | Unreadable,
): Explanation {
  const verdict = new Judge(compiled, asker).decide(facts);
  const unreadable = facts.protocol === 'Unreadable' ? facts.because : verdict.unreadable;
  const readable = facts.protocol === 'Unreadable' || unreadable ? undefined : facts;
  return {
    verdict,
    wouldBe: new Judge(enforcingAll(compiled), asker).decide(facts),
    policies: compiled.policies.map(({ name, enforces, defaultAction }) => ({
      name,
      mode: enforces ? 'Enforce' : 'Observe',
      defaultAction,
    })),
    parts: readable ? partsOf(compiled, asker, unitsOf(readable), verdict) : [],
    unreadable,
  };
}

/** The same policies, were all of them to enforce. */
function enforcingAll(compiled: CompiledPolicies): CompiledPolicies {
  const policies = compiled.policies.map((policy) => ({ ...policy, enforces: true }));
  return { ...compiled, policies };
}

function partsOf(
  compiled: CompiledPolicies,
  asker: Asker,
  units: readonly Unit[],
  { recorded, unit: decisive }: Verdict,
): readonly ExplainedPart[] {
  // One for all statements and each kind of policies, as where it is decided: else conditions would get further here.
  const [enforcing, observing] = [new Effort(), new Effort()];
  return units.map((unit, at) =>
    partOf(compiled, asker, unit, {
      decided: at === decisive ? recorded : undefined,
      effortOf: ({ enforces }) => (enforces ? enforcing : observing),
    }),
  );
}

function partOf(
  { policies, backends }: CompiledPolicies,
  asker: Asker,
  unit: Unit,
  {
    decided: by,
    effortOf,
  }: {
    /** The verdict, where this is the part that decided. */
    readonly decided: RecordedVerdict | undefined;
    readonly effortOf: (policy: CompiledPolicy) => Effort;
  },
): ExplainedPart {
  const backend = backends.get(asker.backend);
  const rules = policies.flatMap((policy) =>
    policy.rules.map((rule): CaseRule => ({ policy, rule })),
  );
  const judged = rules.map((each) => {
    const { policy, rule } = each;
    const finding =
      isAboutBackend(rule, asker.backend, backend) && isAboutSubject(rule, asker)
        ? findingsOf(asker, [each], unit, effortOf(policy))[0]
        : undefined;
    const decided = by?.policy === policy.name && by.rule === rule.name;
    const outcome: RuleOutcome = finding
      ? decided
        ? 'decided'
        : finding.outcome
      : whyOut(rule, asker, unit, isAboutBackend(rule, asker.backend, backend));
    return { ...each, finding, outcome };
  });
  const counting = judged.flatMap(({ finding }) =>
    finding?.outcome === 'counts' ? [finding] : [],
  );
  return {
    statement: unit.statement,
    elements: unit.elements.map((element) => explainElement(element, counting)),
    rules: judged.map(({ policy, rule, outcome, finding }) => ({
      policy: policy.name,
      rule: rule.name,
      action: rule.action,
      outcome,
      error: finding?.error,
    })),
  };
}

function whyOut(rule: CompiledRule, asker: Asker, unit: Unit, isHere: boolean): RuleOutcome {
  if (!isHere) return 'other-backend';
  if (!isAboutSubject(rule, asker)) return 'other-subject';
  const { readOnly } = rule.match ?? {};
  if (unit.statement && readOnly !== undefined && readOnly !== unit.statement.readOnly)
    return 'read-only';
  return concerns(rule, unit) ? 'condition' : 'no-element';
}

function explainElement(element: Element, counting: readonly Finding[]): ExplainedElement {
  const names = (wanted: (rule: CompiledRule) => boolean): readonly RuleName[] =>
    counting
      .filter(({ rule }) => wanted(rule))
      .map(({ policy, rule }) => ({ policy: policy.name, rule: rule.name }));
  return {
    element,
    text: describeElement(element),
    needsCover: !(element.kind === 'function' && element.harmless),
    coveredBy: names((rule) => rule.action === 'Allow' && coversElement(rule, element)),
    stoppedBy: names((rule) => rule.action !== 'Allow' && stops(rule, element)),
  };
}

function stops({ match }: CompiledRule, element: Element): boolean {
  return !match || match.isWhole || match.touches(element);
}
