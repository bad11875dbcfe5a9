import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { BackendCredential } from '#core/control.ts';
import { projectDirectory } from '../../../cli/instance.ts';
import type { KeptResource } from '../../../controller/bundles.ts';
import type { KeptCredential } from '../../../controller/login.ts';
import { buildConditions, judgeProgrammed, readConditions, type Condition } from '../../../controller/status/conditions.ts'; // prettier-ignore
import { countSidecars, type Count, type LivePod } from '../../../controller/status/counts.ts';
import { judgeResources, reasons } from '../../../controller/status/findings.ts';
import { Pace } from '../../../controller/status/pace.ts';
import { podKey, type Standing, type Standings } from '../../../controller/status/standing.ts';
import { keptBackend, keptPolicy, keptProvider } from '../../support/kept-resource.ts';

const login: BackendCredential = { type: 'Password', username: 'u', password: 'p' };
const secret: KeptCredential = { name: 'login', hosts: ['db.example'], byType: new Map([['Password', login]]) }; // prettier-ignore
const credential = { type: 'Password', secretRef: { name: 'login' } };

/** The reason of a condition of the first of some resources, with what its message says. */
function found(
  which: 'accepted' | 'resolvedRefs',
  resources: readonly KeptResource[],
  kept: KeptCredential | undefined = secret,
): string {
  const [first] = resources;
  const findings = judgeResources(resources, (name) => (name === 'login' ? kept : undefined));
  const { status, reason, message } = findings.get(first?.name ?? '')?.[which] ?? assert.fail();
  return `${status} ${reason}: ${message}`;
}

const rule = (changes: object): object => ({
  rules: [{ name: 'r', backends: ['shop'], anySubject: true, action: 'Allow', ...changes }],
});

describe('Accepted', () => {
  test('is true of what holds together, and says of what cannot be read why', () => {
    assert.match(found('accepted', [keptPolicy()]), /^True Accepted/);
    assert.match(found('accepted', [keptProvider()]), /^True Accepted/);
    assert.match(found('accepted', [keptBackend({ spec: { credential } })]), /^True Accepted/);
    const unread = [keptPolicy({ spec: { later: true } })];
    assert.match(found('accepted', unread), /^False Invalid: spec\.later: /);
    assert.match(found('resolvedRefs', unread), /^Unknown Invalid/);
  });

  test('is false of a Backend whose Secret may not be sent to its host', () => {
    const elsewhere = { ...secret, hosts: ['example'] };
    const resources = [keptBackend({ spec: { credential } })];
    assert.match(found('accepted', resources, elsewhere), /^False HostNotAllowed: the Secret login may not be sent to db\.example/); // prettier-ignore
    assert.match(found('resolvedRefs', resources, elsewhere), /^True ResolvedRefs/);
  });

  test('is false of two Backends of one address where somebody could use both, and of them alone', () => {
    const shop = keptBackend();
    const same = { hosts: ['SHOP'] };
    const other = keptBackend({ name: 'other', spec: same });
    assert.match(found('accepted', [shop, other]), /^False Conflict: shop:5432 belongs to Backend\/other/); // prettier-ignore
    assert.match(found('accepted', [other, shop]), /^False Conflict: shop:5432 belongs to Backend\/shop/); // prettier-ignore
    for (const spec of [
      { ...same, ports: [5433] },
      { ...same, consumers: [{ namespace: 'others' }] },
      { hosts: ['shop.other'] },
    ])
      assert.match(found('accepted', [shop, keptBackend({ name: 'other', spec })]), /^True/);
    const account = (name: string): object => ({ ...same, consumers: [{ namespace: 'agents', serviceAccounts: [name] }] }); // prettier-ignore
    const pair = [keptBackend({ spec: account('a') }), keptBackend({ name: 'other', spec: account('b') })]; // prettier-ignore
    assert.match(found('accepted', pair), /^True/);
  });

  test('is false of two IdentityProviders of one issuer', () => {
    const resources = [keptProvider(), keptProvider({ name: 'other' })];
    assert.match(found('accepted', resources), /^False Conflict: IdentityProvider\/other has this issuer/); // prettier-ignore
    const others = [keptProvider(), keptProvider({ name: 'other', spec: { issuer: 'https://other.example' } })]; // prettier-ignore
    assert.match(found('accepted', others), /^True/);
  });
});

describe('ResolvedRefs', () => {
  test('is false of a Backend whose Secret is not there, or has not the keys', () => {
    const resources = [keptBackend({ spec: { credential: { ...credential, secretRef: { name: 'x' } } } })]; // prettier-ignore
    assert.match(found('resolvedRefs', resources), /^False SecretNotFound: there is no Secret x/);
    const empty = { ...secret, byType: new Map() };
    assert.match(found('resolvedRefs', [keptBackend({ spec: { credential } })], empty), /^False SecretWithoutKeys/); // prettier-ignore
    assert.match(found('resolvedRefs', [keptBackend({ spec: { credential } })]), /^True/);
  });

  test('is false of a policy whose rules name a Backend or a provider that is not there', () => {
    const policy = keptPolicy({ spec: rule({}) });
    assert.match(found('resolvedRefs', [policy, keptBackend()]), /^True ResolvedRefs/);
    assert.match(found('resolvedRefs', [policy]), /^False BackendNotFound: there is no Backend\/shop$/); // prettier-ignore
    const subjects = [{ provider: 'company', groups: ['g'] }];
    const named = keptPolicy({ spec: rule({ anySubject: undefined, subjects }) });
    assert.match(found('resolvedRefs', [named, keptBackend()]), /^False ProviderNotFound: there is no IdentityProvider\/company$/); // prettier-ignore
    assert.match(found('resolvedRefs', [named, keptBackend(), keptProvider()]), /^True/);
    assert.match(found('resolvedRefs', [named]), /BackendNotFound: there is no Backend\/shop; there is no IdentityProvider\/company/); // prettier-ignore
  });

  test('is false of a policy that wants tokens where nobody vouches for any', () => {
    const policy = keptPolicy({ spec: { identity: 'Token' } });
    assert.match(found('resolvedRefs', [policy]), /^False ProviderNotFound: identity Token/);
    assert.match(found('resolvedRefs', [policy, keptProvider()]), /^True/);
  });
});

const pods: readonly LivePod[] = ['a', 'b', 'c', 'd'].map((uid, index) => ({
  pod: `agent-${uid}`,
  namespace: 'agents',
  serviceAccount: 'agent',
  labels: new Map([['pod', `${index % 2}`]]),
  uid,
  isRunning: true,
}));
const policy = keptPolicy({ generation: 3 });
const nothing: Standing = { atMs: 1, inForce: undefined, refused: undefined, heldBy: [] };
const has = (...parts: readonly string[]): Standing => ({ ...nothing, inForce: parts });
const current = has(policy.part);

function count(standings: readonly (Standing | undefined)[], of = policy, all = pods): Count {
  const known: Standings = new Map(pods.flatMap(({ uid }, index) => {
    const standing = standings[index];
    return standing ? [[podKey(uid), standing]] : [];
  })); // prettier-ignore
  return countSidecars([of], all, known).get(of.name) ?? assert.fail();
}

describe('Programmed', () => {
  for (const [what, standings, status, reason, message] of [
    ['all have it', [current, current, current, current], 'True', 'Programmed', '4 of 4 sidecars have generation 3'],
    ['one has an earlier one', [current, current, current, has(`${policy.name}@2`)], 'False', 'Pending', '3 of 4 sidecars have generation 3'],
    ['one that runs says nothing', [current, current, current], 'False', 'Pending', '3 of 4 sidecars have generation 3'],
    ['two refused it', [current, current, { ...has(), refused: { parts: [policy.part], problem: 'spec: no' } }, { ...nothing, refused: { parts: [policy.part], problem: 'other' } }], 'False', 'Refused', '2 of 4 sidecars have generation 3; 2 refused it (spec: no)'],
    ['one is held back by another', [current, { ...has(), heldBy: ['Backend/shop'] }, current, current], 'False', 'HeldBack', '3 of 4 sidecars have generation 3; 1 keep what they had because of Backend/shop'],
    ['what is refused or held back has it as it is already', [{ ...current, refused: { parts: [policy.part], problem: 'of another' } }, { ...current, heldBy: ['Backend/shop'] }, current, current], 'True', 'Programmed', '4 of 4 sidecars have generation 3'],
  ] as const) {
    test(`is ${status} where ${what}`, () => {
      assert.deepEqual(judgeProgrammed(count(standings), 3), { status, reason, message });
    });
  } // prettier-ignore

  test('is of the sidecars that it concerns, and of none nothing can be said', () => {
    const selective = keptPolicy({ spec: { podSelector: { matchLabels: { pod: '1' } } } });
    assert.equal(count([], selective).sidecars, 2);
    const elsewhere = keptPolicy({ namespace: 'others' });
    assert.deepEqual(judgeProgrammed(count([], elsewhere), 3), { status: 'Unknown', reason: 'NoSidecars', message: 'it concerns no sidecar that runs' }); // prettier-ignore
  });

  test('is of what cannot be read as well, for all that it may be about', () => {
    const unread = keptPolicy({ spec: { later: true } });
    assert.equal(count([], unread).sidecars, 4);
    assert.equal(count([], keptPolicy({ namespace: 'others', spec: { later: true } })).sidecars, 0);
  });

  test('does not count a pod whose sidecar has not begun, unless it reports', () => {
    const starting = pods.map((pod) => ({ ...pod, isRunning: false }));
    assert.equal(count([current], policy, starting).sidecars, 1);
  });

  test('counts twelve of fourteen', () => {
    const many = Array.from({ length: 14 }, (_, index): LivePod => ({ ...pods[0] ?? assert.fail(), uid: `${index}` })); // prettier-ignore
    const standings = new Map(many.slice(0, 12).map(({ uid }) => [podKey(uid), current]));
    const counted = countSidecars([policy], many, standings).get(policy.name) ?? assert.fail();
    assert.equal(judgeProgrammed(counted, 3).message, '12 of 14 sidecars have generation 3');
  });
});

describe('conditions', () => {
  const good = { status: 'True', reason: 'Accepted', message: 'it is valid' } as const;
  const findings = { accepted: good, resolvedRefs: good };
  const build = (
    before: readonly Condition[],
    standings: readonly Standing[],
    nowMs: number,
  ): readonly Condition[] =>
    // prettier-ignore
    buildConditions(policy, findings, count(standings), { before, nowMs });

  test('say when their status changed, and keep that while it stays', () => {
    const first = build([], [current], Date.parse('2026-01-01T00:00:00.250Z'));
    assert.deepEqual(
      first.map(({ type, observedGeneration, lastTransitionTime }) => [type, observedGeneration, lastTransitionTime]),
      ['Accepted', 'ResolvedRefs', 'Programmed'].map((type) => [type, 3, '2026-01-01T00:00:00Z']),
    ); // prettier-ignore
    const later = Date.parse('2026-01-01T01:00:00Z');
    const second = build(first, [current, current], later);
    assert.match(second[2]?.message ?? '', /^2 of 4/);
    assert.equal(second[2]?.lastTransitionTime, '2026-01-01T00:00:00Z');
    const third = build(second, [current, current, current, current], later);
    assert.deepEqual(
      third.map(({ lastTransitionTime }) => lastTransitionTime),
      ['2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z', '2026-01-01T01:00:00Z'],
    );
  });

  test('are read back as they were written, in any order and beside those of others', () => {
    const conditions = build([], [current], 0);
    const others = [{ type: 'Ready', status: 'True' }, 'x', null, { type: 'Accepted' }];
    const object = { status: { conditions: [...others, ...conditions.toReversed()] } };
    assert.deepEqual(readConditions(object), conditions);
    for (const status of [undefined, 'x', { conditions: 'x' }, { conditions: [{}] }])
      assert.deepEqual(readConditions({ status }), []);
  });

  test('have reasons that the documents explain, and no others are explained', () => {
    const text = readFileSync(join(projectDirectory, 'docs/policies.md'), 'utf8');
    const [, section = ''] = text.split('\n## What the status says\n');
    const explained = [...section.matchAll(/^\| `\w+` +\| [^|]+\| `(\w+)`/gm)].map(([, reason]) => reason); // prettier-ignore
    assert.deepEqual(new Set(explained), new Set(reasons));
  });

  test('have messages of a length that people read', () => {
    const long = { ...good, message: 'x'.repeat(50_000) };
    const [accepted] = buildConditions(policy, { ...findings, accepted: long }, count([]), { before: [], nowMs: 0 }); // prettier-ignore
    assert.equal(accepted?.message.length, 1_000);
  });
});

describe('the pace of what is written', () => {
  test('waits for what comes with a change, for its turn, and no longer than it may', () => {
    const pace = new Pace({ settleMs: 10, leastMs: 50, mostMs: 300 });
    assert.equal(pace.isDue(0), true); // never written
    pace.begin(0);
    assert.equal(pace.isDue(299), false);
    assert.equal(pace.isDue(300), true);
    pace.note(60);
    pace.note(69);
    assert.equal(pace.isDue(69), false);
    assert.equal(pace.isDue(70), true);
    pace.begin(70);
    pace.note(71);
    assert.equal(pace.isDue(119), false);
    assert.equal(pace.isDue(120), true);
  });
});
