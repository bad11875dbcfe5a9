import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { readConditions, type Condition } from '../../../controller/status/conditions.ts';
import { cluster, withoutCluster, type Cluster, type Namespace } from '../../support/cluster.ts';
import { makeControllerPlace, type Controller, type ControllerPlace } from '../../support/controllers.ts'; // prettier-ignore
import { makePods, type FollowingPod } from '../../support/following-pod.ts';
import { until } from '../../support/until.ts';

const apiVersion = 'chaperone.dev/v1alpha1';

describe('the status of resources', { skip: withoutCluster, timeout: 180_000 }, () => {
  const stack = new AsyncDisposableStack();
  let running: Cluster;
  let agents: Namespace;
  let place: ControllerPlace;
  let controllers: readonly [Controller, Controller];
  let pods: readonly FollowingPod[];

  const policy = (rows: number): object => ({
    apiVersion,
    kind: 'AuditPolicy',
    metadata: { name: 'agents', namespace: agents.name },
    spec: { podSelector: { matchLabels: { app: 'agent' } }, mode: 'Observe', limits: { rowsPerHour: rows } }, // prettier-ignore
  });
  const backend = (): object => ({
    apiVersion,
    kind: 'Backend',
    metadata: { name: 'status-shop' },
    spec: {
      protocol: 'Postgres',
      hosts: ['status-shop'],
      ports: [5432],
      upstream: { address: 'db.example:5432', tls: { mode: 'Disable' } },
      consumers: [{ namespace: agents.name }],
      credential: { type: 'Password', secretRef: { name: 'status-login' } },
    },
  });
  const secret = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'status-login', annotations: { 'chaperone.dev/hosts': 'db.example' } },
    stringData: { username: 'u', password: 'p' },
  };
  /** Conditions of a resource, when one of them says so. */
  const saying = (resource: string, said: RegExp): Promise<readonly Condition[]> =>
    until(
      `${resource} says ${said.source}`,
      async () => {
        const text = await agents.kubectl(['get', resource, '--output=json']);
        const conditions = readConditions(JSON.parse(text) as Record<string, unknown>); // of the API
        const lines = conditions.map(({ type, status, reason, message }) => `${type} ${status} ${reason} ${message}`); // prettier-ignore
        return lines.some((line) => said.test(line)) ? conditions : undefined;
      },
      45_000,
    );
  const leader = async (): Promise<Controller | undefined> => {
    const holder = await place.own.kubectl(['get', 'lease', 'chaperone-controller', '--output=jsonpath={.spec.holderIdentity}']); // prettier-ignore
    return controllers.find(({ name }) => holder.startsWith(`${name}_`));
  };

  before(async () => {
    running = stack.use(await cluster());
    stack.use(await running.definitions());
    place = stack.use(await makeControllerPlace(running, 'status-test'));
    agents = stack.use(
      await running.namespace('status-agents', { 'chaperone.dev/enforce': 'true' }),
    );
    stack.defer(() => running.kubectl(['delete', 'backend', 'status-shop', '--ignore-not-found']).then(() => undefined)); // prettier-ignore
    const [one, two] = await Promise.all([place.start('one'), place.start('two')]);
    controllers = [stack.use(one), stack.use(two)];
    pods = await makePods(place, agents, ['agent-0', 'agent-1', 'agent-2']);
    for (const pod of pods) stack.use(pod);
    await Promise.all(pods.map((pod, index) => pod.follow(index < 2 ? one : two)));
  });
  after(() => stack.disposeAsync());

  test('adds up what sidecars of both replicas have, and kubectl can wait for it', async () => {
    await agents.apply([policy(1_000)]);
    const wait = ['wait', '--for=condition=Programmed', 'auditpolicy/agents', '--timeout=30s'];
    assert.match(await agents.kubectl(wait), /condition met/);
    const conditions = await saying('auditpolicy/agents', /^Programmed True Programmed 3 of 3 sidecars have generation 1$/); // prettier-ignore
    assert.deepEqual(
      conditions.map(({ type, status, observedGeneration }) => [type, status, observedGeneration]),
      [['Accepted', 'True', 1], ['ResolvedRefs', 'True', 1], ['Programmed', 'True', 1]],
    ); // prettier-ignore
    const columns = await agents.kubectl(['get', 'auditpolicy', 'agents']);
    assert.match(columns, /ACCEPTED +RESOLVEDREFS +PROGRAMMED[\s\S]*True +True +True/);
  });

  test('says how many refuse a change, and why', async () => {
    const [first] = pods;
    if (!first) assert.fail('there are no pods');
    first.accepts = false;
    await agents.apply([policy(2_000)]);
    const said =
      /^Programmed False Refused 2 of 3 sidecars have generation 2; 1 refused it \(spec: not for me\)$/;
    const conditions = await saying('auditpolicy/agents', said);
    assert.equal(conditions.find(({ type }) => type === 'Accepted')?.status, 'True');
    first.accepts = true;
  });

  test('goes on under another leader when the one that wrote it is killed, and says what a Backend lacks', async () => {
    const killed = (await leader()) ?? assert.fail('nobody leads');
    const other = controllers.find((each) => each !== killed) ?? assert.fail('there is one alone');
    await killed.kill();
    await Promise.all(pods.map((pod) => pod.follow(other)));
    await agents.apply([policy(3_000), backend()]);
    await saying('backend/status-shop', /^ResolvedRefs False SecretNotFound there is no Secret status-login/); // prettier-ignore
    await saying('backend/status-shop', /^Programmed False HeldBack 0 of 3 sidecars have generation 1; 3 keep what they had because of Backend\/status-shop$/); // prettier-ignore
    await place.credentials.apply([secret]);
    const conditions = await saying('backend/status-shop', /^Programmed True Programmed 3 of 3 sidecars have generation 1$/); // prettier-ignore
    assert.deepEqual(conditions.map(({ status }) => status), ['True', 'True', 'True']); // prettier-ignore
    await saying('auditpolicy/agents', /^Programmed True Programmed 3 of 3 sidecars have generation 3$/); // prettier-ignore
    assert.equal(await leader(), other);
  });

  test('is written with the rights that the chart gives', () => {
    const lines = controllers.flatMap(({ log }) => log);
    assert.ok(lines.some((line) => line.includes('"ready"')));
    assert.deepEqual(lines.filter((line) => /cannot be kept|cannot be told|a watch was lost|status 403/.test(line)), []); // prettier-ignore
  });
});
