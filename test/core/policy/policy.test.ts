import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decide } from '#core/policy/decide.ts';
import { parseResource } from '#core/policy/parse.ts';
import { combine, matches, resolve } from '#core/policy/resolve.ts';
import type { AuditPolicy, Resource } from '#core/policy/resources.ts';

const apiVersion = 'chaperone.dev/v1alpha1';
const backend = {
  apiVersion,
  kind: 'Backend',
  metadata: { name: 'shop' },
  spec: {
    protocol: 'Postgres',
    hosts: ['shop-db'],
    ports: [5432],
    upstream: { address: 'shop-db:5432', tls: { mode: 'Disable' } },
    consumers: [{ namespace: 'local', serviceAccounts: ['agent'] }],
    credential: { type: 'Password', secretRef: { name: 'login' } },
  },
};
const provider = {
  apiVersion,
  kind: 'IdentityProvider',
  metadata: { name: 'idp' },
  spec: { issuer: 'https://i.example', audiences: ['a'] },
};
const policy = (
  spec: object = {},
  namespace: string | undefined = 'local',
  name = 'p',
): object => ({
  apiVersion,
  kind: namespace === undefined ? 'ClusterAuditPolicy' : 'AuditPolicy',
  metadata: namespace === undefined ? { name } : { name, namespace },
  spec: { podSelector: {}, ...spec },
});

/** Replaces the value at a path, or removes it. */
function change(document: object, path: string, value: unknown): object {
  const copy = structuredClone(document) as Record<string, unknown>;
  const keys = path.split('.');
  let at = copy;
  for (const key of keys.slice(0, -1)) at = at[key] as Record<string, unknown>;
  if (value === undefined) delete at[keys.at(-1) ?? ''];
  else at[keys.at(-1) ?? ''] = value;
  return copy;
}

function parsed(document: object): Resource {
  const { resource, problems } = parseResource(document);
  assert.ok(resource, JSON.stringify(problems));
  return resource;
}

describe('parseResource', () => {
  test('takes the honest ones', () => {
    for (const document of [backend, provider, policy(), policy({ mode: 'Enforce' }, undefined)])
      parsed(document);
  });

  const wrong: [document: object, path: string, value: unknown, message: RegExp][] = [
    [backend, 'apiVersion', 'v1', /want one of chaperone\.dev/],
    [backend, 'kind', 'Secret', /want one of Backend/],
    [backend, 'kind', 'MaskRule', /unsupported/],
    [backend, 'kind', 'ApprovalRequest', /unsupported/],
    [backend, 'metadata.name', 'Shop', /RFC 1123/],
    [backend, 'metadata.name', undefined, /missing/],
    [backend, 'metadata.namespace', 'x', /no namespace/],
    [backend, 'metadata.annotations', { a: 1 }, /want a string/],
    [backend, 'spec', [], /want a mapping/],
    [backend, 'spec.protocol', 'SSH', /unsupported/],
    [backend, 'spec.protocol', 'Oracle', /want one of/],
    [backend, 'spec.hosts', [], /at least 1/],
    [backend, 'spec.hosts', ['a b'], /host name/],
    [backend, 'spec.ports', [0], /1 to 65535/],
    [backend, 'spec.ports', ['5432'], /1 to 65535/],
    [backend, 'spec.upstream.address', 'shop-db', /host:port/],
    [backend, 'spec.upstream.address', 'shop-db:99999', /1 to 65535/],
    [backend, 'spec.upstream.tls.mode', 'VerifyFull', /unsupported/],
    [backend, 'spec.upstream.tls', undefined, /missing/],
    [backend, 'spec.upstream.hostKeys', ['x'], /unsupported/],
    [backend, 'spec.consumers', [], /at least 1/],
    [backend, 'spec.consumers', [{}], /missing/],
    [backend, 'spec.credential', undefined, /unsupported/],
    [backend, 'spec.credential.type', 'Token', /unsupported/],
    [backend, 'spec.credential.password', 'x', /unknown field/],
    [backend, 'spec.postgres', { settings: [] }, /unsupported/],
    [backend, 'spec.extra', 1, /unknown field/],
    [provider, 'spec.issuer', 'i.example', /URL/],
    [provider, 'spec.audiences', undefined, /missing/],
    [provider, 'spec.jwksUri', 'ftp://x', /URL/],
    [provider, 'spec.claims', { user: '' }, /path of claims/],
    [provider, 'spec.kubernetesUsername', 'x', /unsupported/],
    [policy(), 'metadata.namespace', undefined, /missing/],
    [policy(), 'spec.podSelector', undefined, /missing/],
    [policy(), 'spec.podSelector', { matchLabels: { a: 1 } }, /label value/],
    [policy(), 'spec.podSelector', { matchExpressions: [{ key: 'a', operator: 'In' }] }, /missing/],
    [
      policy(),
      'spec.podSelector',
      { matchExpressions: [{ key: 'a', operator: 'Exists', values: ['b'] }] },
      /takes no values/,
    ],
    [policy(), 'spec.podSelector', { matchLabel: {} }, /unknown field/],
    [policy(), 'spec.mode', 'enforce', /want one of/],
    [policy(), 'spec.identity', 'Password', /want one of/],
    [policy(), 'spec.defaultAction', 'Ask', /want one of/],
    [policy(), 'spec.delivery', 'Acknowledged', /unsupported/],
    [policy(), 'spec.record', { requests: 'All' }, /want one of/],
    [policy(), 'spec.record', { maxBytes: -1 }, /integer/],
    [policy(), 'spec.record', { maxBytes: 1.5 }, /integer/],
    [policy(), 'spec.onAuditUnavailable', { wait: '10' }, /duration/],
    [policy(), 'spec.onAuditUnavailable', { wait: '2m' }, /duration/],
    [policy(), 'spec.limits', { sessions: 1 }, /unsupported/],
    [policy(), 'spec.rules', [], /unsupported/],
    [policy(), 'spec.unknownHosts', 'Deny', /unsupported/],
    [policy(), 'spec.inbound', {}, /unsupported/],
  ];
  for (const [document, path, value, message] of wrong) {
    test(`refuses ${path} = ${JSON.stringify(value)}`, () => {
      const { problems = [] } = parseResource(change(document, path, value));
      assert.ok(
        problems.some((problem) => message.test(problem.message) && problem.path.startsWith(path)),
        JSON.stringify(problems),
      );
    });
  }

  test('says all mistakes at once', () => {
    const { problems = [] } = parseResource(
      change(change(backend, 'spec.hosts', []), 'spec.ports', [0]),
    );
    assert.equal(problems.length, 2);
  });

  test('is not impressed by names that objects inherit', () => {
    const document: unknown = JSON.parse(
      `{"apiVersion":"${apiVersion}","kind":"constructor","__proto__":{"spec":1}}`,
    );
    assert.ok(parseResource(document).problems);
  });

  for (const document of [null, 1, 'x', [], true]) {
    test(`refuses ${JSON.stringify(document)} as a document`, () =>
      assert.ok(parseResource(document).problems));
  }
});

describe('matches', () => {
  const labels = new Map([['app', 'a'], ['tier', 'web']]); // prettier-ignore
  const cases: [selector: object, expected: boolean][] = [
    [{}, true],
    [{ matchLabels: { app: 'a' } }, true],
    [{ matchLabels: { app: 'b' } }, false],
    [{ matchLabels: { app: 'a', none: 'x' } }, false],
    [{ matchExpressions: [{ key: 'app', operator: 'In', values: ['a', 'b'] }] }, true],
    [{ matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['a'] }] }, false],
    [{ matchExpressions: [{ key: 'none', operator: 'NotIn', values: ['a'] }] }, true],
    [{ matchExpressions: [{ key: 'tier', operator: 'Exists' }] }, true],
    [{ matchExpressions: [{ key: 'tier', operator: 'DoesNotExist' }] }, false],
  ];
  for (const [podSelector, expected] of cases) {
    test(`${JSON.stringify(podSelector)} is ${expected}`, () => {
      const resource = parsed(policy({ podSelector }));
      assert.ok(resource.kind === 'AuditPolicy');
      assert.equal(matches(resource.spec.podSelector, labels), expected);
    });
  }
});

describe('combining policies', () => {
  const policies = (...specs: object[]): AuditPolicy[] =>
    specs.map(
      (spec, index) =>
        parsed(policy(spec, index % 2 === 0 ? 'local' : undefined, `p${index}`)) as AuditPolicy,
    );
  const readable = { protocol: 'Postgres' } as const;
  const unreadable = { protocol: 'Unreadable', because: 'a test' } as const;
  const observe = { mode: 'Observe' };
  const enforce = { mode: 'Enforce' };
  const allow = { defaultAction: 'Allow' };
  const deny = { defaultAction: 'Deny' };

  const cases: [specs: object[], action: string, wouldBe: string][] = [
    [[{}], 'Allow', 'Allow'],
    [[observe], 'Allow', 'Allow'],
    [[{ ...observe, ...deny }], 'Allow', 'Deny'],
    [[enforce], 'Deny', 'Deny'],
    [[{ ...enforce, ...allow }], 'Allow', 'Allow'],
    [[{ ...enforce, ...allow }, observe], 'Allow', 'Allow'],
    [
      [
        { ...enforce, ...allow },
        { ...observe, ...deny },
      ],
      'Allow',
      'Deny',
    ],
    [[{ ...enforce, ...allow }, enforce], 'Deny', 'Deny'],
    [[observe, { ...observe, ...deny }], 'Allow', 'Deny'],
    [[enforce, observe], 'Deny', 'Deny'],
  ];
  for (const [specs, action, wouldBe] of cases) {
    test(`${JSON.stringify(specs)} allows or denies, in any order`, () => {
      for (const order of [policies(...specs), policies(...specs).reverse()]) {
        const verdict = decide(combine(order), readable, 'r');
        assert.deepEqual([verdict.action, verdict.wouldBe], [action, wouldBe]);
      }
    });
  }

  test('what cannot be read is denied as soon as one enforces, and observed otherwise', () => {
    assert.equal(
      decide(combine(policies({ ...enforce, ...allow })), unreadable, 'r').action,
      'Deny',
    );
    assert.equal(decide(combine(policies(observe)), unreadable, 'r').action, 'Allow');
    assert.equal(decide(combine(policies(observe)), unreadable, 'r').wouldBe, 'Deny');
  });

  test('without a policy everything is denied', () => {
    assert.deepEqual(decide(combine([]), readable, 'r'), {
      action: 'Deny',
      wouldBe: 'Deny',
      reason: 'no-policy',
      revision: 'r',
    });
  });

  test('a token is required as soon as one that enforces asks for it', () => {
    const token = { identity: 'Token' };
    assert.equal(combine(policies(observe))?.identity, 'None');
    assert.equal(combine(policies({ ...observe, ...token }))?.identity, 'Optional');
    assert.equal(combine(policies({ ...enforce, ...token }, observe))?.identity, 'Required');
    assert.equal(combine(policies(enforce, { ...observe, ...token }))?.identity, 'Optional');
  });

  test('the most is recorded, and the shortest wait of those that bind holds', () => {
    const combined = combine(policies(
      { ...enforce, record: { requests: 'None', responses: 'Digest', maxBytes: 10 }, onAuditUnavailable: { wait: '5s' } },
      { ...observe, record: { requests: 'Digest', responses: 'None', maxBytes: 20 }, onAuditUnavailable: { wait: '1s' } },
    )); // prettier-ignore
    assert.deepEqual(combined?.record, { requests: 'Digest', responses: 'Digest', maxBytes: 20 });
    assert.equal(combined?.waitMs, 5_000);
  });
});

describe('resolve', () => {
  const workload = {
    pod: 'p',
    namespace: 'local',
    serviceAccount: 'agent',
    labels: new Map([['app', 'a']]),
  };
  const secrets = new Set(['login']);
  const bundleOf = (...documents: object[]) =>
    resolve(documents.map(parsed), workload, secrets).bundle;
  const problemsOf = (...documents: object[]): string[] =>
    (resolve(documents.map(parsed), workload, secrets).problems ?? []).map(
      ({ resource, path }) => `${resource} ${path}`,
    );

  test('gives a pod the backends that name it as consumer, and no others', () => {
    assert.deepEqual([...(bundleOf(backend)?.backends.keys() ?? [])], ['shop']);
    const consumers = [
      { namespace: 'local', serviceAccounts: ['other'] },
      { namespace: 'elsewhere' },
    ];
    assert.equal(bundleOf(change(backend, 'spec.consumers', consumers))?.backends.size, 0);
    assert.equal(
      bundleOf(change(backend, 'spec.consumers', [{ namespace: 'local' }]))?.backends.size,
      1,
    );
  });

  test('takes policies of the pod’s namespace and of the cluster, by labels', () => {
    assert.equal(bundleOf(policy({}, 'elsewhere'))?.policy, undefined);
    assert.ok(bundleOf(policy())?.policy);
    assert.ok(bundleOf(policy({}, undefined))?.policy);
    assert.equal(
      bundleOf(policy({ podSelector: { matchLabels: { app: 'b' } } }))?.policy,
      undefined,
    );
  });

  test('finds names that are given twice, addresses that two claim, and references that lead nowhere', () => {
    assert.deepEqual(problemsOf(backend, backend), ['1 metadata.name']);
    assert.deepEqual(problemsOf(backend, change(backend, 'metadata.name', 'other')), [
      '1 spec.hosts',
    ]);
    assert.deepEqual(problemsOf(change(backend, 'spec.credential.secretRef.name', 'none')), [
      '0 spec.credential.secretRef.name',
    ]);
    assert.deepEqual(problemsOf(policy({ identity: 'Token' })), ['0 spec.identity']);
    assert.deepEqual(problemsOf(policy({ identity: 'Token' }), provider), []);
  });

  test('gives one revision to what means the same, and another to what does not', () => {
    assert.equal(bundleOf(backend, policy())?.revision, bundleOf(backend, policy())?.revision);
    assert.notEqual(
      bundleOf(backend, policy())?.revision,
      bundleOf(backend, policy({ mode: 'Enforce' }))?.revision,
    );
  });
});
