import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { accountsIn, isShared, renderChart, trialValues, type Rendered } from '../support/chart.ts'; // prettier-ignore
import { cluster, withoutCluster, type Cluster, type Namespace } from '../support/cluster.ts';

/** An installation of the same names may be in the cluster: what is in no namespace of the test is tried under other ones. */
const prefix = 'chart-test-';
const own = 'chart-own';
const elsewhere = 'chart-elsewhere';
const credentials = 'chart-credentials';

interface Question {
  readonly verb: string;
  readonly resource: string;
  readonly group?: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
}

/** What the API server says to each question, asked for a user who is in groups. */
async function answersTo(
  running: Cluster,
  asked: readonly {
    readonly user: string;
    readonly groups?: readonly string[];
    readonly question: Question;
  }[],
): Promise<readonly boolean[]> {
  const reviews = asked.map(({ user, groups = [], question }) => ({
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: { user, groups, resourceAttributes: question },
  }));
  const out = await running.kubectl(
    ['create', '--filename=-', '--output=jsonpath={.status.allowed}{"\\n"}'],
    { input: listOf(reviews) },
  ); // prettier-ignore
  const lines = out.trim().split('\n');
  assert.equal(lines.length, asked.length);
  return lines.map((line) => line === 'true');
}

describe('the chart, at the API server', { skip: withoutCluster }, () => {
  let running: Cluster;
  const namespaces: Namespace[] = [];
  let objects: readonly Rendered[];

  before(async () => {
    running = await cluster();
    const restricted = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    namespaces.push(
      ...(await Promise.all([
        running.namespace(own, restricted),
        running.namespace(elsewhere),
        running.namespace(credentials),
      ])),
    );
    objects = await renderChart(own, [
      ...trialValues,
      'postgres.bundled.storage.ephemeral=true', // a claim's volume is no part of the template that is tried as a pod
      `credentials.namespace=${credentials}`,
      `test.namespace=${elsewhere}`,
    ]);
    await running.kubectl(['apply', '--filename=-'], {
      input: listOf(accountsIn(objects, prefix)),
    });
  });

  after(async () => {
    const named = accountsIn(objects, prefix).filter(isShared);
    await running.kubectl(['delete', '--ignore-not-found', '--filename=-'], {
      input: listOf(named),
    });
    for (const namespace of namespaces) await namespace[Symbol.asyncDispose]();
    await running[Symbol.asyncDispose]();
  });

  test('is taken by the API server, every object of it', async () => {
    const out = await running.kubectl(
      [
        'apply',
        '--server-side',
        '--force-conflicts',
        '--dry-run=server',
        '--output=name',
        '--filename=-',
      ],
      { input: listOf(objects) },
    );
    assert.equal(out.trim().split('\n').length, objects.length);
  });

  test('has pods of our own that the strictest standard of Kubernetes takes', async () => {
    const pods = objects.flatMap(({ kind, metadata, spec }) => {
      const template = templateOf(spec);
      if (template === undefined) return [];
      const name = `${kind.toLowerCase()}-${metadata.name}`;
      return [
        { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: own }, spec: template },
      ];
    });
    assert.equal(pods.length, 7);
    await running.kubectl(['create', '--dry-run=server', '--filename=-'], { input: listOf(pods) });
  });

  const named = (names: readonly string[], verbs: readonly string[], base: Question): Question[] =>
    names.flatMap((name) => verbs.map((verb) => ({ ...base, verb, name })));
  const kinds = ['auditpolicies', 'clusterauditpolicies', 'backends', 'identityproviders'];
  const secrets = [
    'chaperone-authority',
    'chaperone-webhook-tls',
    'chaperone-controller-tls',
    'chaperone-collector-tls',
  ];
  const review = { verb: 'create', resource: 'tokenreviews', group: 'authentication.k8s.io' };
  const access = {
    verb: 'create',
    resource: 'subjectaccessreviews',
    group: 'authorization.k8s.io',
  };
  const ofSecrets = { verb: '', resource: 'secrets', namespace: own };
  const ofServices = { verb: '', resource: 'services', namespace: own };
  const ofSidecars = ['chaperone-controller', 'chaperone-collector'];
  const ofHooks = {
    verb: '',
    resource: 'mutatingwebhookconfigurations',
    group: 'admissionregistration.k8s.io',
  };
  const chaperone = (verb: string, resource: string): Question => ({
    verb,
    resource,
    group: 'chaperone.dev',
  });

  const may: Readonly<Record<string, readonly Question[]>> = {
    'chaperone-webhook': [
      { verb: 'get', resource: 'namespaces', name: elsewhere },
      { verb: 'get', resource: 'runtimeclasses', group: 'node.k8s.io' },
      { ...chaperone('list', 'auditpolicies'), namespace: elsewhere },
      chaperone('list', 'clusterauditpolicies'),
      { verb: 'create', resource: 'events', namespace: elsewhere },
      ...named(ofSidecars, ['get'], ofServices),
    ],
    'chaperone-controller': [
      ...['pods', 'namespaces', 'nodes'].flatMap((resource) =>
        ['list', 'watch'].map((verb) => ({ verb, resource })),
      ),
      ...kinds.flatMap((resource) => [
        chaperone('watch', resource),
        { ...chaperone('patch', resource), subresource: 'status' },
      ]),
      review,
      access,
      ...named(secrets, ['get', 'patch'], ofSecrets),
      ...named(['chaperone-authorities'], ['get', 'patch'], { ...ofSecrets, resource: 'configmaps' }),
      ...named(['chaperone-kills', 'chaperone-programmed'], ['get', 'list', 'watch', 'patch'], { ...ofSecrets, resource: 'configmaps' }),
      ...named(ofSidecars, ['get', 'list', 'watch'], ofServices),
      ...named(['chaperone-controller'], ['get', 'update'], { verb: '', resource: 'leases', group: 'coordination.k8s.io', namespace: own }),
      ...named(['chaperone'], ['get', 'patch'], ofHooks),
      { verb: 'watch', resource: 'secrets', namespace: credentials },
      ...['list', 'watch'].map((verb) => ({ verb, resource: 'endpointslices', group: 'discovery.k8s.io', namespace: 'default' })),
    ],
    'chaperone-collector': [review, access],
    'chaperone-setup': [
      { verb: 'create', resource: 'secrets', namespace: own },
      ...named(['chaperone-collector-key', 'chaperone-database'], ['get'], ofSecrets),
    ],
    'chaperone-baseline': [chaperone('create', 'clusterauditpolicies')],
    'chaperone-uninstall': named(['chaperone'], ['delete'], ofHooks),
  }; // prettier-ignore

  /** What would be the end of what Chaperone promises, whoever of us could do it. */
  const never: readonly Question[] = [
    { verb: 'create', resource: 'pods', namespace: elsewhere },
    { verb: 'create', resource: 'pods', namespace: own },
    { verb: 'patch', resource: 'pods', namespace: elsewhere },
    { verb: 'create', resource: 'pods', subresource: 'exec', namespace: elsewhere },
    { verb: 'patch', resource: 'pods', subresource: 'ephemeralcontainers', namespace: elsewhere },
    { verb: 'list', resource: 'secrets', namespace: elsewhere },
    { verb: 'list', resource: 'secrets', namespace: own },
    { verb: 'list', resource: 'secrets' },
    { verb: 'create', resource: 'serviceaccounts', subresource: 'token', namespace: own },
    { verb: 'patch', resource: 'namespaces', name: elsewhere },
    { verb: 'create', resource: 'nodes', subresource: 'proxy' },
    { verb: 'impersonate', resource: 'users' },
    { verb: 'delete', resource: 'events', namespace: elsewhere },
    ...named(['other'], ['patch', 'delete'], ofHooks),
    { ...ofHooks, verb: 'create' },
    { verb: 'create', resource: 'clusterrolebindings', group: 'rbac.authorization.k8s.io' },
    { ...chaperone('delete', 'auditpolicies'), namespace: elsewhere },
    chaperone('patch', 'clusterauditpolicies'),
    chaperone('patch', 'backends'),
    ...named(['chaperone-collector-key', 'chaperone-database'], ['patch', 'delete'], ofSecrets),
    { verb: 'patch', resource: 'secrets', namespace: credentials },
  ];
  const neverOne: Readonly<Record<string, readonly Question[]>> = {
    'chaperone-webhook': [
      ...kinds.map((resource) => ({ ...chaperone('patch', resource), subresource: 'status' })),
      ...named(['chaperone-programmed'], ['patch'], { ...ofSecrets, resource: 'configmaps' }),
      ...named(secrets, ['get', 'patch'], ofSecrets),
      { verb: 'get', resource: 'secrets', namespace: credentials },
      { verb: 'list', resource: 'pods', namespace: elsewhere },
      { ...ofServices, verb: 'list' },
      review,
    ],
    'chaperone-collector': [
      ...kinds.map((resource) => ({ ...chaperone('patch', resource), subresource: 'status' })),
      ...named(secrets, ['get', 'patch'], ofSecrets),
      { verb: 'get', resource: 'secrets', namespace: credentials },
      { verb: 'list', resource: 'pods', namespace: elsewhere },
      chaperone('list', 'clusterauditpolicies'),
    ],
    'chaperone-controller': [
      ...named(['chaperone-collector-key', 'chaperone-database', 'other'], ['get'], ofSecrets),
      { verb: 'create', resource: 'secrets', namespace: own },
      { ...ofHooks, verb: 'delete', name: 'chaperone' },
      ...kinds.map((resource) => ({ ...chaperone('update', resource), subresource: 'status' })),
      ...named(['chaperone-programmed', 'other'], ['update', 'delete'], {
        ...ofSecrets,
        resource: 'configmaps',
      }),
      { verb: 'create', resource: 'configmaps', namespace: own },
    ],
    'chaperone-setup': [
      ...named(secrets, ['get', 'patch'], ofSecrets),
      { verb: 'create', resource: 'secrets', namespace: elsewhere },
    ],
  };

  test('lets each account do what its part does, and nothing that would undo it', async () => {
    const expected = Object.entries(may).flatMap(([account, questions]) => [
      ...questions.map((question) => ({ account, question, allowed: true })),
      ...[...never, ...(neverOne[account] ?? [])].map((question) => ({ account, question, allowed: false })),
    ]); // prettier-ignore
    assert.ok(expected.length > 170, `${expected.length} questions`);
    const answers = await answersTo(
      running,
      expected.map(({ account, question }) => ({
        user: `system:serviceaccount:${own}:${account}`,
        groups: ['system:serviceaccounts', `system:serviceaccounts:${own}`, 'system:authenticated'],
        question,
      })),
    );
    const wrong = expected.filter(({ allowed }, index) => answers[index] !== allowed);
    assert.deepEqual(wrong, []);
  });

  test('gives people what their role is for', async () => {
    const sessions = (verb: string): Question => chaperone(verb, 'sessions');
    const policy = (verb: string): Question => ({
      ...chaperone(verb, 'auditpolicies'),
      namespace: elsewhere,
    });
    const expected: readonly (readonly [string, Question, boolean])[] = [
      ['auditor', sessions('get'), true],
      ['auditor', sessions('delete'), false],
      ['auditor', sessions('update'), false],
      ['auditor', policy('list'), true],
      ['auditor', policy('patch'), false],
      ['viewer', policy('list'), true],
      ['viewer', sessions('get'), false],
      ['policy-editor', policy('create'), true],
      ['policy-editor', chaperone('create', 'clusterauditpolicies'), false],
      ['policy-editor', chaperone('create', 'backends'), false],
      ['policy-editor', sessions('get'), false],
      ['platform', chaperone('create', 'backends'), true],
      ['platform', sessions('delete'), true],
      ['platform', { verb: 'get', resource: 'secrets', namespace: credentials }, false],
    ]; // prettier-ignore
    const bindings = [...new Set(expected.map(([role]) => role))].map((role) => ({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: `${prefix}${role}-person` },
      roleRef: {
        apiGroup: 'rbac.authorization.k8s.io',
        kind: 'ClusterRole',
        name: `${prefix}chaperone-${role}`,
      },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: `${prefix}${role}` }],
    }));
    await running.kubectl(['apply', '--filename=-'], { input: listOf(bindings) });
    try {
      const answers = await answersTo(
        running,
        expected.map(([role, question]) => ({ user: `${prefix}${role}`, question })),
      );
      assert.deepEqual(
        expected.map(([role, question], index) => [role, question, answers[index]]),
        expected,
      );
    } finally {
      await running.kubectl(['delete', '--filename=-'], { input: listOf(bindings) });
    }
  });
});

function listOf(items: readonly object[]): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
}

/** The pods that an object makes. */
function templateOf(spec: unknown): object | undefined {
  const { template } = (spec ?? {}) as { readonly template?: { readonly spec?: object } };
  const pod = template?.spec;
  if (pod === undefined) return undefined;
  // The account is made by the release, and is not there.
  const { serviceAccountName: _, ...rest } = pod as { readonly serviceAccountName?: string };
  return { restartPolicy: 'Always', ...rest };
}
