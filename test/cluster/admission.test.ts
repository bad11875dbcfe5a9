import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isObject } from '#core/policy/fields.ts';
import { createLocalCa } from '../../cli/dev/certificates.ts';
import { renderChart, trialValues, type Rendered } from '../support/chart.ts';
import { cluster, withoutCluster, type Cluster, type Namespace } from '../support/cluster.ts';
import { until } from '../support/until.ts';

type Fields = Readonly<Record<string, unknown>>;

/** An installation may be in the cluster: what is in no namespace of the test is tried under other names. */
const prefix = 'admission-test-';
const image = 'registry.example/agent:1'; // nothing here runs
const release = 'admission-release';

/** Admission policies of the chart, each under a name of its own. */
async function policies(): Promise<readonly Rendered[]> {
  const rendered = await renderChart(release, trialValues);
  return rendered
    .filter(({ kind }) => kind.startsWith('ValidatingAdmissionPolicy'))
    .map((object) => {
      const { metadata, spec } = object;
      const named = { ...object, metadata: { ...metadata, name: `${prefix}${metadata.name}` } };
      if (object.kind === 'ValidatingAdmissionPolicy' || !isObject(spec)) return named;
      return { ...named, spec: { ...spec, policyName: `${prefix}${String(spec['policyName'])}` } };
    });
}

/** What a failed command of kubectl said. */
async function refusalOf(command: Promise<string>): Promise<string> {
  return command.then(
    (out) => assert.fail(`it succeeded: ${out}`),
    (error: unknown) => (error instanceof Error ? error.message : 'unknown'),
  );
}

/** A pod for which there is no node. */
function podOf(name: string, spec: Fields, metadata: Fields = {}): Fields {
  const nodeSelector = { 'admission-test': 'nowhere' };
  const containers = [{ name: 'main', image }];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, ...metadata },
    spec: { nodeSelector, containers, ...spec },
  };
}

const sidecar = {
  name: 'chaperone',
  image: 'registry.example/chaperone:1',
  restartPolicy: 'Always',
};

function tokenVolume(name: string): Fields {
  const token = { audience: 'chaperone-collector', path: 'collector', expirationSeconds: 600 };
  return { name, projected: { sources: [{ serviceAccountToken: token }] } };
}

describe('admission policies, at the API server', { skip: withoutCluster }, () => {
  const stack = new AsyncDisposableStack();
  let running: Cluster;
  let agents: Namespace;
  let enforced: Namespace;
  const directory = mkdtempSync(join(tmpdir(), 'admission-'));

  const create = ({ kubectl }: Pick<Namespace, 'kubectl'>, object: Fields): Promise<string> =>
    kubectl(['create', '--dry-run=server', '--filename=-'], { input: JSON.stringify(object) });
  /** Puts an ephemeral container beside those of a pod, as people do; `custom` is the content of their file. */
  const debug = (name: string, custom: Fields, ...more: readonly string[]): Promise<string> =>
    debugPod('running', name, custom, ...more);
  const debugPod = (
    pod: string,
    name: string,
    custom: Fields,
    ...more: readonly string[]
  ): Promise<string> => {
    const file = join(directory, name);
    writeFileSync(file, JSON.stringify(custom));
    const args = ['debug', pod, `--image=${image}`, `--container=${name}`, `--custom=${file}`];
    return agents.kubectl([...args, ...more, '--', 'true']);
  };

  before(async () => {
    running = stack.use(await cluster());
    agents = stack.use(await running.namespace('admission-agents'));
    enforced = stack.use(await running.namespace('admission-enforced', { 'chaperone.dev/enforce': 'true' })); // prettier-ignore
    const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: await policies() });
    stack.defer(async () => {
      await running.kubectl(['delete', '--ignore-not-found', '--filename=-'], { input });
    });
    await running.kubectl(['apply', '--filename=-'], { input });
    await agents.apply([
      podOf('running', {
        initContainers: [sidecar],
        containers: [
          { name: 'said', image, securityContext: { runAsUser: 1000 } },
          { name: 'unsaid', image },
        ],
      }),
      podOf('waiting', {
        initContainers: [sidecar, { name: 'chaperone-network', image: sidecar.image }],
      }),
      podOf('as-one', { initContainers: [sidecar], securityContext: { runAsUser: 1000 } }),
    ]);
    // In force a moment after they are there.
    for (const [where, pod, last] of [
      [agents, podOf('tried', { volumes: [tokenVolume('mine')] }), /projected-tokens/],
      [enforced, podOf('tried', { hostPID: true }), /pod-security/],
    ] as const)
      await until('the policies are in force', () =>
        create(where, pod).then(() => undefined, (error: unknown) => last.test(String(error)) || undefined)); // prettier-ignore
  });
  after(async () => {
    rmSync(directory, { recursive: true });
    await stack.disposeAsync();
  });

  test('nobody but the kubelet gets a token that is for sidecars', async () => {
    const bound = ['--bound-object-kind=Pod', '--bound-object-name=running'];
    const token = (audience: string): Promise<string> =>
      agents.kubectl(['create', 'token', 'default', `--audience=${audience}`, ...bound]);
    for (const audience of ['chaperone-controller', 'chaperone-collector'])
      assert.match(await refusalOf(token(audience)), /chaperone-tokens.*for sidecars/);
    assert.notEqual(await token('other'), '');
    const thief = podOf('thief', { volumes: [tokenVolume('mine')] });
    assert.match(await refusalOf(create(agents, thief)), /chaperone-projected-tokens/);
  });

  test('parts of ours that are written by hand get no token where the webhook is not asked', async () => {
    const spec = { initContainers: [sidecar], volumes: [tokenVolume('chaperone-tokens')] };
    const labels = { 'chaperone.dev/inject': 'true' };
    const said = await refusalOf(create(agents, podOf('by-hand', spec)));
    assert.match(said, /chaperone-projected-tokens.*the webhook was asked about/);
    assert.match(await create(agents, podOf('labelled', spec, { labels })), /created/);
    assert.match(await create(enforced, podOf('in-its-namespace', spec)), /created/);
    const asked = { kubectl: (args: readonly string[], options = {}) => running.kubectl(['--namespace=kube-system', ...args], options) }; // prettier-ignore
    const excluded = await refusalOf(create(asked, podOf('excluded', spec, { labels })));
    assert.match(excluded, /the webhook was asked about/);
  });

  test('a running container takes another image only where its uid does not come from that', async () => {
    const set = (pod: string, container: string): Promise<string> =>
      agents.kubectl(['set', 'image', '--dry-run=server', `pod/${pod}`, `${container}=${image}2`]);
    assert.match(await refusalOf(set('running', 'unsaid')), /chaperone-running-pods.*runAsUser/);
    assert.match(await set('running', 'said'), /updated/);
    assert.match(await set('as-one', 'main'), /updated/);
    assert.match(await refusalOf(set('running', 'chaperone')), /stay as they were injected/);
    const patch = ['patch', 'pod', 'running', '--dry-run=server', '--patch={"metadata":{"labels":{"a":"b"}}}']; // prettier-ignore
    assert.match(await agents.kubectl(patch), /patched/);
  });

  test('a running pod is debugged with what cannot become its sidecar, as the message says', async () => {
    const restricted = '--profile=restricted';
    const said = await refusalOf(debug('by-profile', {}, restricted));
    const written = /write (\{.*\}), and add (--profile=restricted)/.exec(said);
    assert.ok(written?.[1] !== undefined && written[2] === restricted, said);
    const custom = JSON.parse(written[1]) as Fields;
    const loose = await refusalOf(debug('loose', custom, '--profile=general'));
    assert.match(loose, /allowPrivilegeEscalation false and capabilities\.drop/);
    const drawn = { securityContext: { runAsUser: 1_234_567_890 } };
    assert.match(await refusalOf(debug('drawn', drawn, restricted)), /runAsUser/);
    for (const capability of ['SETUID', 'NET_RAW', 'NET_ADMIN']) {
      const capabilities = { drop: ['ALL'], add: [capability] };
      const more = { securityContext: { runAsUser: 1000, capabilities } };
      assert.match(
        await refusalOf(debug('more', more, restricted)),
        /could leave the interception/,
      );
    }
    const targeted = debug('targeted', custom, restricted, '--target=chaperone');
    assert.match(await refusalOf(targeted), /may not share the processes/);
    assert.match(await refusalOf(debug('chaperone-look', custom, restricted)), /names that begin/);
    await debug('look', custom, restricted);
  });

  test('nothing is put into a pod before the rules of its network are in force', async () => {
    const put = (name: string): Promise<string> =>
      debugPod('waiting', name, { securityContext: { runAsUser: 1000 } }, '--profile=restricted');
    assert.match(await refusalOf(put('early')), /once the pod has been initialized/);
    const condition = { type: 'Initialized', status: 'True' };
    const patch = JSON.stringify({ status: { conditions: [condition] } });
    await agents.kubectl(['patch', 'pod', 'waiting', '--subresource=status', `--patch=${patch}`]);
    await put('later');
  });

  test('what Pod Security would keep out is kept out where it has to let NET_ADMIN in', async () => {
    const tryPod = (container: Fields, spec: Fields = {}): Promise<string> =>
      create(enforced, podOf('tried', { containers: [{ name: 'main', image, ...container }], ...spec })); // prettier-ignore
    assert.match(await tryPod({}), /created/);
    for (const [container, spec] of [
      [{ securityContext: { privileged: true } }, {}],
      [{ ports: [{ containerPort: 80, hostPort: 80 }] }, {}],
      [{}, { hostPID: true }],
      [{}, { volumes: [{ name: 'host', hostPath: { path: '/' } }] }],
    ] as const)
      assert.match(await refusalOf(tryPod(container, spec)), /chaperone-pod-security/);
  });

  test('the controller changes the authority of a webhook, and not what it is asked about or where', async () => {
    const name = `${prefix}hooks`;
    const namespaceSelector = { matchLabels: { 'admission-test': 'nowhere' } };
    const rule = {
      apiGroups: [''],
      apiVersions: ['v1'],
      operations: ['CREATE'],
      resources: ['pods'],
    };
    const webhook = {
      name: 'pods.chaperone.test',
      admissionReviewVersions: ['v1'],
      clientConfig: { service: { name: 'chaperone-webhook', namespace: release } },
      rules: [rule],
      namespaceSelector,
      sideEffects: 'None',
    };
    const kinds = ['mutatingwebhookconfiguration', 'validatingwebhookconfiguration'];
    const group = 'admissionregistration.k8s.io';
    const resources = kinds.map((kind) => `${kind}s`);
    const user = `system:serviceaccount:${release}:chaperone-controller`;
    const rights = { kind: 'ClusterRole', name, apiGroup: 'rbac.authorization.k8s.io' };
    const items = [
      ...['Mutating', 'Validating'].map((kind) => ({ apiVersion: `${group}/v1`, kind: `${kind}WebhookConfiguration`, metadata: { name }, webhooks: [webhook] })), // prettier-ignore
      { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata: { name }, rules: [{ apiGroups: [group], resources, resourceNames: [name], verbs: ['get', 'patch'] }] }, // prettier-ignore
      { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRoleBinding', metadata: { name }, roleRef: rights, subjects: [{ kind: 'User', name: user, apiGroup: 'rbac.authorization.k8s.io' }] }, // prettier-ignore
    ];
    const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
    await running.kubectl(['apply', '--filename=-'], { input });
    try {
      for (const kind of kinds) {
        const patch = (operations: readonly Fields[], ...more: readonly string[]): Promise<string> =>
          running.kubectl(['patch', kind, name, '--type=json', '--dry-run=server', `--patch=${JSON.stringify(operations)}`, ...more]); // prettier-ignore
        const asController = (path: string, value: unknown): Promise<string> =>
          patch([{ op: 'add', path, value }], `--as=${user}`);
        const caBundle = Buffer.from((await createLocalCa(Date.now())).certificate).toString(
          'base64',
        );
        assert.match(await asController('/webhooks/0/clientConfig/caBundle', caBundle), /patched/);
        for (const [path, value] of [
          ['/webhooks/0/rules/0/resources/0', 'secrets'],
          ['/webhooks/0/clientConfig/service/name', 'other'],
          ['/webhooks/0/namespaceSelector', {}],
          ['/webhooks/0/failurePolicy', 'Ignore'],
          ['/webhooks/-', { ...webhook, name: 'more.chaperone.test' }],
          ['/webhooks', []],
          ['/metadata/labels', { a: 'b' }],
        ] as const)
          assert.match(await refusalOf(asController(path, value)), /chaperone-webhook-configurations/, path); // prettier-ignore
        assert.match(await patch([{ op: 'add', path: '/webhooks/0/failurePolicy', value: 'Ignore' }]), /patched/); // prettier-ignore
      }
    } finally {
      await running.kubectl(['delete', '--ignore-not-found', '--filename=-'], { input });
    }
  });
});
