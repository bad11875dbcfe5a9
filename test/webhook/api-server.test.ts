import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import jsonPatch from 'fast-json-patch';
import { isObject } from '#core/policy/fields.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { checkPod } from '../../controller/pod-check.ts';
import { createAuthority } from '../../runtime/certificates.ts';
import { injectPod } from '../../webhook/inject.ts';
import { containerNames, isOwnName, uidRange } from '../../webhook/names.ts';
import type { Mode } from '../../webhook/own-parts.ts';
import { tryParsePod, type Pod } from '../../webhook/pod.ts';
import { renderChart, type Rendered } from '../support/chart.ts';
import { cluster, withoutCluster, type Cluster } from '../support/cluster.ts';
import { KubeRequests, type Fields, type KubeAnswer } from '../support/kube-requests.ts';
import { bluntDeeds, otherKeys, politeDeeds, startOtherWebhook, type Deed } from '../support/other-webhook.ts'; // prettier-ignore
import { plainPod } from '../support/pods.ts';
import { Random, scaled } from '../support/random.ts';
import { realPod, runtimeClasses } from '../support/real-pods.ts';
import { differences, settled, sorted } from '../support/stored-pods.ts';
import { until } from '../support/until.ts';
import { serverAddresses, startWebhook, type WebhookProcess } from '../support/webhook-process.ts';

const heldKey = 'mutation.example/held';
const enforced = { 'chaperone.dev/enforce': 'true' };
const explicit = { 'chaperone.dev/mode': 'explicit' };

/** Namespaces and their labels: in each that is not bare our webhook is asked, about all pods or about labelled ones. */
const places: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'mutation-bare': {},
  'mutation-held': { [heldKey]: '', ...enforced },
  'mutation-dialling': { [heldKey]: '', ...enforced, ...explicit },
  'mutation-labelled': { [heldKey]: '' },
  'mutation-bare-limited': {},
  'mutation-held-limited': { [heldKey]: '', ...enforced },
};

/** Nothing runs here: no node has it. */
const nowhere = { nodeSelector: { 'mutation.example/node': 'none' } };

/** Requests that are under way at once. */
const width = 6;

const limits = {
  apiVersion: 'v1',
  kind: 'LimitRange',
  metadata: { name: 'limits' },
  spec: {
    limits: [
      {
        type: 'Container',
        default: { cpu: '300m', memory: '1Gi', 'ephemeral-storage': '2Gi' },
        defaultRequest: { cpu: '5m', memory: '7Mi', 'ephemeral-storage': '1Gi' },
      },
    ],
  },
};

type Position = 'before' | 'before-again' | 'after' | 'after-again';

/** What is given to the API server, and where. */
interface Case {
  readonly pod: Pod;
  readonly bare: string;
  readonly held: string;
}

/** What became of a case; of the pods that the API server does not take by itself either, nothing can be said. */
type Outcome = 'injected' | 'refused' | 'no pod';

describe('generated pods at the API server', { skip: withoutCluster, timeout: 900_000 }, () => {
  const stack = new AsyncDisposableStack();
  const seeds = Array.from({ length: scaled(500) }, (_, seed) => seed);
  let running: Cluster;
  let api: KubeRequests;
  let ours: WebhookProcess;
  let policies: readonly Rendered[] = [];

  before(async () => {
    running = stack.use(await cluster());
    assert.ok(running.own, 'the API server of another cluster does not reach this machine');
    api = stack.use(new KubeRequests(running.kubeconfig));
    stack.use(await running.definitions());
    const authority = await createAuthority({ commonName: 'Mutation', nowMs: Date.now(), lifetimeMs: 3_600_000 }); // prettier-ignore
    ours = stack.use(await startWebhook(running.kubeconfig, authority));
    const other = stack.use(await startOtherWebhook(authority));
    await Promise.all(Object.entries(places).map(async ([name, labels]) => stack.use(await running.namespace(name, labels)))); // prettier-ignore
    const rendered = await renderChart('chaperone-system');
    policies = rendered.filter(({ kind }) => kind.startsWith('ValidatingAdmissionPolicy'));
    const hooks = rendered.find(({ kind }) => kind === 'MutatingWebhookConfiguration') ?? assert.fail(); // prettier-ignore
    await install([
      ...Object.entries(runtimeClasses).map(([name, handler]) => ({
        apiVersion: 'node.k8s.io/v1', kind: 'RuntimeClass', metadata: { name }, handler,
        overhead: { podFixed: { cpu: '250m' } },
      })),
      ourHooks(hooks, ours.url, authority.cert),
      otherHooks('a-mutation-other', ['before', 'before-again'], other.url, authority.cert),
      otherHooks('z-mutation-other', ['after', 'after-again'], other.url, authority.cert),
    ]); // prettier-ignore
    for (const name of ['mutation-bare-limited', 'mutation-held-limited'])
      await api.create(`/api/v1/namespaces/${name}/limitranges`, limits);
    const canary = withOther(plainPod({}, { namespace: undefined }), 'after', ['labels']);
    await until('the webhooks are asked', async () => {
      const { body } = await api.tryCreate(pathOf('mutation-held'), canary);
      return /other\.example\/team.*chaperone-network/s.test(JSON.stringify(body));
    });
  });
  after(() => stack.disposeAsync());

  /** Makes objects of the cluster anew; they are removed at the end. */
  async function install(items: readonly object[]): Promise<void> {
    const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
    const remove = ['delete', '--ignore-not-found', '--filename=-'];
    await running.kubectl(remove, { input });
    stack.defer(() => running.kubectl(remove, { input }).then(() => undefined));
    await running.kubectl(['create', '--filename=-'], { input });
  }

  /** Asks about a case of each seed, and returns how often what came of it. */
  async function each(
    caseOf: (random: Random, name: string) => Case,
    judge: (of: Case, bare: KubeAnswer, held: KubeAnswer) => Outcome,
  ): Promise<Readonly<Record<Outcome, number>>> {
    const counts = { injected: 0, refused: 0, 'no pod': 0 };
    const failures: string[] = [];
    const left = [...seeds];
    const work = async (): Promise<void> => {
      for (let seed = left.shift(); seed !== undefined; seed = left.shift()) {
        const given = caseOf(new Random(seed), `agent-${seed}`);
        const bare = await api.tryCreate(pathOf(given.bare), given.pod);
        const held = await api.tryCreate(pathOf(given.held), given.pod);
        try {
          counts[judge(given, bare, held)] += 1;
        } catch (error) {
          failures.push(`seed ${seed}: ${String(error)}; ${JSON.stringify(given.pod)}`);
        }
      }
    };
    await Promise.all(Array.from({ length: width }, work));
    assert.equal(failures.length, 0, failures.slice(0, 5).join('\n'));
    return counts;
  }

  /** Compares what is stored with what the code says of the pod that would be stored without us. */
  function compare({ held: place }: Case, bare: KubeAnswer, held: KubeAnswer): Outcome {
    if (bare.status !== 201) return 'no pod';
    const labels = places[place] ?? {};
    const mode: Mode = 'chaperone.dev/mode' in labels ? 'explicit' : 'transparent';
    const pod = tryParsePod(bare.body) ?? assert.fail('it cannot be read');
    const runtimeHandler = new Map<string, string>(Object.entries(runtimeClasses)).get(pod.spec.runtimeClassName ?? ''); // prettier-ignore
    const facts = { mode, runtimeHandler, kubeApiToken: false, apiAudiences: [], inboundPorts: [] };
    const uids = { draw: () => uidOf(held.body) ?? uidRange.first, keeps: true };
    const injection = injectPod(pod, facts, ours.options, uids);
    if (injection.kind === 'refused') {
      assert.equal(held.status, 403, held.message);
      for (const { message } of injection.refusals) assert.ok(held.message.includes(message), held.message); // prettier-ignore
      return 'refused';
    }
    assert.equal(held.status, 201, held.message);
    const expected = structuredClone(bare.body);
    jsonPatch.applyPatch(expected, structuredClone(injection.patch) as never, true);
    const { status: _quality, ...stored } = settled(withoutGiven(held.body));
    const { status: _before, ...told } = settled(expected);
    assertSame(stored, told, pod);
    assertOurs(held, place);
    assertDocumented(bare, held);
    return 'injected';
  }

  function assertOurs(answer: KubeAnswer, place: string): void {
    const mode = 'chaperone.dev/mode' in (places[place] ?? {}) ? 'explicit' : 'transparent';
    const names = initContainersOf(answer.body).map(({ name }) => name);
    const own = mode === 'explicit' ? [containerNames.sidecar] : Object.values(containerNames);
    assert.deepEqual(names.slice(0, own.length), own);
    assert.equal(checked(answer, place), 'ours');
    for (const container of initContainersOf(answer.body))
      if (isOwnName(String(container['name'])))
        assert.equal(JSON.stringify(container['resources']).includes(given), place.endsWith('-limited')); // prettier-ignore
  }

  /** What the controller says of a pod. */
  function checked({ body }: KubeAnswer, place: string): string {
    const { image, controller, collector } = ours.options;
    const result = checkPod(body as unknown as Pod, places[place] ?? {}, {
      images: [image],
      apiAudiences: [],
      controllerUrl: controller.url,
      collectorUrl: collector.url,
      addresses: serverAddresses,
      isIssued: (_server, pem) => pem === controller.ca,
    });
    return result.kind === 'ours' ? result.kind : result.reason;
  }

  test('are stored as the code in process says, or refused with its reasons', async () => {
    const counts = await each((random, name) => {
      const held = random.pick(['mutation-held', 'mutation-held', 'mutation-dialling', 'mutation-labelled']); // prettier-ignore
      const pod = realPod(random, name, random.below(5) === 0);
      return { pod: held === 'mutation-labelled' ? labelled(pod) : pod, bare: 'mutation-bare', held }; // prettier-ignore
    }, compare);
    assertTold(counts);
    assert.ok(counts.refused > 0, JSON.stringify(counts));
  });

  test('are stored so where a LimitRange gives amounts to every container', async () => {
    const place = { bare: 'mutation-bare-limited', held: 'mutation-held-limited' };
    assertTold(await each((random, name) => ({ pod: realPod(random, name), ...place }), compare));
  });

  const polite = (random: Random, pod: Pod): Pod => {
    const position = random.pick(['before', 'before-again', 'after'] as const);
    return withOther(pod, position, politeDeeds.filter(() => random.below(3) === 0)); // prettier-ignore
  };

  test('are stored so whether another webhook changes them before ours or after', async () => {
    const place = { bare: 'mutation-bare', held: 'mutation-held' };
    assertTold(await each((random, name) => ({ pod: polite(random, realPod(random, name)), ...place }), compare)); // prettier-ignore
  });

  test('are stored so with both', async () => {
    const place = { bare: 'mutation-bare-limited', held: 'mutation-held-limited' };
    assertTold(await each((random, name) => ({ pod: polite(random, realPod(random, name)), ...place }), compare)); // prettier-ignore
  });

  test('that another webhook changes whole, our containers as well, are refused, or it is too late and the controller takes none', async () => {
    let late = 0;
    const counts = await each(
      (random, name) => {
        const deed = random.pick(bluntDeeds);
        const position = deed === 'late-env' ? 'after-again' : random.pick(['before', 'before-again', 'after'] as const); // prettier-ignore
        const pod = withOther(realPod(random, name), position, [deed]);
        return { pod, bare: 'mutation-bare', held: 'mutation-held' };
      },
      ({ pod }, bare, held) => {
        if (bare.status !== 201) return 'no pod';
        const { [otherKeys.position]: position } = pod.metadata.labels ?? {};
        if (position === 'before') return compare({ pod, bare: '', held: 'mutation-held' }, bare, held); // prettier-ignore
        if (position === 'after-again') {
          late += 1;
          assert.equal(held.status, 201, held.message);
          assert.match(checked(held, 'mutation-held'), /initContainers\[chaperone/);
          return 'injected';
        }
        assert.equal(held.status, 403, held.message);
        assert.match(held.message, /spec\.initContainers\[chaperone\] is not what Chaperone would/);
        return 'refused';
      },
    );
    assert.ok(counts.refused > 0 && late > 0, JSON.stringify({ ...counts, late }));
  });

  test('created for real, are what the controller takes, and go on being changed where they are not ours', async () => {
    const created: { readonly path: string; readonly place: string; readonly agent: string }[] = [];
    for (const seed of seeds.slice(0, scaled(80))) {
      const random = new Random(seed);
      const place = random.pick(['mutation-held', 'mutation-held-limited']);
      const { spec, ...pod } = polite(random, realPod(random, `agent-${seed}`));
      // Said, so that no image chooses it: only then may another image take the place of a running one.
      const securityContext = { runAsUser: 1000, ...spec.securityContext };
      const given = { ...pod, spec: { ...spec, ...nowhere, securityContext } };
      const { status, body } = await api.create(pathOf(place), given);
      if (status !== 201) continue;
      const path = `${pathOf(place)}/${nameOf(body)}`;
      assertOurs(await api.get(path), place);
      created.push({ path, place, agent: spec.containers[0]?.name ?? '' });
    }
    const one = created[0]?.path ?? assert.fail('none was created');
    const resize = (path: string, query = ''): Promise<KubeAnswer> =>
      api.patch(`${path}/resize${query}`, ofInit({ resources: { requests: { cpu: '30m' } } }));
    assert.equal((await resize(one, '?dryRun=All')).status, 200, 'nothing but a policy refuses it');
    await install(policies.map((policy) => heldOnly(policy)));
    await until('the policies hold', async () => (await resize(one, '?dryRun=All')).status !== 200);
    for (const { path, place, agent } of created) {
      const lasting = { metadata: { labels: { changed: 'yes' }, annotations: { changed: 'yes' } } };
      const restricted = {
        runAsUser: 1000,
        allowPrivilegeEscalation: false,
        capabilities: { drop: ['ALL'] },
      };
      const debugger_ = (more: object): object => ({ spec: { ephemeralContainers: [{ name: 'look', image: 'app', securityContext: restricted, ...more }] } }); // prettier-ignore
      for (const [of, change] of [
        ['', lasting],
        ['', { spec: { containers: [{ name: agent, image: 'app:2' }] } }],
        ['/status', { status: { conditions: [{ type: 'Initialized', status: 'True' }] } }], // as a kubelet would
        ['/ephemeralcontainers', debugger_({ targetContainerName: agent })],
      ] as const) {
        const { status, message } = await api.patch(path + of, change);
        assert.equal(status, 200, message);
      }
      for (const [of, change, said] of [
        ['/resize', ofInit({ resources: { requests: { cpu: '30m' } } }), /resources of the containers of Chaperone stay|pods with pod-level resources cannot be resized/],
        ['', ofInit({ image: 'app:2' }), /containers of Chaperone stay as they were injected/],
        ['/ephemeralcontainers', debugger_({ name: 'spy', targetContainerName: 'chaperone' }), /share the processes/],
      ] as const) {
        const { status, message } = await api.patch(path + of, change);
        assert.equal(status, 422, message);
        assert.match(message, said);
      } // prettier-ignore
      assertOurs(await api.get(path), place);
    }
  });
});

const pathOf = (namespace: string): string => `/api/v1/namespaces/${namespace}/pods`;

/** What a LimitRange gives to containers that say nothing of this resource, as ours do. */
const given = 'ephemeral-storage';

function withoutGiven(pod: Fields): Fields {
  const spec = isObject(pod['spec']) ? pod['spec'] : {};
  const initContainers = initContainersOf(pod).map(({ resources, ...container }) => {
    if (!isOwnName(String(container['name'])) || !isObject(resources)) return { ...container, resources }; // prettier-ignore
    const rest = Object.entries(resources).map(([field, amounts]) => {
      const { [given]: _given, ...others } = isObject(amounts) ? amounts : {};
      return [field, others];
    });
    return { ...container, resources: Object.fromEntries(rest) };
  });
  return { ...pod, spec: { ...spec, initContainers } };
}

const ofInit = (change: object): object => ({
  spec: { initContainers: [{ name: containerNames.sidecar, ...change }] },
});

function nameOf({ metadata }: Fields): string {
  const { name } = isObject(metadata) ? metadata : {};
  return typeof name === 'string' ? name : assert.fail('it has no name');
}

/** A policy of the chart, or its binding, under a name of this test and for its namespaces. */
function heldOnly({ metadata, spec, ...others }: Rendered): object {
  const own = (name: unknown): string => `mutation-${String(name)}`;
  const { policyName, ...rest } = isObject(spec) ? spec : {};
  const namespaceSelector = { matchExpressions: [{ key: heldKey, operator: 'Exists' }] };
  return {
    ...others,
    metadata: { name: own(metadata.name) },
    spec: policyName === undefined ? rest : { ...rest, policyName: own(policyName), matchResources: { namespaceSelector } }, // prettier-ignore
  };
}

function assertTold({
  injected,
  refused,
  'no pod': none,
}: Readonly<Record<Outcome, number>>): void {
  const said = `${injected} injected, ${refused} refused, ${none} no pods`;
  assert.ok(injected > (injected + refused + none) / 2, said);
}

function withOther(pod: Pod, position: Position, deeds: readonly Deed[]): Pod {
  const { labels, annotations } = pod.metadata;
  const metadata = {
    ...pod.metadata,
    labels: { ...labels, [otherKeys.position]: position },
    annotations: { ...annotations, [otherKeys.does]: deeds.join(',') },
  };
  return { ...pod, metadata };
}

function labelled(pod: Pod): Pod {
  const labels = { ...pod.metadata.labels, 'chaperone.dev/inject': 'true' };
  return { ...pod, metadata: { ...pod.metadata, labels } };
}

function initContainersOf(body: Fields): readonly Fields[] {
  const { initContainers } = isObject(body['spec']) ? body['spec'] : {};
  return Array.isArray(initContainers) ? initContainers.filter(isObject) : [];
}

function uidOf(body: Fields): number | undefined {
  const pod = tryParsePod(body);
  const sidecar = pod?.spec.initContainers?.find(({ name }) => name === containerNames.sidecar);
  return sidecar?.securityContext?.runAsUser;
}

/** In order, but for what two webhooks have put beside each other. */
function assertSame(stored: Fields, expected: Fields, { metadata }: Pod): void {
  if (metadata.labels?.[otherKeys.position] === undefined) {
    assert.deepEqual(stored, expected);
    return;
  }
  const comparable = (pod: Fields): unknown => {
    const { annotations, ...others } = isObject(pod['metadata']) ? pod['metadata'] : {};
    const { 'kubectl.kubernetes.io/default-container': _which, ...rest } = isObject(annotations) ? annotations : {}; // prettier-ignore
    return sorted({ ...pod, metadata: { ...others, annotations: rest } });
  };
  assert.deepEqual(comparable(stored), comparable(expected));
}

/** What the documentation says is changed: patterns of paths, and what may happen there. */
const documented = Array.from(
  readFileSync(join(projectDirectory, 'docs/install.md'), 'utf8').matchAll(/^\| `(\S+)` +\| (added|changed|removed) /gm),
  ([, path = '', kind = '']) => ({
    pattern: new RegExp(`^${path.replaceAll(/[.[\]]/g, '\\$&').replaceAll('*', '[^\\]]*')}$`),
    kinds: kind === 'changed' ? ['added', 'changed', 'removed'] : [kind],
  }),
); // prettier-ignore

function assertDocumented(bare: KubeAnswer, held: KubeAnswer): void {
  assert.ok(documented.length > 0, 'nothing is documented');
  const unsaid = differences(settled(bare.body), settled(held.body)).filter(({ kind, path }) => {
    const place = path.replace(/^spec\.initContainers\[(?!chaperone)/, 'spec.containers[');
    return !documented.some(({ pattern, kinds }) => pattern.test(place) && kinds.includes(kind));
  });
  assert.deepEqual(unsaid, []);
}

interface Hook {
  readonly clientConfig: object;
  readonly namespaceSelector: { readonly matchExpressions: readonly object[] };
}

/** The chart's own, for the namespaces of this test and the process of this test. */
function ourHooks(rendered: Fields, url: string, authority: string): object {
  const hooks = rendered['webhooks'] as readonly Hook[]; // as the chart's templates have them
  const caBundle = Buffer.from(authority).toString('base64');
  return {
    ...rendered,
    metadata: { name: 'mutation-chaperone' },
    webhooks: hooks.map((hook) => ({
      ...hook,
      timeoutSeconds: 30, // a busy machine takes its time
      clientConfig: { url, caBundle },
      namespaceSelector: {
        matchExpressions: [
          ...hook.namespaceSelector.matchExpressions,
          { key: heldKey, operator: 'Exists' },
        ],
      },
    })),
  };
}

/** Webhooks that pods ask for by a label, with `again` such that are asked again when others have changed the pod since. */
function otherHooks(
  name: string,
  positions: readonly Position[],
  url: string,
  authority: string,
): object {
  return {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    metadata: { name },
    webhooks: positions.map((position) => ({
      name: `${position}.other.example`,
      admissionReviewVersions: ['v1'],
      clientConfig: { url, caBundle: Buffer.from(authority).toString('base64') },
      rules: [
        { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] },
      ],
      namespaceSelector: {
        matchExpressions: [
          { key: 'kubernetes.io/metadata.name', operator: 'In', values: Object.keys(places) },
        ],
      },
      objectSelector: { matchLabels: { [otherKeys.position]: position } },
      sideEffects: 'None',
      failurePolicy: 'Fail',
      reinvocationPolicy: position.endsWith('-again') ? 'IfNeeded' : 'Never',
      timeoutSeconds: 30,
    })),
  };
}
