import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { combine } from '#core/policy/combine.ts';
import { parseResource } from '#core/policy/parse.ts';
import { matches, resolve } from '#core/policy/resolve.ts';
import type { AuditPolicy, Resource } from '#core/policy/resources.ts';
import { statement, verdictOf } from '../../support/policies.ts';

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
const pem = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';
const mapped = (user: string): object => ({ user, upstreamUser: 'x' });
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
    [backend, 'metadata.name', 'a..b', /RFC 1123/],
    [backend, 'metadata.name', 'a.-b', /RFC 1123/],
    [backend, 'metadata.name', 'a'.repeat(254), /at most 253/],
    [backend, 'metadata.uid', 'x', /unknown field/],
    [backend, 'metadata.labels', { 'a b': 'x' }, /label key/],
    [backend, 'status', {}, /unknown field/],
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
    [backend, 'spec.upstream.tls.mode', 'Prefer', /one of Disable, Require, VerifyCA, VerifyFull/],
    [backend, 'spec.upstream.tls', { mode: 'Require', ca: pem }, /nothing is verified/],
    [backend, 'spec.upstream.tls', { mode: 'VerifyFull', ca: 'a file' }, /PEM/],
    [backend, 'spec.credential.type', 'ClientCertificate', /needs TLS/],
    [backend, 'spec.upstream.tls', undefined, /missing/],
    [backend, 'spec.upstream.hostKeys', ['x'], /unsupported/],
    [backend, 'spec.consumers', [], /at least 1/],
    [backend, 'spec.consumers', [{}], /missing/],
    [backend, 'spec.consumers', [{ namespace: 'a.b' }], /namespace/],
    [backend, 'spec.consumers', [{ namespace: 'a', serviceAccounts: [] }], /at least 1/],
    [backend, 'spec.hosts', Array.from({ length: 257 }, () => 'h'), /at most 256/],
    [backend, 'spec.credential.type', 'Token', /unsupported/],
    [backend, 'spec.credential.password', 'x', /unknown field/],
    [backend, 'spec.postgres', { userMapping: [{ user: 'a' }] }, /missing/],
    [backend, 'spec.postgres', { userMapping: [mapped('a'), mapped('a')] }, /stands twice/],
    [
      backend,
      'spec.postgres',
      { databaseMapping: [{ database: '', upstreamDatabase: 'x' }] },
      /a name/,
    ],
    [backend, 'spec.extra', 1, /unknown field/],
    [provider, 'spec.issuer', 'i.example', /URL/],
    [provider, 'spec.issuer', 'https://i.example:99999', /URL/],
    [provider, 'spec.issuer', 'https://i.example?x=1', /URL/],
    [provider, 'spec.issuer', 'https://user@i.example', /URL/],
    [provider, 'spec.audiences', undefined, /missing/],
    [provider, 'spec.audiences', [], /at least 1/],
    [provider, 'spec.jwksUri', 'ftp://x', /URL/],
    [provider, 'spec.claims', { user: 'a..b' }, /path of claims/],
    [provider, 'spec.claims', { email: 'x' }, /unknown field/],
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
    [policy(), 'spec.podSelector', { matchLabels: { 'app ': 'a' } }, /label key/],
    [policy(), 'spec.podSelector', { matchExpressions: [{ key: 'a', operator: 'Gt' }] }, /one of/],
    [policy(), 'spec.namespaceSelector', {}, /unknown field/],
    [policy(), 'metadata.namespace', 'a.b', /namespace/],
    [policy(), 'spec.mode', 'enforce', /want one of/],
    [policy(), 'spec.identity', 'Password', /want one of/],
    [policy(), 'spec.defaultAction', 'Ask', /want one of/],
    [policy(), 'spec.delivery', 'Stored', /want one of/],
    [policy(), 'spec.record', { requests: 'All' }, /want one of/],
    [policy(), 'spec.record', { maxBytes: -1 }, /integer/],
    [policy(), 'spec.record', { maxBytes: 1.5 }, /integer/],
    [policy(), 'spec.onAuditUnavailable', { wait: '10' }, /duration/],
    [policy(), 'spec.onAuditUnavailable', { wait: '2m' }, /duration/],
    [backend, 'spec.hosts', ['a', 'a'], /stands twice/],
    [policy(), 'spec.maxBundleAge', '1h', /unsupported/],
    [policy(), 'spec.unknownHosts', 'Allow', /one of Record, Deny/],
    [policy(), 'spec.inbound', {}, /missing/],
    [policy(), 'spec.inbound', { ports: [80, 80] }, /stands twice/],
    [policy(), 'spec.limits', { sessions: 0 }, /integer/],
    [policy(), 'spec.limits', { idle: '0s' }, /duration/],
    [policy(), 'spec.limits', { idle: '577h' }, /duration/],
    [policy(), 'spec.limits', { rows: 1 }, /unknown field/],
  ];
  for (const [document, path, value, message] of wrong) {
    test(`refuses ${path} = ${JSON.stringify(value)?.slice(0, 60)}`, () => {
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

  test('refuses a credential that nothing would use', () => {
    const { problems } = parseResource(change(backend, 'spec.protocol', 'TCP'));
    assert.deepEqual(
      problems?.map(({ path }) => path),
      ['spec.credential'],
    );
  });

  test('takes how a backend is spoken to, and whose names stand for which', () => {
    const { resource } = parseResource(
      change(
        change(backend, 'spec.upstream.tls', { mode: 'VerifyFull', ca: `${pem}${pem}` }),
        'spec.postgres',
        {
          userMapping: [{ user: 'app', upstreamUser: 'shop_app' }],
          databaseMapping: [{ database: 'shop', upstreamDatabase: 'shop_eu' }],
        },
      ),
    );
    assert.ok(resource?.kind === 'Backend');
    assert.deepEqual(resource.spec.upstream.tls, { mode: 'VerifyFull', ca: `${pem}${pem}` });
    assert.equal(resource.spec.postgres.users.get('app'), 'shop_app');
    assert.equal(resource.spec.postgres.databases.get('shop'), 'shop_eu');
  });

  test('takes a query in jwksUri, which some issuers need', () => {
    parsed(change(provider, 'spec.jwksUri', 'https://i.example/keys?p=login'));
  });

  test('takes the durations of GEP-2257, and no others', () => {
    const waitOf = (wait: string): number | undefined => {
      const { resource } = parseResource(policy({ onAuditUnavailable: { wait } }));
      return resource?.kind === 'AuditPolicy' ? resource.spec.waitMs : undefined;
    };
    const table: [string, number | undefined][] = [
      ['0s', 0], ['10s', 10_000], ['1m', 60_000], ['30s500ms', 30_500], ['1ms', 1],
      ['', undefined], ['10', undefined], ['-1s', undefined], ['1.5s', undefined], ['1d', undefined],
      ['61s', undefined], ['1h', undefined], ['100000s', undefined], ['1s1s1s1s1s', undefined], [' 1s', undefined],
    ]; // prettier-ignore
    for (const [wait, ms] of table) assert.equal(waitOf(wait), ms, wait);
  });

  test('says where a field is whose name has dots, and shows no control characters', () => {
    const at = (field: string): string[] => {
      const { problems = [] } = parseResource(policy({ [field]: 1 }));
      return problems.map(({ path }) => path);
    };
    assert.deepEqual(at('a.b/c'), ['spec["a.b/c"]']);
    assert.deepEqual(at('a\u001b[2J\u009b\u202e'), ['spec["a\\u001b[2J\\u009b\\u202e"]']);
    assert.ok(JSON.stringify(at('x'.repeat(100_000))).length < 100);
  });

  test('is brief about what it does not want', () => {
    const { problems = [] } = parseResource(
      policy({ mode: ['secret'], record: 'x'.repeat(9_999) }),
    );
    assert.deepEqual(problems[0]?.message, 'got a list, want one of Observe, Enforce');
    assert.ok((problems[1]?.message.length ?? 0) < 100);
  });

  test('does not lose itself in a document that contains itself', () => {
    const loop: unknown[] = [];
    loop.push(loop);
    for (const document of [
      loop,
      policy({ podSelector: loop }),
      policy({ record: { requests: loop } }),
    ])
      assert.ok(parseResource(document).problems);
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
  const readable = statement({ commands: ['SELECT'] });
  const unreadable = { protocol: 'Unreadable', because: 'too deep' } as const;
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
        const verdict = verdictOf(order, readable);
        assert.deepEqual([verdict.action, verdict.wouldBe], [action, wouldBe]);
      }
    });
  }

  test('what cannot be read is denied as soon as one enforces, and observed otherwise', () => {
    assert.equal(verdictOf(policies({ ...enforce, ...allow }), unreadable).action, 'Deny');
    assert.equal(verdictOf(policies(observe), unreadable).action, 'Allow');
    assert.equal(verdictOf(policies(observe), unreadable).wouldBe, 'Deny');
  });

  test('without a policy everything is denied', () => {
    assert.deepEqual(verdictOf([], readable), {
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

  test('the strictest delivery of those that bind holds', () => {
    const stored = { delivery: 'Acknowledged' };
    assert.equal(combine(policies(observe, enforce))?.delivery, 'Spool');
    assert.equal(combine(policies({ ...observe, ...stored }))?.delivery, 'Acknowledged');
    assert.equal(combine(policies({ ...observe, ...stored }, enforce))?.delivery, 'Spool');
    assert.equal(combine(policies(observe, { ...enforce, ...stored }))?.delivery, 'Acknowledged');
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
  const secrets = new Map([['login', 'Password'] as const]);
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

  test('finds an issuer that two providers claim', () => {
    assert.deepEqual(problemsOf(provider, change(provider, 'metadata.name', 'other')), [
      '1 spec.issuer',
    ]);
  });

  test('refuses to relay logins where a policy asks for a token', () => {
    const relayed = change(backend, 'spec.credential', undefined);
    assert.deepEqual(
      problemsOf(relayed, policy({ mode: 'Enforce', identity: 'Token' }), provider),
      ['0 spec.credential'],
    );
    assert.deepEqual(
      problemsOf(relayed, policy({ mode: 'Observe', identity: 'Token' }), provider),
      [],
    );
  });

  test('refuses a credential of another type than the resource names', () => {
    const wrong = change(
      change(backend, 'spec.upstream.tls', { mode: 'Require' }),
      'spec.credential.type',
      'ClientCertificate',
    );
    assert.deepEqual(problemsOf(wrong), ['0 spec.credential.secretRef.name']);
  });

  test('asks for no credential of a backend that the pod may not use', () => {
    const foreign = change(backend, 'spec.consumers', [{ namespace: 'elsewhere' }]);
    assert.deepEqual(problemsOf(change(foreign, 'spec.credential.secretRef.name', 'none')), []);
  });

  test('asks for no provider on account of a policy that does not select the pod', () => {
    assert.deepEqual(problemsOf(policy({ identity: 'Token' }, 'elsewhere')), []);
  });

  test('gives the same bundle in whatever order the resources come', () => {
    const documents = [
      backend,
      change(change(backend, 'metadata.name', 'second'), 'spec.hosts', ['second']),
      provider,
      policy({ mode: 'Enforce' }, 'local', 'b'),
      policy({ mode: 'Enforce' }, undefined, 'a'),
      policy({ mode: 'Observe', defaultAction: 'Deny' }, 'local', 'c'),
    ];
    assert.deepEqual(bundleOf(...documents), bundleOf(...documents.toReversed()));
  });

  test('gives one revision to what means the same, and another to what does not', () => {
    assert.equal(bundleOf(backend, policy())?.revision, bundleOf(backend, policy())?.revision);
    assert.notEqual(
      bundleOf(backend, policy())?.revision,
      bundleOf(backend, policy({ mode: 'Enforce' }))?.revision,
    );
  });
});
