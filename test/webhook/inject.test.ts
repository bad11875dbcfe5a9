import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import jsonPatch from 'fast-json-patch';
import { injectPod, type PodFacts } from '../../webhook/inject.ts';
import { uidRange } from '../../webhook/names.ts';
import { networkProgram } from '../../webhook/own-parts.ts';
import { tryParsePod, type Container, type Pod } from '../../webhook/pod.ts';
import type { RefusalReason } from '../../webhook/refusals.ts';
import { asPod, injectOptions, plainPod, podFacts } from '../support/pods.ts';

type Fields = Record<string, unknown>;

const uid = 1_234_567_890;
const decide = (pod: Pod, facts: PodFacts = podFacts, options = injectOptions) =>
  injectPod(pod, facts, options, { draw: () => uid, keeps: true });

function injected(pod: Pod, facts: PodFacts = podFacts): { pod: Pod; warnings: readonly string[] } {
  const injection = decide(pod, facts);
  if (injection.kind === 'refused') assert.fail(JSON.stringify(injection.refusals));
  const document = structuredClone(pod);
  const result = jsonPatch.applyPatch(document, structuredClone(injection.patch) as never, true);
  return { pod: result.newDocument, warnings: injection.warnings };
}

function refusals(pod: Pod, facts: PodFacts = podFacts): [RefusalReason, string][] {
  const injection = decide(pod, facts);
  if (injection.kind === 'injected') assert.fail('it was injected');
  return injection.refusals.map(({ reason, message }) => [reason, message]);
}

/** Containers of ours, with what the tests change. */
interface OwnContainer {
  image: string;
  command: string[];
  env: object[];
  securityContext: { runAsUser: number };
  resources: { limits: Record<string, string> };
  args?: string[];
  lifecycle?: object;
  resizePolicy?: object[];
}
type OwnParts = [sidecar: OwnContainer, network: OwnContainer];
/** Where nft's own arguments begin. */
const nftAt = networkProgram.length;

const app = (fields: Fields = {}): Fields => ({ name: 'app', image: 'app', ...fields });
const withApp = (fields: Fields): Pod => plainPod({ containers: [app(fields)] });
const first = (containers: readonly Container[] | undefined): Container =>
  containers?.[0] ?? assert.fail('no container');

/** What each refusal is for, and what its message has to name. */
const refused: [RefusalReason, Pod, RegExp, Partial<PodFacts>?][] = [
  ['host-namespace', plainPod({ hostNetwork: true }), /spec\.hostNetwork.*remove it/],
  ['host-namespace', plainPod({ hostPID: true }), /spec\.hostPID/],
  ['host-namespace', plainPod({ hostIPC: true }), /spec\.hostIPC/],
  ['shared-processes', plainPod({ shareProcessNamespace: true }), /spec\.shareProcessNamespace/],
  ['user-namespace', plainPod({ hostUsers: false }), /spec\.hostUsers/],
  ['reserved-uid', plainPod({ securityContext: { runAsUser: uid } }), /spec\.securityContext/],
  ['reserved-uid', withApp({ securityContext: { runAsUser: uidRange.first } }), /spec\.containers\[app\]/],
  ['reserved-uid', plainPod({ initContainers: [app({ securityContext: { runAsUser: uidRange.last } })] }), /spec\.initContainers\[app\]/],
  ['privileged', withApp({ securityContext: { privileged: true } }), /\.privileged/],
  ['privileged', plainPod({ initContainers: [app({ securityContext: { privileged: true } })] }), /spec\.initContainers/],
  ['host-path', plainPod({ volumes: [{ name: 'v', hostPath: { path: '/' } }] }), /spec\.volumes\["v"\]/],
  ['host-alias', plainPod({ hostAliases: [{ ip: '::1', hostnames: ['x'] }, { ip: '127.0.0.1', hostnames: ['db', 'Chaperone-Collector.chaperone-system.SVC'] }] }), /spec\.hostAliases.*remove it/],
  ['host-alias', plainPod({ hostAliases: [{ ip: '127.0.0.1', hostnames: ['chaperone-controller.chaperone-system.svc.cluster.local'] }] }), /spec\.hostAliases/],
  ['probe-host', withApp({ readinessProbe: { httpGet: { port: 80, host: '169.254.169.254' } } }), /spec\.containers\[app\].*"169\.254\.169\.254".*exec/],
  ['probe-host', plainPod({ initContainers: [app({ lifecycle: { preStop: { tcpSocket: { port: 80, host: 'db' } } } })] }), /spec\.initContainers\[app\]/],
  ['service-mesh', plainPod({ containers: [app(), app({ name: 'istio-proxy' })] }), /Istio/],
  ['service-mesh', plainPod({ initContainers: [app({ name: 'linkerd-init' })] }), /Linkerd/],
  ['runtime-class', plainPod({ runtimeClassName: 'sandboxed' }), /"sandboxed" is gVisor/, { runtimeHandler: 'runsc' }],
  ['windows', plainPod({ os: { name: 'windows' } }), /Windows/],
  ['windows', plainPod({ nodeSelector: { 'kubernetes.io/os': 'windows' } }), /Windows/],
  ['static-pod', plainPod({}, { annotations: { 'kubernetes.io/config.mirror': 'x' } }), /static pod/],
  ['reserved-token', plainPod({ volumes: [tokenVolume('t', 'chaperone-collector')] }), /"chaperone-collector"/],
  ['reserved-token', plainPod({ volumes: [tokenVolume('kube-api-access-1', 'chaperone-controller')] }), /"chaperone-controller"/],
  ['kube-api-token', plainPod({ volumes: [tokenVolume('t', undefined)] }), /ClusterAuditPolicy/],
  ['kube-api-token', plainPod({ volumes: [tokenVolume('t', '')] }), /ClusterAuditPolicy/],
  ['kube-api-token', plainPod({ volumes: [tokenVolume('t', 'https://kubernetes.default.svc')] }), /audience of somebody else/],
  ['kube-api-token', plainPod({ volumes: [tokenVolume('t', 'k3s')] }), /audience of somebody else/],
  ['too-many-ports', plainPod(), /257 ports/, { inboundPorts: Array.from({ length: 256 }, (_, index) => index + 1) }],
  ['name-taken', plainPod({ containers: [app(), app({ name: 'chaperone' })] }), /spec\.containers\[chaperone\]/],
  ['name-taken', plainPod({ initContainers: [app({ name: 'chaperone-anything' })] }), /\[chaperone-anything\].*rename/],
  ['name-taken', plainPod({ volumes: [{ name: 'chaperone-trust', emptyDir: {} }] }), /spec\.volumes\[chaperone-trust\]/],
  ['name-taken', withApp({ volumeMounts: [{ name: 'chaperone-spool', mountPath: '/x' }] }), /"chaperone-spool"/],
  ['name-taken', withApp({ volumeMounts: [{ name: 'chaperone-trust', mountPath: '/run/chaperone/trust' }] }), /"chaperone-trust"/],
  ['name-taken', withApp({ volumeMounts: [{ name: 'v', mountPath: '/run/chaperone/trust/' }] }), /mount it elsewhere/],
]; // prettier-ignore

function tokenVolume(name: string, audience: string | undefined): Fields {
  const serviceAccountToken = { path: 'token', ...(audience !== undefined && { audience }) };
  return { name, projected: { sources: [{ secret: { name: 's' } }, { serviceAccountToken }] } };
}

describe('a pod is refused', () => {
  for (const [index, [reason, pod, says, facts]] of refused.entries())
    test(`for ${reason}, with what to change (${index})`, () => {
      const found = refusals(pod, { ...podFacts, ...facts });
      assert.deepEqual(found.map(([why]) => why), [reason]); // prettier-ignore
      assert.match(found[0]?.[1] ?? '', says);
      assert.ok((found[0]?.[1] ?? '').split('\n').length === 1, 'one line');
    });

  test('for all reasons at once', () => {
    const pod = plainPod({ hostNetwork: true, hostUsers: false, containers: [app({ securityContext: { privileged: true } })] }); // prettier-ignore
    assert.equal(refusals(pod).length, 3);
  });

  test('where another put something into one of our containers', () => {
    const changes: ((parts: OwnParts) => void)[] = [
      ([sidecar]) => sidecar.env.push({ name: 'NODE_OPTIONS', value: '-r x' }),
      ([sidecar]) => (sidecar.image = 'other'),
      ([, network]) => (network.securityContext.runAsUser = 0),
      ([sidecar]) => (sidecar.securityContext.runAsUser = uid + 1),
      ([, network]) => (network.command[nftAt + 1] = `uid=${uid + 1}`),
      ([, network]) => network.command.push('-f', '/tmp/other'),
      ([, network]) => (network.command[nftAt + 3] = 'open={ 1-65535 }'),
      ([, network]) => (network.args = ['--skip']),
      ([, network]) => (network.lifecycle = {}),
      (parts) => (parts as unknown[]).splice(1, 1),
      (parts) => (parts as unknown[]).splice(0, 1),
      ([sidecar]) => (sidecar.resizePolicy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }]),
      ([sidecar]) => (sidecar.resources.limits['memory'] = '1Mi'),
    ]; // prettier-ignore
    for (const [index, change] of changes.entries()) {
      const { pod } = injected(plainPod());
      change(pod.spec.initContainers as unknown as OwnParts);
      assert.deepEqual([...new Set(refusals(pod).map(([reason]) => reason))], ['name-taken'], `${index}`); // prettier-ignore
    }
  });

  test('where one of our volumes holds something else', () => {
    const { pod } = injected(plainPod());
    const volumes = pod.spec.volumes?.map((volume) =>
      volume.name === 'chaperone-memory' ? { name: volume.name, emptyDir: {} } : volume,
    );
    const changed = asPod({ ...pod, spec: { ...pod.spec, volumes } });
    assert.match(refusals(changed)[0]?.[1] ?? '', /spec\.volumes\[chaperone-memory\]/);
  });

  test('that opens no port to the whole world by naming it in containers of ours', () => {
    const { pod } = injected(plainPod());
    const [, network] = pod.spec.initContainers as unknown as OwnParts;
    network.command[nftAt + 3] = 'open={ 22, 15490 }';
    assert.match(JSON.stringify(injected(pod).pod.spec.initContainers?.[1]), /open=\{ 15490 \}/);
  });
});

describe('a pod that is injected', () => {
  test('has the sidecar, and after it what leads to it and proves that', () => {
    const [sidecar, network, own] = (injected(plainPod({ initContainers: [app()] })).pod.spec
      .initContainers ?? []) as unknown as Fields[];
    assert.deepEqual(
      [sidecar, network, own].map((one) => [one?.['name'], one?.['restartPolicy']]),
      [['chaperone', 'Always'], ['chaperone-network', undefined], ['app', undefined]],
    ); // prettier-ignore
    assert.deepEqual(network?.['command'], [...networkProgram, '-D', `uid=${uid}`, '-D', 'open={ 15490 }', '-f', '/chaperone/rules.nft']); // prettier-ignore
    const security = [sidecar, network].map((one) => one?.['securityContext'] as Fields);
    assert.deepEqual(security.map((one) => [one['runAsUser'] === uid, (one['capabilities'] as Fields)['add']]),
      [[true, undefined], [false, ['NET_ADMIN']]]); // prettier-ignore
    for (const one of security) {
      const { runAsNonRoot, allowPrivilegeEscalation, readOnlyRootFilesystem, seccompProfile } =
        one;
      assert.deepEqual(
        { runAsNonRoot, allowPrivilegeEscalation, readOnlyRootFilesystem, seccompProfile },
        { runAsNonRoot: true, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, seccompProfile: { type: 'RuntimeDefault' } },
      ); // prettier-ignore
    }
    const probes = ['startupProbe', 'readinessProbe', 'livenessProbe'].filter(
      (probe) => sidecar?.[probe],
    );
    assert.deepEqual(probes, ['readinessProbe', 'livenessProbe']);
  });

  test('gives tokens, spool and memory to the sidecar alone', () => {
    const { pod } = injected(plainPod({ initContainers: [app({ name: 'init' })] }));
    const mounting = (volume: string): string[] =>
      [...(pod.spec.initContainers ?? []), ...pod.spec.containers]
        .filter(({ volumeMounts = [] }) => volumeMounts.some(({ name }) => name === volume))
        .map(({ name }) => name);
    for (const volume of ['chaperone-tokens', 'chaperone-spool', 'chaperone-memory'])
      assert.deepEqual(mounting(volume), ['chaperone'], volume);
    assert.deepEqual(mounting('chaperone-trust'), ['chaperone', 'init', 'app']);
    assert.deepEqual(mounting('chaperone-no-token'), ['chaperone', 'chaperone-network']); // prettier-ignore
  });

  test('keeps a variable that is set, and says so', () => {
    const env = [{ name: 'NODE_EXTRA_CA_CERTS', value: '/mine' }];
    const { pod, warnings } = injected(withApp({ env }));
    const names = first(pod.spec.containers).env?.map(({ name }) => name) ?? [];
    assert.equal(first(pod.spec.containers).env?.[0]?.value, '/mine');
    assert.equal(names.length, injectOptions.trustVariables.length);
    assert.match(warnings.join('\n'), /^container app keeps its own NODE_EXTRA_CA_CERTS: /);
  });

  test('keeps the harmless capabilities that it has or asks for, and no other', () => {
    const cases: [given: Fields | undefined, kept: readonly string[] | undefined, lost?: RegExp][] = [
      [undefined, injectOptions.allowedCapabilities],
      [{ drop: ['ALL'] }, undefined],
      [{ drop: ['all'], add: ['NET_BIND_SERVICE'] }, ['NET_BIND_SERVICE']],
      [{ drop: ['CAP_CHOWN', 'KILL'] }, ['DAC_OVERRIDE', 'FOWNER', 'FSETID', 'NET_BIND_SERVICE']],
      [{ drop: ['ALL'], add: ['SYS_PTRACE', 'CAP_CHOWN'] }, ['CHOWN'], /SYS_PTRACE$/],
      [{ drop: ['ALL'], add: ['ALL'] }, injectOptions.allowedCapabilities, /ALL$/],
    ]; // prettier-ignore
    for (const [capabilities, kept, lost] of cases) {
      const security = capabilities && { securityContext: { capabilities } };
      const { pod, warnings } = injected(withApp({ ...security }));
      assert.deepEqual(first(pod.spec.containers).securityContext?.capabilities?.add, kept);
      if (lost) assert.match(warnings.join('\n'), lost);
      else assert.deepEqual(warnings, []);
    }
  });

  test('opens the ports of its probes, by number and by name, and those of policies', () => {
    const ports = [{ name: 'web', containerPort: 8080 }];
    const pod = plainPod({
      containers: [
        app({ ports, readinessProbe: { httpGet: { port: 'web' } }, lifecycle: { preStop: { httpGet: { port: 81 } } } }),
        app({ name: 'b', startupProbe: { grpc: { port: 9 } }, livenessProbe: { tcpSocket: { port: 'web' } } }),
      ],
    }); // prettier-ignore
    const { pod: result } = injected(pod, { ...podFacts, inboundPorts: [9, 7000] });
    assert.match(JSON.stringify(result.spec.initContainers?.[1]), /open=\{ 9, 81, 7000, 8080, 15490 \}/); // prettier-ignore
  });

  test('in explicit mode has the sidecar alone, under gVisor too', () => {
    const facts: PodFacts = { ...podFacts, mode: 'explicit', runtimeHandler: 'runsc' };
    const { pod } = injected(plainPod({ runtimeClassName: 'gvisor' }), facts);
    assert.deepEqual(pod.spec.initContainers?.map(({ name }) => name), ['chaperone']); // prettier-ignore
    assert.match(JSON.stringify(pod.spec.initContainers[0]?.startupProbe), /readyz/);
    const again = decide(pod, facts);
    assert.deepEqual(again.kind === 'injected' && again.patch, []);
    assert.equal(refusals(pod, podFacts)[0]?.[0], 'name-taken', 'a sidecar that is led to nothing');
  });

  test('loses its token for the Kubernetes API, and is told', () => {
    const name = 'kube-api-access-abcde';
    const mount = {
      name,
      mountPath: '/var/run/secrets/kubernetes.io/serviceaccount',
      readOnly: true,
    };
    const given = plainPod({
      containers: [app({ volumeMounts: [mount] })],
      volumes: [{ name: 'a', emptyDir: {} }, tokenVolume(name, undefined), { name: 'b', emptyDir: {} }],
    }); // prettier-ignore
    const { pod, warnings } = injected(given);
    assert.equal(pod.spec.automountServiceAccountToken, false);
    assert.deepEqual(pod.spec.volumes?.slice(0, 2).map((volume) => volume.name), ['a', 'b']); // prettier-ignore
    assert.doesNotMatch(JSON.stringify(pod), /kube-api-access/);
    assert.match(warnings.join('\n'), /no token for the Kubernetes API/);
  });

  test('is told that it leaves its sidecar little time to end', () => {
    const of = (terminationGracePeriodSeconds: number): string =>
      injected(plainPod({ terminationGracePeriodSeconds })).warnings.join();
    assert.match(of(4), /^of 4 s of terminationGracePeriodSeconds the sidecar gets what/);
    assert.match(of(16), /^of 16 s /);
    assert.equal(of(17), '');
    assert.equal(injected(plainPod()).warnings.join(), '');
  });

  test('gets another uid than one that its author wrote into it', () => {
    const { pod } = injected(plainPod({ initContainers: [app()] }));
    const draws = { draw: () => uid + 1, keeps: false };
    const again = injectPod(pod, podFacts, injectOptions, draws);
    if (again.kind === 'refused') assert.fail();
    const changed = jsonPatch.applyPatch(pod, structuredClone(again.patch) as never, true);
    assert.deepEqual(
      changed.newDocument,
      JSON.parse(JSON.stringify(pod).replaceAll(String(uid), String(uid + 1))),
    );
  });

  test('has only a label that shows it, whatever its author says in labels', () => {
    const labels = { 'chaperone.dev/inject': 'false', 'chaperone.dev/enforce': 'false' };
    const { pod } = injected(plainPod({}, { labels }));
    assert.deepEqual(pod.metadata.labels, { ...labels, 'chaperone.dev/injected': 'true' });
  });
});

describe('what is no pod', () => {
  const wrong: unknown[] = [
    undefined, null, 'pod', [], {}, { metadata: {} }, { metadata: {}, spec: { containers: [] } },
    { metadata: {}, spec: { containers: [{}] } }, { metadata: {}, spec: { containers: { name: 'x' } } },
    { metadata: { labels: [] }, spec: { containers: [{ name: 'x' }] } },
    { metadata: { labels: { a: 1 } }, spec: { containers: [{ name: 'x' }] } },
    { metadata: {}, spec: { containers: [{ name: 'x', env: [{ value: 'y' }] }] } },
    { metadata: {}, spec: { containers: [{ name: 'x', securityContext: { runAsUser: '0' } }] } },
    { metadata: {}, spec: { containers: [{ name: 'x' }], hostNetwork: 'true' } },
    { metadata: {}, spec: { containers: [{ name: 'x' }], volumes: [null] } },
  ]; // prettier-ignore
  test('is not read as one', () => {
    for (const value of wrong) assert.equal(tryParsePod(value), undefined, JSON.stringify(value));
  });

  test('reads null as a field that is not there', () => {
    const pod = tryParsePod({ metadata: { labels: null }, spec: { containers: [{ name: 'x', env: null }], volumes: null } }); // prettier-ignore
    assert.deepEqual(pod, { metadata: {}, spec: { containers: [{ name: 'x' }] } });
  });
});
