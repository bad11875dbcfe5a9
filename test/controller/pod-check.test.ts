import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import jsonPatch from 'fast-json-patch';
import {
  checkInspected,
  checkPod,
  inspectPod,
  type Accepted,
  type Offered,
} from '../../controller/pod-check.ts';
import { injectPod } from '../../webhook/inject.ts';
import type { Pod } from '../../webhook/pod.ts';
import { injectOptions, plainPod, podFacts } from '../support/pods.ts';

const uid = 1_234_567_890;
const enforced = { 'chaperone.dev/enforce': 'true' };
const accepted: Offered & Accepted = {
  images: [injectOptions.image, 'registry.example/chaperone:earlier'],
  apiAudiences: podFacts.apiAudiences,
  controllerUrl: injectOptions.controller.url,
  collectorUrl: injectOptions.collector.url,
  addresses: {
    controller: [...injectOptions.controller.addresses, '10.96.0.99'],
    collector: injectOptions.collector.addresses,
  },
  isIssued: (server, pem) => pem === injectOptions[server].ca,
};

/** A pod as the webhook lets it in, changed by `change` afterwards. */
function injected(
  change: (pod: Changed) => void = () => undefined,
  pod = plainPod(),
  facts = podFacts,
  options = injectOptions,
): Pod {
  const injection = injectPod(pod, facts, options, { draw: () => uid, keeps: true });
  if (injection.kind === 'refused') assert.fail(JSON.stringify(injection.refusals));
  const document = structuredClone(pod);
  jsonPatch.applyPatch(document, structuredClone(injection.patch) as never, true);
  change(document as unknown as Changed); // a copy of the test's own
  return document;
}

interface ChangedContainer {
  name: string;
  image: string;
  command: string[];
  env: { name: string; value?: string }[];
  securityContext: Record<string, unknown>;
  resources: object;
}
interface Changed {
  spec: {
    containers: ChangedContainer[];
    initContainers: [ChangedContainer, ChangedContainer, ChangedContainer];
    volumes: object[];
    hostPID?: boolean;
    hostAliases?: object[];
  };
}

const variable = ({ env }: ChangedContainer, name: string): { value?: string } =>
  env.find((each) => each.name === name) ?? assert.fail(name);

function ofAgent({ spec }: Changed, field: string, value: unknown): void {
  for (const container of spec.containers) container.securityContext[field] = value;
}

/** What is done to a pod, and what the controller says of it. */
const refused: readonly (readonly [string, (pod: Changed) => void, RegExp])[] = [
  ['another image', ({ spec }) => void (spec.initContainers[0].image = 'mine'), /image mine/],
  ['another authority', ({ spec }) => void (variable(spec.initContainers[0], 'CHAPERONE_CONTROLLER_CA').value = 'MINE'), /authority/],
  ['another authority of the collector', ({ spec }) => void (variable(spec.initContainers[0], 'CHAPERONE_COLLECTOR_CA').value = 'MINE'), /authority/],
  ['another place to turn to', ({ spec }) => void (variable(spec.initContainers[0], 'CHAPERONE_CONTROLLER_URL').value = 'https://mine'), /initContainers\[chaperone\]/],
  ['addresses that are not ours', ({ spec }) => void (variable(spec.initContainers[0], 'CHAPERONE_CONTROLLER_ADDRESSES').value = '10.96.0.20,192.0.2.1'), /addresses/],
  ['another address of the collector', ({ spec }) => void (variable(spec.initContainers[0], 'CHAPERONE_COLLECTOR_ADDRESSES').value = '10.96.0.20'), /addresses/],
  ['no address of the collector', ({ spec }) => void (variable(spec.initContainers[0], 'CHAPERONE_COLLECTOR_ADDRESSES').value = ''), /addresses/],
  ['a hosts file about us', ({ spec }) => void (spec.hostAliases = [{ ip: '127.0.0.1', hostnames: ['chaperone-collector.chaperone-system.svc'] }]), /hostAliases/],
  ['another command', ({ spec }) => void spec.initContainers[0].command.push('--inspect'), /initContainers\[chaperone\]/],
  ['a variable more', ({ spec }) => void spec.initContainers[0].env.push({ name: 'NODE_OPTIONS', value: '--require=/x' }), /initContainers\[chaperone\]/],
  ['other rules of the network', ({ spec }) => void (spec.initContainers[1].command = ['/usr/sbin/nft', 'flush', 'ruleset']), /chaperone/],
  ['no proof', ({ spec }) => void spec.initContainers[1].command.splice(5, 1), /chaperone-network/],
  ['a container before ours', ({ spec }) => void spec.initContainers.unshift({ ...spec.containers[0], name: 'early' } as ChangedContainer), /initContainers/],
  ['processes of the host', ({ spec }) => void (spec.hostPID = true), /hostPID/],
  ['a privileged container', (pod) => ofAgent(pod, 'privileged', true), /privileged/],
  ['a container under the sidecar’s uid', (pod) => ofAgent(pod, 'runAsUser', uid), /sidecars/],
  ['a container that may gain privileges', (pod) => ofAgent(pod, 'allowPrivilegeEscalation', true), /securityContext/],
  ['a token of ours for the agent', ({ spec }) => void spec.volumes.push({ name: 'mine', projected: { sources: [{ serviceAccountToken: { audience: 'chaperone-controller', path: 'token' } }] } }), /chaperone-controller/],
  ['a token of the Kubernetes API for the agent', ({ spec }) => void spec.volumes.push({ name: 'mine', projected: { sources: [{ serviceAccountToken: { audience: 'k3s', path: 'token' } }] } }), /Kubernetes API/],
]; // prettier-ignore

describe('the check of a pod', () => {
  test('takes what the webhook injects, and goes by the labels of the namespace', () => {
    assert.deepEqual(checkPod(injected(), enforced, accepted), { kind: 'ours', attachment: 'Namespace' }); // prettier-ignore
    assert.deepEqual(checkPod(injected(), {}, accepted), { kind: 'ours', attachment: 'Pod' });
    const explicit = injected(undefined, plainPod(), { ...podFacts, mode: 'explicit' });
    const labels = { 'chaperone.dev/mode': 'explicit' };
    assert.deepEqual(checkPod(explicit, labels, accepted), { kind: 'ours', attachment: 'Explicit' }); // prettier-ignore
    assert.deepEqual(checkPod(explicit, enforced, accepted), { kind: 'ours', attachment: 'Pod' });
  });

  test('takes what an earlier release or other values have injected', () => {
    const earlier = injected(({ spec }) => {
      for (const own of spec.initContainers) own.image = 'registry.example/chaperone:earlier';
      spec.initContainers[0].resources = { requests: { cpu: '1', memory: '1Gi' }, limits: { cpu: '1', memory: '1Gi' } }; // prettier-ignore
      variable(spec.initContainers[0], 'CHAPERONE_LOG_LEVEL').value = 'debug';
    });
    assert.equal(checkPod(earlier, enforced, accepted).kind, 'ours');
  });

  test('takes capabilities in whatever order the values have them', () => {
    const allowedCapabilities = injectOptions.allowedCapabilities.toReversed();
    const pod = injected(undefined, plainPod(), podFacts, {
      ...injectOptions,
      allowedCapabilities,
    });
    assert.deepEqual(checkPod(pod, enforced, accepted), { kind: 'ours', attachment: 'Namespace' });
  });

  test('takes no pod without a sidecar', () => {
    assert.equal(checkPod(plainPod(), enforced, accepted).kind, 'other');
  });

  for (const [what, change, said] of refused) {
    test(`takes none with ${what}, and says so`, () => {
      const checked = checkPod(injected(change), enforced, accepted);
      assert.ok(checked.kind === 'other', 'it was taken');
      assert.match(checked.reason, said);
    });
  }

  test('keeps little of a pod, however long it is, to judge it by what is ours later', () => {
    const long = 'a'.repeat(1024 * 1024);
    const inspected = inspectPod(
      injected(({ spec }) => spec.containers[0]?.env.push({ name: 'LONG', value: long })),
      accepted,
    );
    assert.ok(JSON.stringify(inspected).length < 8 * 1024);
    assert.equal(checkInspected(inspected, enforced, accepted).kind, 'ours');
    const now = { ...accepted, isIssued: () => false };
    assert.equal(checkInspected(inspected, enforced, now).kind, 'other');
    const moved = { ...accepted, addresses: { ...accepted.addresses, collector: ['10.96.0.98'] } };
    assert.equal(checkInspected(inspected, enforced, moved).kind, 'other');
    for (const change of [
      ({ spec: { initContainers } }: Changed) => (initContainers[0].image = long),
      ({ spec: { initContainers } }: Changed) => (variable(initContainers[0], 'CHAPERONE_CONTROLLER_CA').value = long),
      ({ spec: { initContainers } }: Changed) => (variable(initContainers[0], 'CHAPERONE_COLLECTOR_ADDRESSES').value = ','.repeat(1024 * 1024)),
    ])
      assert.ok(JSON.stringify(inspectPod(injected(change), accepted)).length < 2 * 1024);
  }); // prettier-ignore
});
