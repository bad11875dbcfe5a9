import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type { AuditPolicy } from '#core/policy/resources.ts';
import type { Answer, AskedWho, Question } from '#core/policy/question.ts';
import type { ResolvedBackend } from '#core/policy/resolve.ts';
import { combine } from '#core/policy/combine.ts';
import { Explainer, type ExplainerOptions } from '../../sidecar/explainer.ts';
import { Grammar } from '../../sidecar/postgres/grammar/grammar.ts';
import { about, compiled, policy, rule, shop, tables, workload } from '../support/policies.ts';

const issuer = 'https://i.example';
const claims = { user: 'sub', groups: 'groups', onBehalfOf: undefined };
const provider = (name: string) => ({ name, issuer, audiences: [], jwksUri: undefined, claims, keys: [] }); // prettier-ignore
const ada: AskedWho = { kind: 'token', user: 'ada', groups: ['analysts'] };

describe('an explainer', () => {
  const grammar = new Grammar();
  after(() => grammar.stop());

  interface Given {
    readonly policies?: readonly AuditPolicy[];
    readonly providers?: readonly string[];
    readonly backends?: ReadonlyMap<string, ResolvedBackend>;
    readonly hold?: ExplainerOptions['holdCatalogue'];
  }

  function explainer({ policies = [], providers = ['idp'], backends, hold }: Given): Explainer {
    const known = backends ?? new Map([['shop', shop]]);
    const bundle = {
      revision: 'r',
      workload,
      backends: known,
      providers: providers.map(provider),
      policy: combine(policies),
    };
    const none = { current: undefined, load: () => Promise.resolve() };
    return new Explainer({
      asked: () => ({ bundle, compiled: { ...compiled(policies), backends: known } }),
      grammar,
      loginUser: () => 'app',
      holdCatalogue: hold ?? (() => ({ catalogue: none, release: () => undefined })),
    });
  }

  async function ask(given: Given, text: string, more: Partial<Question> = {}) {
    return explainer(given).explain({ backend: 'shop', text, who: ada, ...more });
  }

  function verdictOf(answer: Answer) {
    if (answer.problem !== undefined) throw new Error(answer.problem);
    const { action, reason, rule: decided } = answer.explanation.verdict.recorded;
    return [action, reason, decided];
  }

  const denying = policy({ defaultAction: 'Allow', rules: [about('Deny', { tables: tables('orders') }, { name: 'no' })] }); // prettier-ignore

  test('reads a text with the grammar, and says which rule decides', async () => {
    const given = { policies: [denying] };
    assert.deepEqual(verdictOf(await ask(given, 'SELECT * FROM orders')), ['Deny', 'rule', 'no']);
    assert.deepEqual(verdictOf(await ask(given, 'SELECT 1')), ['Allow', 'default-action', undefined]); // prettier-ignore
    assert.deepEqual(verdictOf(await ask(given, 'SELEC')), ['Deny', 'unreadable', undefined]);
    const midway = await ask(given, 'SET search_path = x; SELECT * FROM t');
    assert.deepEqual(verdictOf(midway), ['Deny', 'unreadable', undefined]);
  });

  test('says as a sidecar does that what nobody asks about passes, be it readable or not', async () => {
    for (const text of ['SELEC', '', 'DO $$begin end$$'])
      assert.deepEqual(verdictOf(await ask({ policies: [policy({ defaultAction: 'Allow' })] }, text)), ['Allow', 'default-action', undefined]); // prettier-ignore
    for (const text of ['SELEC', '', 'SELECT 1'])
      assert.deepEqual(verdictOf(await ask({ policies: [policy({})] }, text)), ['Deny', 'default-action', undefined]); // prettier-ignore
    assert.deepEqual(verdictOf(await ask({}, 'SELECT 1')), ['Deny', 'no-policy', undefined]);
  });

  test('says what it would be if every policy enforced, and that a pinned setting stays', async () => {
    const observing = policy({ mode: 'Observe', rules: [rule('Deny', { name: 'all' })] });
    const answer = await ask({ policies: [observing] }, 'SELECT 1');
    assert.ok(answer.problem === undefined);
    const { verdict, wouldBe } = answer.explanation;
    assert.deepEqual([verdict.recorded.action, verdict.recorded.wouldBe], ['Allow', 'Deny']);
    assert.deepEqual([wouldBe.recorded.action, wouldBe.recorded.rule], ['Deny', 'all']);
    const postgres = { ...shop.postgres, settings: [{ name: 'role', value: "'app'" }] };
    const backends = new Map([['shop', { ...shop, postgres }]]);
    const pinned = await ask({ policies: [policy({ defaultAction: 'Allow' })], backends }, 'SET role = x'); // prettier-ignore
    assert.deepEqual(verdictOf(pinned), ['Deny', 'pinned-setting', undefined]);
  });

  test('asks whose token it would be where several issuers are trusted, and takes the workload by its name', async () => {
    const policies = [denying];
    const which = await ask({ policies, providers: ['a', 'b'] }, 'SELECT 1');
    assert.match(which.problem ?? '', /which IdentityProvider vouches for ada\? There are: a, b/);
    const named = await ask({ policies, providers: ['a', 'b'] }, 'SELECT 1', { who: { ...ada, provider: 'b' } }); // prettier-ignore
    assert.ok(named.problem === undefined && named.who.kind === 'token' && named.who.provider === 'b'); // prettier-ignore
    const own = await ask({ policies }, 'SELECT 1', { who: { ...ada, user: 'system:serviceaccount:local:agent' } }); // prettier-ignore
    assert.ok(own.problem === undefined && own.who.kind === 'workload');
    assert.match((await ask({ policies, providers: [] }, 'SELECT 1')).problem ?? '', /there is none/); // prettier-ignore
  });

  test('holds the catalogue of the database by its name at the upstream, and lets it go whatever happens', async () => {
    const held: string[] = [];
    const postgres = { ...shop.postgres, databases: new Map([['shop', 'shop_v2']]) };
    const backends = new Map([['shop', { ...shop, postgres }]]);
    const failing = { current: undefined, load: () => Promise.reject(new Error('away')) };
    const hold = (_: unknown, database: string) => {
      held.push(database);
      return { catalogue: failing, release: () => void held.push('released') };
    };
    const asked = ask({ policies: [denying], backends, hold }, 'SELECT 1', { database: 'shop' });
    await assert.rejects(asked, /away/);
    assert.deepEqual(held, ['shop_v2', 'released']);
  });

  test('has nothing to read at a backend that is no PostgreSQL', async () => {
    const backends = new Map([['shop', { ...shop, protocol: 'TCP' as const }]]);
    const told = await explainer({ backends }).read({ backend: 'shop', text: 'x' });
    assert.deepEqual(told, { facts: { protocol: 'TCP' }, hasCatalogue: false, unknown: [] });
    const none = await explainer({}).read({ backend: 'nix', text: 'x' });
    assert.ok('problem' in none && /there are: shop/.test(none.problem));
  });
});
