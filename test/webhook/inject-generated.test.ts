import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import jsonPatch from 'fast-json-patch';
import { injectPod, type Injection } from '../../webhook/inject.ts';
import { containerNames, isOwnName, keys, uidRange } from '../../webhook/names.ts';
import type { PatchOperation } from '../../webhook/pod-patch.ts';
import { tryParsePod, type Container, type Pod } from '../../webhook/pod.ts';
import { asServed, injectOptions, podFacts, randomPod } from '../support/pods.ts';
import { Random, scaled } from '../support/random.ts';
import { realPod } from '../support/real-pods.ts';

const firstUid = { draw: () => uidRange.first, keeps: true };

function inject(pod: Pod, facts = podFacts): Injection & { kind: 'injected' } {
  const parsed = tryParsePod(pod);
  assert.ok(parsed, 'the pod can be read');
  const injection = injectPod(parsed, facts, injectOptions, firstUid);
  if (injection.kind === 'refused') assert.fail(JSON.stringify(injection.refusals));
  return injection;
}

/** Applies operations with another's implementation of RFC 6902, which checks each against what it is applied to. */
function apply(pod: Pod, patch: readonly PatchOperation[]): Pod {
  const document = structuredClone(pod);
  return jsonPatch.applyPatch(document, structuredClone(patch) as never, true).newDocument;
}

const allContainers = ({ spec }: Pod): Container[] => [
  ...spec.containers,
  ...(spec.initContainers ?? []),
];

/** Everything of a container that injecting does not concern. */
function untouched(container: Container): object {
  const { env: _env, volumeMounts: _mounts, securityContext, ...others } = container;
  const {
    capabilities: _some,
    allowPrivilegeEscalation: _may,
    ...security
  } = securityContext ?? {};
  return { ...others, security };
}

/** Where operations may be: what the documentation says is changed. */
const documented = [
  /^\/metadata\/(labels|annotations)(\/chaperone\.dev~1injected|\/kubectl\.kubernetes\.io~1default-container|\/cluster-autoscaler\.kubernetes\.io~1safe-to-evict-local-volumes)?$/,
  /^\/spec\/(containers|initContainers)\/\d+\/(env(\/-)?|volumeMounts|securityContext)$/,
  /^\/spec\/initContainers(\/\d+)?$/,
  /^\/spec\/volumes(\/(\d+|-))?$/,
  /^\/spec\/automountServiceAccountToken$/,
  /^\/spec\/resources$/,
];

describe('a generated pod', () => {
  const seeds = Array.from({ length: scaled(500) }, (_, seed) => seed);
  const each = (claim: (pod: Pod, random: Random) => void): void => {
    for (const seed of seeds) {
      const random = new Random(seed);
      try {
        claim(seed % 2 === 0 ? randomPod(random) : realPod(random, 'agent'), random);
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    }
  };

  test('is injected by operations that apply, each where the documentation says', () =>
    each((pod) => {
      const { patch } = inject(pod);
      const injected = apply(pod, patch);
      for (const { path } of patch)
        assert.ok(documented.some((pattern) => pattern.test(path)), path); // prettier-ignore
      assert.deepEqual(
        injected.spec.initContainers?.slice(0, 2).map(({ name }) => name),
        [containerNames.sidecar, containerNames.network],
      );
      const names = (injected.spec.volumes ?? []).map(({ name }) => name);
      assert.equal(new Set(names).size, names.length);
      for (const { volumeMounts = [], name } of allContainers(injected)) {
        for (const mount of volumeMounts) assert.ok(names.includes(mount.name), mount.name);
        const places = volumeMounts.map(({ mountPath }) => mountPath);
        assert.equal(new Set(places).size, places.length, name);
      }
    }));

  test('is injected once, also when the API server has filled in defaults in between', () =>
    each((pod) => {
      const injected = apply(pod, inject(pod).patch);
      const again = injectPod(injected, podFacts, injectOptions, {
        draw: () => uidRange.last,
        keeps: true,
      });
      assert.deepEqual(again.kind === 'injected' && [again.patch, again.uid], [[], uidRange.first]);
      assert.deepEqual(inject(asServed(injected)).patch, []);
      assert.deepEqual(inject(asServed(apply(asServed(pod), inject(asServed(pod)).patch))).patch, []); // prettier-ignore
    }));

  test('is injected anew with what plugins of the API server gave to our containers', () =>
    each((pod) => {
      const served = asServed(apply(pod, inject(pod).patch));
      const drawn = { draw: () => uidRange.last, keeps: false };
      const again = injectPod(served, podFacts, injectOptions, drawn);
      if (again.kind === 'refused') assert.fail(JSON.stringify(again.refusals));
      const [sidecar, network] = apply(served, again.patch).spec.initContainers ?? [];
      assert.match(JSON.stringify(network), new RegExp(`uid=${uidRange.last}`));
      const plugins = ({ resources, imagePullPolicy, resizePolicy }: Container): object => ({ resources, imagePullPolicy, resizePolicy }); // prettier-ignore
      assert.deepEqual(
        [sidecar, network].map((own) => own && plugins(own)),
        served.spec.initContainers?.slice(0, 2).map(plugins),
      );
    }));

  test('keeps its containers, but for variables, one mount, privileges and the token', () =>
    each((pod) => {
      const injected = apply(pod, inject(pod).patch);
      const after = allContainers(injected).filter(({ name }) => !isOwnName(name));
      assert.deepEqual(after.map(untouched), allContainers(pod).map(untouched));
      for (const [index, before] of allContainers(pod).entries()) {
        const { env = [], volumeMounts = [], securityContext } = after[index] ?? before;
        const own = before.env ?? [];
        assert.deepEqual(
          env.slice(0, own.length),
          own,
          'variables of its own come first, unchanged',
        );
        assert.equal(new Set(env.map(({ name }) => name)).size, env.length);
        const others = volumeMounts.filter(({ name }) => !isOwnName(name));
        const kept = (before.volumeMounts ?? []).filter(({ name }) => !name.startsWith('kube-api')); // prettier-ignore
        assert.deepEqual(others, kept);
        assert.equal(volumeMounts.length, others.length + 1);
        assert.equal(securityContext?.allowPrivilegeEscalation, false);
        assert.deepEqual(securityContext.capabilities?.drop, ['ALL']);
        for (const capability of securityContext.capabilities.add ?? [])
          assert.ok(injectOptions.allowedCapabilities.includes(capability), capability);
      }
    }));

  test('keeps its labels, annotations and volumes', () =>
    each((pod) => {
      const injected = apply(pod, inject(pod).patch);
      for (const map of ['labels', 'annotations'] as const)
        for (const [key, value] of Object.entries(pod.metadata[map] ?? {}))
          if (key !== keys.safeToEvict) assert.equal(injected.metadata[map]?.[key], value);
      const evictable = (of: Pod): string[] =>
        (of.metadata.annotations?.[keys.safeToEvict] ?? '').split(',').filter(Boolean);
      for (const name of evictable(pod)) assert.ok(evictable(injected).includes(name));
      const kept = (pod.spec.volumes ?? []).filter(({ name }) => !name.startsWith('kube-api'));
      assert.deepEqual((injected.spec.volumes ?? []).filter(({ name }) => !isOwnName(name)), kept); // prettier-ignore
    }));

  test('keeps its token for the Kubernetes API where a policy allows it', () =>
    each((pod) => {
      const injected = apply(pod, inject(pod, { ...podFacts, kubeApiToken: true }).patch);
      const tokens = (of: Pod): string[] =>
        allContainers(of)
          .filter(({ name }) => !isOwnName(name))
          .flatMap(({ volumeMounts = [] }) => volumeMounts.map(({ name }) => name))
          .filter((name) => name.startsWith('kube-api'));
      assert.deepEqual(tokens(injected), tokens(pod));
      assert.equal(injected.spec.automountServiceAccountToken, pod.spec.automountServiceAccountToken); // prettier-ignore
    }));

  test('that another webhook adds containers to has ours first again', () =>
    each((pod) => {
      const injected = apply(pod, inject(pod).patch);
      const readinessProbe = { tcpSocket: { port: 7 } };
      const changed = {
        ...injected,
        spec: {
          ...injected.spec,
          initContainers: [{ name: 'early' }, ...(injected.spec.initContainers ?? [])],
          containers: [...injected.spec.containers, { name: 'late', readinessProbe }],
        },
      };
      const { patch, uid } = inject(changed);
      const mended = apply(changed, patch);
      assert.equal(uid, uidRange.first);
      assert.deepEqual(
        mended.spec.initContainers?.slice(0, 3).map(({ name }) => name),
        [containerNames.sidecar, containerNames.network, 'early'],
      );
      assert.match(JSON.stringify(mended.spec.initContainers?.[1]), /open=\{ 7, |, 7, /);
      assert.deepEqual(inject(mended).patch, []);
    }));
});
