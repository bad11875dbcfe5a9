import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { StatementFacts } from '#core/facts.ts';
import type { Principal } from '#core/identity/principal.ts';
import type { Rule } from '#core/policy/rules.ts';
import {
  about,
  ada,
  agent,
  fullVerdictOf,
  harmless,
  policy,
  relation,
  rule,
  statement,
  table,
  tables,
  verdictOf,
  workload,
  type PolicyGiven,
} from '../../support/policies.ts';

type Expected = readonly [action: string, reason: string, rule?: string];
type Case = readonly [title: string, rules: readonly Rule[], of: StatementFacts, ...Expected];

const select = statement({ tables: [table('public.orders')] });
const join = statement({ tables: [table('public.orders'), table('public.salaries')] });
const update = statement({ commands: ['UPDATE'], tables: [table('public.orders', 'Write')], readOnly: false }); // prettier-ignore
const calling = (...names: string[]): StatementFacts => statement({ functions: names.map(relation) }); // prettier-ignore
const doBlock = statement({ commands: ['DO'], isOpaque: true, readOnly: false });
const viewed = { kind: 'View', ...relation('public.report') } as const;
const partOf = { kind: 'Child', ...relation('public.orders') } as const;
const parentOf = { kind: 'Parent', ...relation('public.orders') } as const;
const report = statement({ tables: [table('public.report'), table('public.salaries', 'Read', { through: viewed })] }); // prettier-ignore
const parts = statement({ tables: [table('public.orders'), table('x.orders_2026', 'Read', { through: partOf })] }); // prettier-ignore

const reads = about('Allow', { commands: ['SELECT'] });
const whole = about('Allow', {});

/** One enforcing policy, which denies what no rule allows. */
const alone: readonly Case[] = [
  ['no rule allows nothing', [], select, 'Deny', 'default-action'],
  ['a whole-statement Allow covers all of it', [whole], join, 'Allow', 'rule', 'rule-0'],
  ['an Allow without a block covers all of it', [rule('Allow')], update, 'Allow', 'rule', 'rule-0'],
  ['an Allow of the command alone leaves the table', [reads], select, 'Deny', 'not-covered'],
  ['an Allow of the table alone leaves the command', [about('Allow', { tables: tables('orders') })], select, 'Deny', 'not-covered'],
  ['one Allow covers both', [about('Allow', { commands: ['SELECT'], tables: tables('orders') })], select, 'Allow', 'rule', 'rule-0'],
  ['two Allows cover together', [reads, about('Allow', { tables: tables('public.orders') })], select, 'Allow', 'rule', 'rule-0'],
  ['the second table needs cover too', [reads, about('Allow', { tables: tables('orders') })], join, 'Deny', 'not-covered'],
  ['three Allows cover three elements', [reads, about('Allow', { tables: tables('orders') }), about('Allow', { tables: tables('salaries') })], join, 'Allow', 'rule', 'rule-0'],
  ['all commands by an asterisk', [about('Allow', { commands: ['*'], tables: tables('*') })], select, 'Allow', 'rule', 'rule-0'],
  ['commands are read in any case', [about('Allow', { commands: ['select'], tables: tables('*') })], select, 'Allow', 'rule', 'rule-0'],
  ['a nested command needs cover', [about('Allow', { commands: ['SELECT'], tables: tables('*') })], statement({ commands: ['SELECT', 'DELETE'] }), 'Deny', 'not-covered'],
  ['COPY does not cover COPY TO', [about('Allow', { commands: ['COPY'] })], statement({ commands: ['COPY TO'] }), 'Deny', 'not-covered'],
  ['Read covers no Write', [about('Allow', { commands: ['*'], tables: tables('orders') })], update, 'Deny', 'not-covered'],
  ['Write covers Write', [about('Allow', { commands: ['*'], tables: tables('orders:Write') })], update, 'Allow', 'rule', 'rule-0'],
  ['Write covers no Define', [about('Allow', { commands: ['*'], tables: tables('orders:Write') })], statement({ commands: ['ALTER TABLE'], tables: [table('public.orders', 'Define')] }), 'Deny', 'not-covered'],
  ['another schema is not covered', [about('Allow', { commands: ['*'], tables: tables('hr.orders') })], select, 'Deny', 'not-covered'],
  ['a schema covers what is in it', [about('Allow', { commands: ['*'], tables: tables('public.*') })], join, 'Allow', 'rule', 'rule-0'],
  ['an unknown schema is not covered by a named one', [about('Allow', { commands: ['*'], tables: tables('public.orders') })], statement({ tables: [table('orders')] }), 'Deny', 'not-covered'],
  ['an unknown schema is not covered by a whole one', [about('Allow', { commands: ['*'], tables: tables('public.*') })], statement({ tables: [table('orders')] }), 'Deny', 'not-covered'],
  ['an unknown schema is covered by an asterisk', [about('Allow', { commands: ['*'], tables: tables('*') })], statement({ tables: [table('orders')] }), 'Allow', 'rule', 'rule-0'],
  ['an unknown schema is covered by the name in any', [about('Allow', { commands: ['*'], tables: tables('orders') })], statement({ tables: [table('orders')] }), 'Allow', 'rule', 'rule-0'],
  ['a whole schema is not covered by one table', [about('Allow', { commands: ['*'], tables: tables('public.orders', 'orders') })], statement({ tables: [table('public.*')] }), 'Deny', 'not-covered'],
  ['a whole schema is covered as one', [about('Allow', { commands: ['*'], tables: tables('public.*') })], statement({ tables: [table('public.*')] }), 'Allow', 'rule', 'rule-0'],
  ['case counts in names', [about('Allow', { commands: ['*'], tables: tables('Orders') })], select, 'Deny', 'not-covered'],
  ['pg_catalog has to be named', [about('Allow', { commands: ['*'], tables: tables('public.*') })], statement({ tables: [table('pg_catalog.pg_authid')] }), 'Deny', 'not-covered'],
  ['pg_catalog can be named', [about('Allow', { commands: ['*'], tables: tables('pg_catalog.*') })], statement({ tables: [table('pg_catalog.pg_class')] }), 'Allow', 'rule', 'rule-0'],
  ['a function has to be named', [reads], calling('public.pay'), 'Deny', 'not-covered'],
  ['a function can be named', [about('Allow', { commands: ['*'], functions: ['pay'] })], calling('public.pay'), 'Allow', 'rule', 'rule-0'],
  ['a harmless function need not be named', [reads], statement({ functions: [harmless] }), 'Allow', 'rule', 'rule-0'],
  ['a harmless name elsewhere has to be named', [reads], calling('public.sum'), 'Deny', 'not-covered'],
  ['a harmless name of an unknown schema has to be named', [reads], calling('sum'), 'Deny', 'not-covered'],
  ['another function of pg_catalog has to be named', [reads], calling('pg_catalog.pg_read_file'), 'Deny', 'not-covered'],
  ['a whole-statement Allow covers functions', [whole], calling('public.pay'), 'Allow', 'rule', 'rule-0'],
  ['a view alone does not cover what it reads', [about('Allow', { commands: ['*'], tables: tables('public.report') })], report, 'Deny', 'not-covered'],
  ['what a view reads can be covered', [about('Allow', { commands: ['*'], tables: tables('public.report', 'salaries') })], report, 'Allow', 'rule', 'rule-0'],
  ['a part is covered with the table in the text', [about('Allow', { commands: ['*'], tables: tables('public.orders') })], parts, 'Allow', 'rule', 'rule-0'],
  ['a part covers not the table in the text', [about('Allow', { commands: ['*'], tables: tables('x.*') })], parts, 'Deny', 'not-covered'],
  ['a part is covered with the same access alone', [about('Allow', { commands: ['*'], tables: tables('public.orders') })], statement({ tables: [table('x.orders_2026', 'Write', { through: partOf })] }), 'Deny', 'not-covered'],
  ['a parent is covered with the table in the text', [about('Allow', { commands: ['*'], tables: tables('orders') })], statement({ tables: [table('public.orders'), table('x.all_orders', 'Read', { through: parentOf })] }), 'Allow', 'rule', 'rule-0'],
  ['read only: covers what reads', [about('Allow', { readOnly: true })], join, 'Allow', 'rule', 'rule-0'],
  ['read only: covers not what writes', [about('Allow', { readOnly: true })], update, 'Deny', 'not-covered'],
  ['read only restricts lists', [about('Allow', { commands: ['*'], readOnly: true })], statement({ readOnly: false }), 'Deny', 'not-covered'],
  ['readOnly: false covers what writes alone', [about('Allow', { readOnly: false })], select, 'Deny', 'not-covered'],
  ['a Deny beats an Allow', [whole, about('Deny', { tables: tables('salaries') })], join, 'Deny', 'rule', 'rule-1'],
  ['a Deny of what is not there', [whole, about('Deny', { tables: tables('salaries') })], select, 'Allow', 'rule', 'rule-0'],
  ['a Deny of one command', [whole, about('Deny', { commands: ['UPDATE'] })], update, 'Deny', 'rule', 'rule-1'],
  ['a Deny of a nested command', [whole, about('Deny', { commands: ['DELETE'] })], statement({ commands: ['EXPLAIN', 'DELETE'] }), 'Deny', 'rule', 'rule-1'],
  ['a Deny of COPY means both ways', [whole, about('Deny', { commands: ['COPY'] })], statement({ commands: ['COPY TO'] }), 'Deny', 'rule', 'rule-1'],
  ['a Deny of COPY FROM leaves COPY TO', [whole, about('Deny', { commands: ['COPY FROM'] })], statement({ commands: ['COPY TO'] }), 'Allow', 'rule', 'rule-0'],
  ['a Deny of CREATE means no word that begins so', [whole, about('Deny', { commands: ['CRE'] })], statement({ commands: ['CREATE TABLE'] }), 'Allow', 'rule', 'rule-0'],
  ['a Deny of another access', [whole, about('Deny', { tables: tables('orders:Write') })], select, 'Allow', 'rule', 'rule-0'],
  ['a Deny means a table behind a view', [whole, about('Deny', { tables: tables('salaries') })], report, 'Deny', 'rule', 'rule-1'],
  ['a Deny means a part', [whole, about('Deny', { tables: tables('x.*') })], parts, 'Deny', 'rule', 'rule-1'],
  ['a Deny means a name in an unknown schema', [whole, about('Deny', { tables: tables('public.orders') })], statement({ tables: [table('orders')] }), 'Deny', 'rule', 'rule-1'],
  ['a Deny means a schema that holds the table', [whole, about('Deny', { tables: tables('public.orders') })], statement({ tables: [table('public.*')] }), 'Deny', 'rule', 'rule-1'],
  ['a Deny of a table in any schema means every schema', [whole, about('Deny', { tables: tables('orders') })], statement({ tables: [table('hr.*')] }), 'Deny', 'rule', 'rule-1'],
  ['a Deny means a harmless function that it names', [whole, about('Deny', { functions: ['pg_catalog.sum'] })], statement({ functions: [harmless] }), 'Deny', 'rule', 'rule-1'],
  ['a Deny of a whole schema’s functions', [whole, about('Deny', { functions: ['public.*'] })], calling('public.pay'), 'Deny', 'rule', 'rule-1'],
  ['a whole-statement Deny', [whole, about('Deny', {})], select, 'Deny', 'rule', 'rule-1'],
  ['a Deny of what writes', [whole, about('Deny', { readOnly: false })], update, 'Deny', 'rule', 'rule-1'],
  ['a Deny of what writes leaves what reads', [whole, about('Deny', { readOnly: false })], select, 'Allow', 'rule', 'rule-0'],
  ['a Deny with a list and readOnly asks for both', [whole, about('Deny', { tables: tables('orders'), readOnly: false })], select, 'Allow', 'rule', 'rule-0'],
  ['a Deny without a block', [whole, rule('Deny')], select, 'Deny', 'rule', 'rule-1'],
  ['an approval that is missing', [whole, about('RequireApproval', { tables: tables('orders') })], select, 'Deny', 'approval-unavailable', 'rule-1'],
  ['an approval of what is not there', [whole, about('RequireApproval', { tables: tables('salaries') })], select, 'Allow', 'rule', 'rule-0'],
  ['a Deny beats an approval', [about('RequireApproval', {}), about('Deny', {})], select, 'Deny', 'rule', 'rule-1'],
  ['a condition that is false: no Deny', [whole, about('Deny', {}, { when: 'statement.hasWhere' })], statement({ hasWhere: false }), 'Allow', 'rule', 'rule-0'],
  ['a condition that is true: a Deny', [whole, about('Deny', {}, { when: '!statement.hasWhere' })], statement({ hasWhere: false }), 'Deny', 'rule', 'rule-1'],
  ['a condition that is false: no cover', [about('Allow', {}, { when: 'false' })], select, 'Deny', 'not-covered'],
  ['a condition of an Allow that fails denies', [whole, about('Allow', {}, { when: '!statement.hasWhere' })], select, 'Deny', 'error', 'rule-1'],
  ['a condition of a Deny that fails denies', [whole, about('Deny', {}, { when: '!statement.hasWhere' })], select, 'Deny', 'error', 'rule-1'],
  ['a condition of an approval that fails denies', [whole, about('RequireApproval', {}, { when: '!statement.hasWhere' })], select, 'Deny', 'error', 'rule-1'],
  ['a condition is not asked where nothing matches', [whole, about('Deny', { tables: tables('salaries') }, { when: '!statement.hasWhere' })], select, 'Allow', 'rule', 'rule-0'],
  ['a condition that cannot be read denies all', [whole, about('Deny', { tables: tables('none') }, { when: 'nonsense(' })], select, 'Deny', 'error', 'rule-1'],
  ['a name that is none denies all', [whole, about('Deny', { tables: tables('a.b.c') })], select, 'Deny', 'error', 'rule-1'],
  ['a Deny beats an error', [about('Allow', {}, { when: '!statement.hasWhere' }), about('Deny', {})], select, 'Deny', 'rule', 'rule-1'],
  ['an asterisk covers nothing opaque', [about('Allow', { commands: ['*'] })], doBlock, 'Deny', 'opaque'],
  ['a whole-statement Allow covers nothing opaque', [whole], doBlock, 'Deny', 'opaque'],
  ['an Allow without a block covers nothing opaque', [rule('Allow')], doBlock, 'Deny', 'opaque'],
  ['an Allow that names it covers what is opaque', [about('Allow', { commands: ['DO'] })], doBlock, 'Allow', 'rule', 'rule-0'],
  ['each command of what is opaque has to be named', [about('Allow', { commands: ['EXPLAIN'] }), whole], statement({ commands: ['EXPLAIN', 'EXECUTE'], isOpaque: true }), 'Deny', 'opaque'],
  ['what is opaque is denied beside a Deny', [about('Deny', { tables: tables('salaries') })], doBlock, 'Deny', 'opaque'],
  ['what is opaque may be named beside a Deny', [about('Deny', { tables: tables('salaries') }), about('Allow', { commands: ['DO'] })], doBlock, 'Allow', 'rule', 'rule-1'],
  ['the name of a Deny means what is opaque', [about('Allow', { commands: ['DO'] }), about('Deny', { commands: ['*'] })], doBlock, 'Deny', 'rule', 'rule-1'],
]; // prettier-ignore

describe('one policy that enforces', () => {
  for (const [title, rules, of, action, reason, name] of alone)
    test(`${title}: ${action}`, () => {
      const recorded = verdictOf([policy({ rules })], of);
      assert.deepEqual([recorded.action, recorded.reason, recorded.rule], [action, reason, name]);
      assert.equal(recorded.wouldBe, action);
    });
});

/** Policies that allow what no rule denies. */
const open = (...rules: readonly Rule[]): PolicyGiven => ({ defaultAction: 'Allow', rules });
const cluster = (given: PolicyGiven): PolicyGiven => ({ ...given, cluster: true });
const observed = (given: PolicyGiven): PolicyGiven => ({ ...given, mode: 'Observe' });
const denyOrders = about('Deny', { tables: tables('orders') });
const allowDo = about('Allow', { commands: ['DO'] });

const together: readonly (readonly [title: string, policies: readonly PolicyGiven[], of: StatementFacts, action: string, reason: string, wouldBe?: string])[] = [
  ['a default of Allow lets through what no rule names', [open()], select, 'Allow', 'default-action'],
  ['a default of Allow and a Deny', [open(denyOrders)], select, 'Deny', 'rule'],
  ['a default of Allow lets through what is opaque', [open()], doBlock, 'Allow', 'default-action'],
  ['a default of Allow with a Deny lets nothing opaque through', [open(denyOrders)], doBlock, 'Deny', 'opaque'],
  ['a default of Allow with an approval lets nothing opaque through', [open(about('RequireApproval', { commands: ['DROP TABLE'] }))], doBlock, 'Deny', 'opaque'],
  ['what is opaque can be named under a default of Allow', [open(denyOrders, allowDo)], doBlock, 'Allow', 'rule'],
  ['a Deny elsewhere says nothing of what is opaque here', [open({ ...denyOrders, where: { kind: 'backends', names: ['other'] } })], doBlock, 'Allow', 'default-action'],
  ['one default of Deny is enough', [open(), { name: 'q' }], select, 'Deny', 'default-action'],
  ['an Allow of one policy covers under another’s default', [{ name: 'q' }, open(whole)], select, 'Allow', 'rule'],
  ['Allows of two policies cover together', [{ rules: [reads] }, { name: 'q', rules: [about('Allow', { tables: tables('orders') })] }], select, 'Allow', 'rule'],
  ['the cluster’s default is not loosened by the namespace', [cluster({}), { rules: [whole] }], select, 'Deny', 'default-action'],
  ['the namespace’s default is not loosened by the cluster', [cluster({ rules: [whole] }), {}], select, 'Deny', 'default-action'],
  ['both levels allow', [cluster({ rules: [whole] }), { rules: [whole] }], select, 'Allow', 'rule'],
  ['levels do not cover together', [cluster({ rules: [reads] }), { rules: [about('Allow', { tables: tables('orders') })] }], select, 'Deny', 'not-covered'],
  ['an open cluster leaves the namespace to say', [cluster(open()), { rules: [whole] }], select, 'Allow', 'rule'],
  ['an open cluster leaves the namespace to deny', [cluster(open()), {}], select, 'Deny', 'default-action'],
  ['an open namespace leaves the cluster to say', [cluster({ rules: [whole] }), open()], select, 'Allow', 'rule'],
  ['an open namespace leaves the cluster to deny', [cluster({}), open()], select, 'Deny', 'default-action'],
  ['a Deny of the cluster beats the namespace', [cluster(open(denyOrders)), { rules: [whole] }], select, 'Deny', 'rule'],
  ['a Deny of the namespace beats the cluster', [cluster({ rules: [whole] }), open(denyOrders)], select, 'Deny', 'rule'],
  ['the namespace cannot name what is opaque for the cluster', [cluster(open(denyOrders)), open(allowDo)], doBlock, 'Deny', 'opaque'],
  ['the cluster cannot name what is opaque for the namespace', [cluster(open(allowDo)), open(denyOrders)], doBlock, 'Deny', 'opaque'],
  ['both may name what is opaque', [cluster(open(denyOrders, allowDo)), open(denyOrders, allowDo)], doBlock, 'Allow', 'rule'],
  ['who observes blocks nothing', [observed({ defaultAction: 'Deny', rules: [denyOrders] })], select, 'Allow', 'observe', 'Deny'],
  ['who observes would allow', [observed({})], select, 'Allow', 'observe', 'Allow'],
  ['a trial beside what enforces', [open(), observed({ name: 'q', rules: [denyOrders] })], select, 'Allow', 'default-action', 'Deny'],
  ['a trial of a default', [open(), observed({ name: 'q', defaultAction: 'Deny' })], select, 'Allow', 'default-action', 'Deny'],
  ['a trial whose condition fails', [open(), observed({ name: 'q', rules: [about('Deny', {}, { when: 'statement.hasWhere' })] })], select, 'Allow', 'default-action', 'Deny'],
  ['a trial of an Allow does not allow', [{}, observed({ name: 'q', rules: [whole] })], select, 'Deny', 'default-action', 'Allow'],
  ['the baseline blocks nothing', [cluster(observed({})), { rules: [whole] }], select, 'Allow', 'rule'],
  ['the baseline opens nothing', [cluster(observed({})), {}], select, 'Deny', 'default-action'],
]; // prettier-ignore

describe('several policies', () => {
  for (const [title, given, of, action, reason, wouldBe = action] of together)
    test(`${title}: ${action}`, () => {
      const policies = given.map(policy);
      for (const order of [policies, policies.toReversed()]) {
        const recorded = verdictOf(order, of);
        assert.deepEqual([recorded.action, recorded.reason, recorded.wouldBe], [action, reason, wouldBe]); // prettier-ignore
      }
    });
});

describe('whom and what a rule is about', () => {
  const denies = (given: Partial<Rule>, who: Principal = ada): boolean =>
    verdictOf([policy(open(rule('Deny', given)))], select, { who }).action === 'Deny';
  const token = (given: object): Partial<Rule> => ({
    subjects: [{ kind: 'token', provider: 'idp', users: [], groups: [], ...given }],
  });
  const account = (namespace: string, name: string): Partial<Rule> => ({
    subjects: [{ kind: 'workload', serviceAccounts: [{ namespace, name }] }],
  });
  const cases: [title: string, given: Partial<Rule>, matches: boolean, who?: Principal][] = [
    ['a user', token({ users: ['ada'] }), true],
    ['another user', token({ users: ['bob'] }), false],
    ['a user of another provider', token({ users: ['ada'], provider: 'other' }), false],
    ['a group', token({ groups: ['analysts'] }), true],
    ['another group', token({ groups: ['admins'] }), false],
    ['another user, but a group', token({ users: ['bob'], groups: ['all'] }), true],
    ['a user’s name that is a group’s', token({ groups: ['ada'] }), false],
    ['a workload’s name that is a user’s', token({ users: [agent.user] }), false, agent],
    ['a workload', account('local', 'agent'), true, agent],
    ['the workload behind a token', account('local', 'agent'), true],
    ['another account', account('local', 'other'), false, agent],
    ['the account of another namespace', account('other', 'agent'), false, agent],
    ['nobody', { subjects: [] }, false],
    ['one of several subjects', { subjects: [{ kind: 'workload', serviceAccounts: [] }, { kind: 'token', provider: 'idp', users: ['ada'], groups: [] }] }, true],
    ['another backend', { where: { kind: 'backends', names: ['other'] } }, false],
    ['one of several backends', { where: { kind: 'backends', names: ['other', 'shop'] } }, true],
    ['a host in another case', { where: { kind: 'hosts', names: ['SHOP-db'] } }, true],
    ['another host', { where: { kind: 'hosts', names: ['db'] } }, false],
    ['a host below a suffix', { where: { kind: 'hosts', names: ['*.example.com'] } }, true],
    ['no host but below the suffix', { where: { kind: 'hosts', names: ['*.shop.db.example.com'] } }, false],
    ['no host that merely ends so', { where: { kind: 'hosts', names: ['*.ample.com'] } }, false],
    ['labels', { where: { kind: 'backendSelector', selector: { matchLabels: new Map([['tier', 'gold']]), matchExpressions: [] } } }, true],
    ['other labels', { where: { kind: 'backendSelector', selector: { matchLabels: new Map([['tier', 'tin']]), matchExpressions: [] } } }, false],
    ['an expression over labels', { where: { kind: 'backendSelector', selector: { matchLabels: new Map(), matchExpressions: [{ key: 'tier', operator: 'Exists', values: [] }] } } }, true],
  ]; // prettier-ignore
  for (const [title, given, matches, who] of cases)
    test(`${title}: ${matches ? 'matches' : 'does not match'}`, () =>
      assert.equal(denies(given, who), matches));
});

describe('a message', () => {
  const rules = [about('Deny', { commands: ['UPDATE'] }, { message: 'Ask the shop.' })];

  test('takes the strictest verdict of its statements', () => {
    for (const statements of [
      [select, update],
      [update, select],
    ])
      // prettier-ignore
      assert.equal(verdictOf([policy(open(...rules))], statements).action, 'Deny');
    assert.equal(verdictOf([policy(open(...rules))], [select, select]).action, 'Allow');
  });

  test('without statements is allowed unless something denies whatever is done', () => {
    const given: [given: PolicyGiven, action: string, reason: string][] = [
      [{}, 'Allow', 'empty'],
      [open(), 'Allow', 'default-action'],
      [{ rules: [whole] }, 'Allow', 'empty'],
      [{ rules: [rule('Allow')] }, 'Allow', 'rule'],
      [open(about('Deny', {})), 'Allow', 'default-action'],
      [open(rule('Deny')), 'Deny', 'rule'],
      [open(rule('Deny', { when: 'statement.readOnly' })), 'Allow', 'default-action'],
      [{ rules: [rule('Deny', { when: '!has(statement.limit)' })] }, 'Allow', 'empty'],
      [{ rules: [rule('Allow', { when: '!statement.isOpaque' })] }, 'Allow', 'empty'],
      [
        open(rule('Deny', { when: 'principal.groups.exists(statement, statement == "none")' })),
        'Allow',
        'default-action',
      ],
      [
        open(rule('Deny', { when: 'principal.groups.exists(statement, statement != "none")' })),
        'Deny',
        'rule',
      ],
      [open(rule('Deny', { when: 'principal.user == "bob"' })), 'Allow', 'default-action'],
    ];
    for (const [each, action, reason] of given) {
      const recorded = verdictOf([policy(each)], []);
      assert.deepEqual([recorded.action, recorded.reason], [action, reason]);
    }
  });

  test('that is no PostgreSQL is for rules without a block alone', () => {
    const tcp = { protocol: 'TCP' } as const;
    const actionOf = (given: PolicyGiven): string => verdictOf([policy(given)], tcp).action;
    assert.equal(actionOf({}), 'Deny');
    assert.equal(actionOf({ rules: [whole] }), 'Deny');
    assert.equal(actionOf({ rules: [rule('Allow')] }), 'Allow');
    assert.equal(actionOf(open(about('Deny', {}))), 'Allow');
    assert.equal(actionOf(open(rule('Deny'))), 'Deny');
    const { reason } = verdictOf([policy(open(rule('Deny', { when: 'statement.readOnly' })))], tcp);
    assert.equal(reason, 'error');
  });

  test('that cannot be read is denied by whoever enforces, whatever its rules say', () => {
    const unreadable = { protocol: 'Unreadable', because: 'too deep' } as const;
    const recorded = verdictOf([policy(open(rule('Allow'))), policy(observed({ name: 'a' }))], unreadable); // prettier-ignore
    assert.deepEqual(recorded, { action: 'Deny', wouldBe: 'Deny', reason: 'unreadable', policy: 'AuditPolicy/local/p', revision: 'r' }); // prettier-ignore
    assert.equal(verdictOf([policy(observed({}))], unreadable).action, 'Allow');
  });

  test('that is too long for its many rules is as one that cannot be read', () => {
    const many = policy(open(...Array.from({ length: 60 }, () => denyOrders)));
    const long = Array.from({ length: 40_000 }, () => statement({}));
    assert.equal(verdictOf([many], long).reason, 'unreadable');
    assert.equal(verdictOf([policy(open())], long).action, 'Allow');
    const trial = policy(observed(open(...Array.from({ length: 60 }, () => denyOrders))));
    const { action, wouldBe } = verdictOf([policy({ ...open(), name: 'q' }), trial], long);
    assert.deepEqual([action, wouldBe], ['Allow', 'Deny']);
    assert.equal(verdictOf([trial], long).action, 'Allow');
  });

  test('takes no longer to judge for what observes: its conditions have an effort of their own', () => {
    const heavy = about('Deny', {}, { when: 'statement.tables.all(t, t.name in principal.groups)' }); // prettier-ignore
    const light = about('Deny', {}, { when: 'statement.tables.exists(t, t.name == "none")' });
    const wide = statement({ tables: Array.from({ length: 5_000 }, () => table('public.orders')) });
    const trial = policy({ ...observed(open(heavy)), name: 'a' });
    const { action, wouldBe } = verdictOf([trial, policy(open(light))], wide);
    assert.deepEqual([action, wouldBe], ['Allow', 'Deny']);
  });

  test('that is refused has the rule’s message, or what nothing covers', () => {
    assert.equal(fullVerdictOf([policy(open(...rules))], update).message, 'Ask the shop.');
    const [first, ...more] = fullVerdictOf([policy({ rules: [reads] })], join).uncovered;
    assert.deepEqual([first?.kind === 'table' && first.name, more.length], ['orders', 1]);
  });

  test('is recorded with the policy and the rule that decided, also with those that only would have', () => {
    assert.deepEqual(verdictOf([policy(observed(open(...rules)))], update), {
      action: 'Allow',
      wouldBe: 'Deny',
      reason: 'observe',
      policy: 'AuditPolicy/local/p',
      rule: 'rule-0',
      revision: 'r',
    });
  });

  test('of another backend is none of the rules’ business', () => {
    const asker = { backend: 'other', workload };
    assert.equal(verdictOf([policy(open(rule('Deny')))], select, asker).action, 'Allow');
  });
});
