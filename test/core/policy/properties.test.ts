import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Facts, StatementFacts } from '#core/facts.ts';
import type { AuditPolicy } from '#core/policy/resources.ts';
import type { Rule } from '#core/policy/rules.ts';
import {
  about,
  ada,
  agent,
  factsOf,
  fullVerdictOf,
  harmless,
  policy,
  relation,
  rule,
  statement,
  table,
  verdictOf,
} from '../../support/policies.ts';
import { Random } from '../../support/random.ts';

/** What must hold of any policies at all, over made-up ones. A failing one names its seed. */

const rounds = 2_500;
const commands = ['SELECT', 'UPDATE', 'DO', 'COPY TO'];
const facts = ['public.orders', 'public.salaries', 'hr.orders', 'orders', 'public.*', '*'];
const patterns = ['orders', 'public.orders', 'hr.orders', 'salaries', 'public.*', '*'];
const accesses = ['Read', 'Write'] as const;
const subjects: Rule['subjects'][] = [
  'Anybody',
  [{ kind: 'token', provider: 'idp', users: ['ada'], groups: [] }],
  [{ kind: 'token', provider: 'idp', users: [], groups: ['admins'] }],
  [{ kind: 'workload', serviceAccounts: [{ namespace: 'local', name: 'agent' }] }],
];
const conditions = ['true', 'false', 'statement.readOnly', '"ada" == principal.user'];
const failing = 'statement.hasWhere';

class Made {
  readonly random: Random;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  chance(of: number): boolean {
    return this.random.below(of) === 0;
  }

  some<T>(items: readonly T[], most = 3): T[] {
    return Array.from({ length: 1 + this.random.below(most) }, () => this.random.pick(items));
  }

  statement(): StatementFacts {
    const through = { kind: this.random.pick(['View', 'Child', 'Parent'] as const), ...relation('public.orders') }; // prettier-ignore
    return statement({
      commands: [this.random.pick(commands), ...(this.chance(4) ? [this.random.pick(commands)] : [])], // prettier-ignore
      tables: this.chance(3)
        ? []
        : this.some(facts).map(
            (name) =>
            table(name, this.random.pick(accesses), { through: this.chance(4) ? through : undefined }), // prettier-ignore
          ),
      functions: this.chance(3) ? [harmless, relation('public.pay')].slice(this.random.below(3)) : [], // prettier-ignore
      readOnly: this.chance(2),
      isOpaque: this.chance(6),
    });
  }

  facts(): Facts {
    if (this.chance(20)) return { protocol: 'TCP' };
    const statements = Array.from({ length: this.random.below(3) }, () => this.statement());
    return { protocol: 'Postgres', statements };
  }

  rule(action: Rule['action'], when: readonly string[] = [...conditions, failing]): Rule {
    const given: Partial<Rule> = {
      name: `made-${this.random.below(1_000_000)}`,
      subjects: this.random.pick(subjects),
      when: this.chance(4) ? this.random.pick(when) : undefined,
      where: { kind: 'backends', names: this.chance(8) ? ['other'] : ['shop'] },
    };
    if (this.chance(6)) return rule(action, given);
    return about(
      action,
      {
        commands: this.chance(2) ? this.some([...commands, '*', 'COPY']) : undefined,
        tables: this.chance(2)
          ? this.some(patterns).map((name) => ({ name, access: this.some(accesses) }))
          : undefined,
        functions: this.chance(4) ? this.some(['pay', 'pg_catalog.sum', '*']) : undefined,
        readOnly: this.chance(6) ? this.chance(2) : undefined,
      },
      given,
    );
  }

  policy(
    name: string,
    fixed: { cluster?: boolean; mode?: 'Observe' | 'Enforce' } = {},
  ): AuditPolicy {
    return policy({
      name,
      cluster: this.chance(2),
      mode: this.chance(3) ? 'Observe' : 'Enforce',
      defaultAction: this.chance(2) ? 'Allow' : 'Deny',
      rules: Array.from({ length: this.random.below(4) }, () =>
        this.rule(this.random.pick(['Allow', 'Allow', 'Deny', 'RequireApproval'] as const)),
      ),
      ...fixed,
    });
  }

  policies(): AuditPolicy[] {
    return Array.from({ length: 1 + this.random.below(4) }, (_, index) => this.policy(`p${index}`));
  }

  /** The policies with one more rule in one of them. */
  with(policies: readonly AuditPolicy[], added: Rule): AuditPolicy[] {
    const at = this.random.below(policies.length);
    return policies.map((each, index) =>
      index === at ? { ...each, spec: { ...each.spec, rules: [...each.spec.rules, added] } } : each,
    );
  }

  shuffled<T>(items: readonly T[]): T[] {
    return items
      .map((item) => ({ item, at: this.random.below(1_000_000) }))
      .sort((a, b) => a.at - b.at)
      .map(({ item }) => item);
  }
}

/** Runs over made-up policies; what is claimed returns false where it does not hold. Counts what it had to do with. */
function holds(title: string, claim: (made: Made) => 'held' | 'moot' | 'broken'): void {
  test(title, () => {
    let held = 0;
    for (let seed = 1; seed <= rounds; seed += 1) {
      const outcome = claim(new Made(seed));
      assert.notEqual(outcome, 'broken', `seed ${seed}`);
      if (outcome === 'held') held += 1;
    }
    assert.ok(held > rounds / 20, `only ${held} of ${rounds} said anything`);
  });
}

describe('of any policies it holds that', () => {
  holds('one more Deny allows nothing more, in what binds and in what would', (made) => {
    const [before, of] = [made.policies(), made.facts()];
    const action = made.chance(3) ? 'RequireApproval' : 'Deny';
    const after = verdictOf(made.with(before, made.rule(action)), of);
    const { action: was, wouldBe } = verdictOf(before, of);
    if (was === 'Allow' && wouldBe === 'Allow') return 'moot';
    const binds = was === 'Allow' || after.action === 'Deny';
    return binds && (wouldBe === 'Allow' || after.wouldBe === 'Deny') ? 'held' : 'broken';
  });

  holds('one more Allow denies nothing more, unless it cannot be evaluated', (made) => {
    const [before, of] = [made.policies(), made.facts()];
    const added = made.rule('Allow', ['true', 'false', '"ada" == principal.user']);
    const after = verdictOf(made.with(before, added), of);
    const { action: was, wouldBe } = verdictOf(before, of);
    if (was === 'Deny' && wouldBe === 'Deny') return 'moot';
    const binds = was === 'Deny' || after.action === 'Allow';
    return binds && (wouldBe === 'Deny' || after.wouldBe === 'Allow') ? 'held' : 'broken';
  });

  holds('one more policy of a namespace loosens nothing that the cluster’s deny', (made) => {
    const clusters = made
      .policies()
      .map((_, index) => made.policy(`c${index}`, { cluster: true, mode: 'Enforce' }));
    const of = made.facts();
    if (verdictOf(clusters, of).action === 'Allow') return 'moot';
    const more = made.policies().map((_, index) => made.policy(`n${index}`, { cluster: false }));
    return verdictOf([...clusters, ...more], of).action === 'Deny' ? 'held' : 'broken';
  });

  holds('one more policy of the cluster loosens nothing that the namespace’s deny', (made) => {
    const spaces = made
      .policies()
      .map((_, index) => made.policy(`n${index}`, { cluster: false, mode: 'Enforce' }));
    const of = made.facts();
    if (verdictOf(spaces, of).action === 'Allow') return 'moot';
    const more = made.policies().map((_, index) => made.policy(`c${index}`, { cluster: true }));
    return verdictOf([...spaces, ...more], of).action === 'Deny' ? 'held' : 'broken';
  });

  holds('the order of policies, of rules and of what is in them says nothing', (made) => {
    const [policies, of] = [made.policies(), made.facts()];
    const other = made.shuffled(policies).map((each) => ({
      ...each,
      spec: { ...each.spec, rules: made.shuffled(each.spec.rules) },
    }));
    assert.deepEqual(fullVerdictOf(other, of), fullVerdictOf(policies, of));
    return 'held';
  });

  holds('who observes never blocks, and changes no verdict of who enforces', (made) => {
    const [policies, of] = [made.policies(), made.facts()];
    const enforcing = policies.filter(({ spec }) => spec.mode === 'Enforce');
    const { action } = verdictOf(policies, of);
    if (enforcing.length === 0) return action === 'Allow' ? 'held' : 'broken';
    if (enforcing.length === policies.length) return 'moot';
    return action === verdictOf(enforcing, of).action ? 'held' : 'broken';
  });

  holds('a message is denied exactly if one of its statements is', (made) => {
    const policies = made.policies();
    const statements = made.some([made.statement(), made.statement(), made.statement()]);
    const each = statements.map((one) => verdictOf(policies, one).action);
    const whole = verdictOf(policies, statements).action;
    return (whole === 'Deny') === each.includes('Deny') ? 'held' : 'broken';
  });

  holds('more elements in a statement are allowed by nothing that denies fewer', (made) => {
    const policies = made.policies().map(({ spec, ...each }) => ({
      ...each,
      spec: { ...spec, rules: spec.rules.filter(({ when }) => when === undefined) },
    }));
    const less = made.statement();
    const more = { ...less, tables: [...less.tables, ...made.statement().tables] };
    if (verdictOf(policies, less).action === 'Allow') return 'moot';
    return verdictOf(policies, more).action === 'Deny' ? 'held' : 'broken';
  });

  holds('a rule about others changes nothing', (made) => {
    const [policies, of] = [made.policies(), made.facts()];
    const foreign = { ...made.rule(made.random.pick(['Allow', 'Deny'] as const)), subjects: [] };
    assert.deepEqual(verdictOf(made.with(policies, foreign), of), verdictOf(policies, of));
    return 'held';
  });

  holds('a workload is nobody whom a token names', (made) => {
    const token = { kind: 'token', provider: 'idp', users: [agent.user], groups: ['all'] } as const;
    const denies = policy({ defaultAction: 'Allow', rules: [rule('Deny', { subjects: [token] })] });
    const of = factsOf(made.statement());
    assert.equal(verdictOf([denies], of, { who: agent }).action, 'Allow');
    assert.equal(verdictOf([denies], of, { who: ada }).action, 'Deny');
    return 'held';
  });
});
