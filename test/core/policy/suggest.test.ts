import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { StatementFacts } from '#core/facts.ts';
import { parseResource } from '#core/policy/parse.ts';
import type { AuditPolicy } from '#core/policy/resources.ts';
import { suggest, type Seen, type SuggestedPolicy } from '#core/policy/suggest.ts';
import {
  ada,
  agent,
  factsOf,
  harmless,
  relation,
  statement,
  table,
  verdictOf,
  workload,
} from '../../support/policies.ts';
import { Random, scaled } from '../../support/random.ts';

const seen = (of: Parameters<typeof factsOf>[0], more: Partial<Seen> = {}): Seen => ({
  facts: factsOf(of),
  who: agent,
  workload,
  backend: 'shop',
  count: 1,
  ...more,
});

/** As it is read when somebody has written it down, but enforcing. */
function enforced(suggested: SuggestedPolicy): AuditPolicy {
  const { resource, problems } = parseResource({
    ...suggested,
    spec: { ...suggested.spec, mode: 'Enforce' },
  });
  assert.ok(resource?.kind === 'AuditPolicy', JSON.stringify(problems));
  return resource;
}

const select = statement({ tables: [table('public.orders')], functions: [harmless] });

describe('suggested policies', () => {
  test('name what was seen, and nothing else', () => {
    const update = statement({
      commands: ['UPDATE'],
      tables: [table('public.orders', 'Write'), table('hr.*', 'Define')],
      functions: [relation('public.pay')],
    });
    const { policies } = suggest([seen(select), seen(update, { count: 5 })]);
    assert.deepEqual(policies, [
      {
        apiVersion: 'chaperone.dev/v1alpha1',
        kind: 'AuditPolicy',
        metadata: { name: 'suggested', namespace: 'local' },
        spec: {
          podSelector: {},
          mode: 'Observe',
          defaultAction: 'Deny',
          rules: [
            {
              name: 'allow-1',
              backends: ['shop'],
              subjects: [{ serviceAccounts: [{ namespace: 'local', name: 'agent' }] }],
              postgres: {
                commands: ['SELECT', 'UPDATE'],
                tables: [
                  { name: 'hr.*', access: ['Define'] },
                  { name: 'public.orders', access: ['Read', 'Write'] },
                ],
                functions: ['public.pay'],
              },
              action: 'Allow',
            },
          ],
        },
      },
    ]);
  });

  test('have one rule for subjects that did the same', () => {
    const { policies } = suggest([
      seen(select, { who: ada }),
      seen(select, { who: { ...ada, user: 'bob' } }),
      seen(select),
      seen(statement({ commands: ['DELETE'] }), { who: { ...ada, user: 'eve' } }),
    ]);
    assert.deepEqual(
      policies[0]?.spec.rules.map(({ subjects }) => subjects),
      [
        [{ provider: 'idp', users: ['eve'] }],
        [{ provider: 'idp', users: ['ada', 'bob'] }, { serviceAccounts: [{ namespace: 'local', name: 'agent' }] }],
      ],
    ); // prettier-ignore
  });

  test('are those of each namespace, of at most 64 rules with lists of at most 256', () => {
    const wide = statement({ tables: Array.from({ length: 600 }, (_, index) => table(`public.t${index}`)) }); // prettier-ignore
    const many = Array.from(
      { length: 70 },
      (_, index) =>
      seen(statement({ tables: [table(`public.t${index}`)] }), { who: { ...ada, user: `u${index}` } }), // prettier-ignore
    );
    const elsewhere = seen(select, { workload: { ...workload, namespace: 'other' } });
    const { policies } = suggest([seen(wide), ...many, elsewhere]);
    assert.deepEqual(
      policies.map(({ metadata, spec }) => [metadata.namespace, metadata.name, spec.rules.length]),
      [['local', 'suggested', 64], ['local', 'suggested-2', 9], ['other', 'suggested', 1]],
    ); // prettier-ignore
    const lists = policies.flatMap(({ spec }) => spec.rules.map(({ postgres }) => postgres?.tables?.length ?? 0)); // prettier-ignore
    assert.equal(Math.max(...lists), 256);
  });

  test('count what no rule can allow, and what deserves a look', () => {
    const unreadable = { protocol: 'Unreadable', because: 'too deep' } as const;
    const opaque = statement({ commands: ['DO'], isOpaque: true });
    const suggestion = suggest([seen(unreadable, { count: 3 }), seen(opaque, { count: 2 })]);
    assert.deepEqual([suggestion.unreadable, suggestion.opaque], [3, 2]);
    assert.deepEqual(suggestion.policies[0]?.spec.rules[0]?.postgres, { commands: ['DO'] });
  });

  test('allow all that was seen once they enforce', () => {
    const random = new Random(5);
    const through = { kind: 'Child', ...relation('public.orders') } as const;
    const made = (): StatementFacts =>
      statement({
        commands: [random.pick(['SELECT', 'DO', 'COPY TO'])],
        tables: [
          table(
            random.pick([
              'public.orders',
              'orders',
              'a.*',
              'public.Big Table',
              'public.Orders',
              '*',
            ]),
          ),
          ...(random.below(3) === 0
            ? [table('public.orders'), table('x.part', 'Read', { through })]
            : []),
        ],
        functions: [harmless, relation(random.pick(['public.pay', 'pay']))].slice(random.below(3)),
        isOpaque: random.below(4) === 0,
      });
    for (let round = 0; round < scaled(3_000); round += 1) {
      const all = Array.from({ length: 1 + random.below(5) }, () =>
        seen(random.below(20) === 0 ? { protocol: 'TCP' } : made(), {
          who: random.pick([agent, ada, { ...ada, user: 'bob' }]),
        }),
      );
      const policies = suggest(all).policies.map(enforced);
      for (const { facts, who } of all)
        assert.equal(verdictOf(policies, facts, { who }).action, 'Allow', JSON.stringify(facts));
    }
  });
});
