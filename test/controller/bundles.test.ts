import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BackendCredential } from '#core/control.ts';
import { parseResource } from '#core/policy/parse.ts';
import { buildBundle, type Cluster, type KeptPod, type KeptResource } from '../../controller/bundles.ts'; // prettier-ignore
import type { KeptCredential } from '../../controller/login.ts';
import { readDocument } from '../../webhook/document.ts';

const apiVersion = 'chaperone.dev/v1alpha1';
const pod: KeptPod = {
  pod: 'agent-0',
  namespace: 'agents',
  serviceAccount: 'agent',
  uid: 'u',
  labels: new Map([['app', 'agent']]),
  attachment: 'Namespace',
};

const backend = (changes: object = {}, name = 'shop'): object => ({
  apiVersion,
  kind: 'Backend',
  metadata: { name },
  spec: {
    protocol: 'Postgres',
    hosts: [name],
    ports: [5432],
    upstream: { address: 'db.example:5432', tls: { mode: 'Disable' } },
    consumers: [{ namespace: 'agents' }],
    credential: { type: 'Password', secretRef: { name: 'login' } },
    ...changes,
  },
});
const policy = (changes: object = {}, namespace = 'agents', name = 'agents'): object => ({
  apiVersion,
  kind: 'AuditPolicy',
  metadata: { name, namespace },
  spec: { podSelector: {}, mode: 'Observe', ...changes },
});
const clusterPolicy = (changes: object): object => ({
  apiVersion,
  kind: 'ClusterAuditPolicy',
  metadata: { name: 'lockdown' },
  spec: { podSelector: {}, mode: 'Observe', ...changes },
});
const login: BackendCredential = { type: 'Password', username: 'u', password: 'of the shop' };

function kept(document: object): KeptResource {
  const { kind, metadata } = document as { kind: string; metadata: { name: string; namespace?: string } }; // prettier-ignore
  const name = [kind, metadata.namespace, metadata.name].filter(Boolean).join('/');
  return { document: { ...document }, name, namespace: metadata.namespace, uid: 'u', generation: 1, part: `${name}@1`, ...readDocument({ ...document }) }; // prettier-ignore
}

function clusterWith(documents: readonly object[], secret?: Partial<KeptCredential>): Cluster {
  const credential: KeptCredential = { name: 'login', hosts: ['db.example'], byType: new Map([['Password', login]]), ...secret }; // prettier-ignore
  return {
    resources: documents.map(kept),
    credential: (name) => (name === 'login' ? credential : undefined),
    keysOf: () => [],
    networkOf: (namespace) => ({ resolver: '10.96.0.10:53', searchDomains: [`${namespace}.svc.cluster.local`], deniedAddresses: [] }), // prettier-ignore
    authorities: { controller: 'C', collector: 'D' },
    secret: Buffer.from('secret'),
  };
}

function problemsOf(cluster: Cluster, of = pod): string {
  const built = buildBundle(of, cluster);
  return built.kind === 'held'
    ? built.faults.map(({ resource, text }) => `${resource}: ${text}`).join()
    : assert.fail('it was not held back');
}

function messageOf(cluster: Cluster, of = pod) {
  const built = buildBundle(of, cluster);
  return built.kind === 'bundle' ? built.message : assert.fail(JSON.stringify(built.faults));
}

describe('a bundle', () => {
  test('has what concerns the pod, and the logins of its Backends', () => {
    const others = [
      backend({ consumers: [{ namespace: 'others' }], hosts: ['other'] }, 'other'),
      policy({}, 'others'),
      policy({ podSelector: { matchLabels: { app: 'other' } } }, 'agents', 'unselected'),
    ];
    const message = messageOf(clusterWith([backend(), policy(), ...others]));
    assert.deepEqual(
      new Set(message.resources.map(({ kind }) => kind)),
      new Set(['AuditPolicy', 'Backend']),
    );
    assert.deepEqual(message.credentials, { login });
    assert.deepEqual(message.network.searchDomains, ['agents.svc.cluster.local']);
  });

  test('has no login, and no word of one, for a pod whose own author labels it', () => {
    const message = messageOf(clusterWith([backend(), policy()]), { ...pod, attachment: 'Pod' });
    assert.deepEqual(message.credentials, {});
    assert.doesNotMatch(JSON.stringify(message.resources), /credential/);
  });

  test('is held back whole by a policy of the cluster that cannot be read', () => {
    const cluster = clusterWith([policy(), clusterPolicy({ later: true })]);
    assert.match(problemsOf(cluster), /ClusterAuditPolicy\/lockdown: spec\.later/);
  });

  describe('with a policy of its namespace that cannot be applied', () => {
    const token = { identity: 'Token' };
    for (const [what, changes, stands] of [
      ['cannot be read', { later: true }, { mode: 'Enforce', denies: true }],
      ['observes who has a token, where nobody issues any', token, { mode: 'Observe', denies: false }],
      ['asks for a token, where nobody issues any', { ...token, mode: 'Enforce' }, { mode: 'Enforce', denies: true }],
    ] as const) {
      test(`says what the cluster says now, where it ${what}`, () => {
        const lockdown = clusterPolicy({ mode: 'Enforce' });
        const cluster = clusterWith([backend(), policy({}, 'agents', 'fine'), policy(changes, 'agents', 'broken'), lockdown]);
        const built = buildBundle(pod, cluster);
        assert.ok(built.kind === 'bundle');
        assert.deepEqual(built.faults.map(({ resource }) => resource), ['AuditPolicy/agents/broken']);
        const { resources } = built.message;
        const named = (name: string): object | undefined => resources.find(({ metadata }) => (metadata as { name: string }).name === name);
        assert.deepEqual(named('lockdown'), lockdown);
        assert.deepEqual(named('fine'), policy({}, 'agents', 'fine'));
        const { spec } = named('broken') as { spec: { mode: string; identity?: string; rules?: readonly { action: string }[] } };
        assert.deepEqual({ mode: spec.mode, denies: spec.rules?.[0]?.action === 'Deny' }, stands);
        assert.equal(spec.identity, undefined);
        assert.equal(parseResource(named('broken')).problems, undefined);
      });
    }

    for (const [what, metadata, spec] of [
      ['has labels that mean nothing', { labels: { app: 'no label\n' } }, {}],
      ['is longer than what is read', {}, { rules: Array.from({ length: 64 }, (_, index) => ({ name: `rule-${index}`, backends: ['shop'], anySubject: true, action: 'Allow', when: `"${'a'.repeat(2_000)}" != ""`, message: 'ä'.repeat(1_024) })) }],
    ] as const) {
      test(`refuses in its place, where it ${what}`, () => {
        const broken = policy(spec) as { metadata: object };
        const message = messageOf(clusterWith([clusterPolicy({}), { ...broken, metadata: { ...broken.metadata, ...metadata } }]));
        assert.match(JSON.stringify(message.resources), /AuditPolicy\/agents\/agents cannot be applied/);
        assert.deepEqual(message.resources.flatMap((document) => parseResource(document).problems ?? []), []);
      });
    }

    for (const [what, count, length] of [['many', 65, 1], ['long', 40, 30_000]] as const) {
      test(`refuses everything, once, where there are too ${what} for one pod`, () => {
        const messages = { rules: Array.from({ length: Math.ceil(length / 1_000) }, (_, index) => ({ name: `rule-${index}`, backends: ['shop'], anySubject: true, action: 'Allow', message: 'a'.repeat(Math.min(length, 1_000)) })) };
        const own = Array.from({ length: count }, (_, index) => policy(messages, 'agents', `own-${index}`));
        const cluster = clusterWith([backend(), clusterPolicy({}), ...own]);
        const built = buildBundle(pod, cluster);
        assert.ok(built.kind === 'bundle');
        assert.deepEqual(built.message.resources.map(({ kind }) => kind), ['Backend', 'ClusterAuditPolicy', 'AuditPolicy']);
        assert.match(JSON.stringify(built.message.resources[2]), /"action":"Deny".*policies of the namespace select the pod/);
        assert.equal(built.faults.length, count);
        const bundles = [{ ...pod, namespace: 'others' }, pod].map((each) => buildBundle(each, clusterWith(own.slice(0, 30))));
        assert.deepEqual(bundles.map((each) => each.kind === 'bundle' && each.faults), [[], []]);
      });
    }

    test('is as it was for pods of other namespaces', () => {
      const cluster = clusterWith([policy({ later: true }), policy({}, 'others')]);
      const built = buildBundle({ ...pod, namespace: 'others' }, cluster);
      assert.ok(built.kind === 'bundle');
      assert.deepEqual(built.faults, []);
    });

    test('denies where it wants a token, and the login of a Backend is the agent’s own', () => {
      const provider = { apiVersion, kind: 'IdentityProvider', metadata: { name: 'issuer' }, spec: { issuer: 'https://issuer.example', audiences: ['chaperone'] } };
      const { credential: _, ...relayed } = (backend() as { spec: Record<string, unknown> }).spec;
      const cluster = clusterWith([provider, { ...backend(), spec: relayed }, policy({ ...token, mode: 'Enforce' })]);
      const built = buildBundle(pod, cluster);
      assert.ok(built.kind === 'bundle', JSON.stringify(built));
      assert.match(built.faults[0]?.text ?? '', /spec\.credential: missing/);
      assert.match(JSON.stringify(built.message.resources), /AuditPolicy\/agents\/agents cannot be applied/);
    });
  }); // prettier-ignore

  for (const [what, secret, said] of [
    ['is not there', undefined, /there is no Secret/],
    ['names no host', { hosts: [] }, /may not be sent to db\.example/],
    ['names another host', { hosts: ['example'] }, /may not be sent to db\.example/],
    ['has not the keys', { byType: new Map() }, /has not the keys of a Password/],
  ] as const) {
    test(`is held back by a Secret that ${what}`, () => {
      const cluster = clusterWith([backend(), policy()], secret);
      const without = { ...cluster, credential: () => undefined };
      assert.match(problemsOf(secret ? cluster : without), said);
    });
  }

  test('has another revision where a password is another, and does not tell which', () => {
    const first = messageOf(clusterWith([backend(), policy()])).revision;
    const byType = new Map([['Password', { ...login, password: 'other' }]] as const);
    assert.notEqual(messageOf(clusterWith([backend(), policy()], { byType })).revision, first);
    const elsewhere = { ...clusterWith([backend(), policy()]), secret: Buffer.from('another') };
    assert.notEqual(messageOf(elsewhere).revision, first);
    assert.equal(messageOf(clusterWith([backend(), policy()])).revision, first);
  });
});
