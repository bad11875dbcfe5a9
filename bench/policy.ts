import { hash } from 'node:crypto';
import type { Facts } from '#core/facts.ts';
import { compilePolicies, type Asker } from '#core/policy/compile.ts';
import { combine } from '#core/policy/combine.ts';
import { decideCase, caseOf } from '#core/policy/decide.ts';
import { Judge } from '#core/policy/judge.ts';
import type { Rule } from '#core/policy/rules.ts';
import { about, ada, policy, shop, statement, table, workload } from '../test/support/policies.ts';
import type { Effort } from './postgres/throughput.ts';
import { figureOf, type Measured } from './rounds.ts';

const ruleCount = 1_000;
const conditionCount = 50;
const compileRounds = 20;
const decisions = 20_000;

const name = (index: number): string => hash('sha1', String(index), 'hex').slice(0, 12);

/** Compiling policies and deciding by them, on the thread that serves agents. */
export async function* policies(effort: Effort): AsyncGenerator<Measured> {
  effort.say('policies');
  const rules = Array.from({ length: ruleCount }, (_, index) => ruleOf(index));
  const bundle = {
    revision: 'r',
    policy: combine([policy({ defaultAction: 'Allow', rules })]),
    backends: new Map([['shop', shop]]),
  };
  yield {
    measure: `policies: compile ${ruleCount} rules, ${conditionCount} with a condition`,
    unit: 'ms',
    figures: { chaperone: figureOf(timed(compileRounds, 1, () => compilePolicies(bundle))) },
    goal: { kind: 'limit', most: 150 },
  };
  const compiled = compilePolicies(bundle);
  const asker: Asker = { backend: 'shop', who: ada, workload };
  const facts = factsOf();
  const judge = new Judge(compiled, asker);
  yield {
    measure: 'policies: a verdict that was made before',
    unit: 'µs',
    figures: { chaperone: perDecision(() => judge.decide(facts)) },
    goal: { kind: 'limit', most: 5 },
  };
  const inCase = caseOf(compiled, asker);
  yield {
    measure: `policies: a verdict by ${ruleCount} rules, ${conditionCount} with a condition`,
    unit: 'µs',
    figures: { chaperone: perDecision(() => decideCase(inCase, facts)) },
  };
  const conditions = rules.filter(({ when }) => when !== undefined);
  const few = {
    ...bundle,
    policy: combine([policy({ defaultAction: 'Allow', rules: conditions })]),
  };
  const fewCase = caseOf(compilePolicies(few), asker);
  yield {
    measure: `policies: a verdict by ${conditionCount} conditions`,
    unit: 'µs',
    figures: { chaperone: perDecision(() => decideCase(fewCase, facts)) },
    goal: { kind: 'limit', most: 150 },
  };
}

/** Every twentieth has a condition, which is evaluated and false. */
function ruleOf(index: number): Rule {
  if (index % (ruleCount / conditionCount) === 0) {
    const when = `statement.tables.exists(t, t.name == "${name(index)}") && principal.user.startsWith("a")`;
    return about('Deny', { commands: ['SELECT'] }, { name: name(index), when });
  }
  const tables = [{ name: `public.${name(index)}`, access: ['Read', 'Write'] as const }];
  return about(index % 2 === 0 ? 'Deny' : 'Allow', { tables, functions: [name(index)] }, { name: name(index) }); // prettier-ignore
}

function factsOf(): Facts {
  const tables = ['orders', 'customers', 'products'].map((each) => table(`public.${each}`));
  const functions = [{ schema: 'pg_catalog', name: 'sum' }];
  return { protocol: 'Postgres', statements: [statement({ tables, functions })] };
}

function perDecision(run: () => unknown): ReturnType<typeof figureOf> {
  timed(1, decisions, run); // to be compiled by V8 as a sidecar's would be
  return figureOf(timed(5, decisions, run).map((ms) => ms * 1_000));
}

/** Milliseconds that one run takes, in each round. */
function timed(rounds: number, runs: number, run: () => unknown): number[] {
  return Array.from({ length: rounds }, () => {
    const began = performance.now();
    for (let count = 0; count < runs; count += 1) run();
    return (performance.now() - began) / runs;
  });
}
