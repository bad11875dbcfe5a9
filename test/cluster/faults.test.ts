import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test, type TestContext } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { Authorities } from '../support/authorities.ts';
import { ownCluster, withoutCluster } from '../support/cluster.ts';
import { readerOf } from '../support/collector-in-cluster.ts';
import { Scene } from '../support/faults-scene.ts';
import { idleDeployment, idlePod, startPodChurn, startQuestions } from '../support/pod-churn.ts';
import { isWhole, scaled } from '../support/random.ts';
import { silenceApiServer } from '../support/silence.ts';
import { audit } from '../support/steady-audit.ts';
import { until } from '../support/until.ts';
import { isUp, up } from './cluster.ts';
import { pidOfContainer, signalContainer } from './containers.ts';
import { signal, tryFindPid } from './processes.ts';

const times = scaled(20);
/** Of what takes a minute and a half each time. */
const slowly = isWhole ? times : 1;
const quietly = (): void => undefined;

/** Processes of its containers, and its API server, are killed where they run. */
const skip = withoutCluster || (ownCluster ? false : "another cluster's processes are not here");

describe('a fault', { skip, timeout: 10_800_000 }, () => {
  const stack = new AsyncDisposableStack();
  let scene: Scene;

  before(async () => {
    scene = stack.use(await Scene.open());
  });
  after(() => stack.disposeAsync());

  /** Does damage of which no agent may notice anything, again and again, and audits to the last statement each time. */
  async function unnoticed(
    t: TestContext,
    damage: (round: number) => Promise<void>,
    rounds = times,
  ): Promise<void> {
    const disturbed = (): readonly object[] => scene.agents.map(({ name, lost, broken, unreached }) => ({ name, lost, broken, unreached })); // prettier-ignore
    for (let round = 0; round < rounds; round += 1) {
      await scene.more(5);
      const before = structuredClone(disturbed());
      await damage(round);
      await scene.more(20);
      t.diagnostic(JSON.stringify(await scene.audit()));
      const now = disturbed();
      // What its sidecar has logged is gone with the pod.
      if (!isDeepStrictEqual(now, before))
        for (const { name } of scene.agents)
          t.diagnostic((await scene.namespace.logs(name, 'chaperone').catch(String)).slice(-4_000));
      assert.deepEqual(now, before, 'an agent noticed it');
    }
  }

  /** Starts a pod of the agents' namespace to its end: it gets its sidecar, and that its policies. */
  async function podStarts(name: string): Promise<void> {
    const { namespace, image } = scene;
    await namespace.apply([idlePod(name, image)]);
    await namespace.waitFor(`pod/${name}`, 'condition=Ready');
    await namespace.kubectl(['delete', 'pod', name, '--wait=false']);
  }

  test(`a webhook's replica killed, ${times} times: pods are injected or refused, and all of a Deployment run in the end`, async (t) => {
    await unnoticed(t, async () => {
      const { namespace } = scene;
      const killed = await scene.freshPart('webhook');
      const questions = startQuestions(scene.core, namespace.name);
      await questions.more(5);
      scene.kill(killed);
      await namespace.apply([idleDeployment('workers', scene.image)]);
      await scene.wholeAgain('webhook', killed);
      await questions.more(5);
      const { asked, injected, refused, bare } = await questions.stop();
      t.diagnostic(JSON.stringify({ asked, injected, refused, bare }));
      assert.equal(bare, 0, 'pods without Chaperone');
      assert.equal(injected + refused, asked);
      await namespace.kubectl(['rollout', 'status', 'deployment/workers', '--timeout=120s']);
      const containers = await namespace.kubectl(['get', 'pods', '--selector=app=workers', '--output=jsonpath={range .items[*]}{.spec.initContainers[*].name}{"\\n"}{end}']); // prettier-ignore
      assert.deepEqual(containers.trim().split('\n'), Array(2).fill('chaperone chaperone-network')); // prettier-ignore
      await namespace.kubectl(['delete', 'deployment', 'workers']);
    });
  });

  test(`a controller's replica killed, ${times} times: sidecars go on, a change afterwards reaches all of them, new pods start`, async (t) => {
    await unnoticed(t, async (round) => {
      const killed = await scene.freshPart('controller');
      scene.kill(killed);
      await scene.orderAll();
      await podStarts(`after-controller-${round}`);
      await scene.wholeAgain('controller', killed);
    });
  });

  test(`a collector's replica killed, ${times} times: nothing is lost, nothing doubled`, async (t) => {
    await unnoticed(t, async () => {
      const killed = await scene.freshPart('collector');
      scene.kill(killed);
      await scene.more(20);
      await scene.wholeAgain('collector', killed);
    });
  });

  test(`the collector's database killed, ${times} times: nothing is lost, nothing doubled`, async (t) => {
    await unnoticed(t, async (round) => {
      const [database = assert.fail('there is none')] = await scene.parts('postgres');
      if (round === 0) {
        scene.kill(database);
        await scene.more(20);
        await scene.wholeAgain('postgres', database);
        return;
      }
      // The kubelet would let it wait ever longer: one of its processes crashes, and PostgreSQL begins anew.
      const pid = pidOfContainer(database.container);
      const killed = childOf(pid) ?? assert.fail('it has none');
      signal(killed, 'SIGKILL');
      await until('another has taken its place', () => (childOf(pid) ?? killed) !== killed);
      await scene.more(20);
    });
  });

  test(`a sidecar killed under traffic, ${times} times: its spool is shipped, its sessions say so, and the agent trusts the next TLS connection`, async (t) => {
    const reader = await readerOf(scene.installed);
    for (let round = 0; round < times; round += 1) {
      const agent = scene.agents[round] ?? (await scene.addAgent());
      await agent.more(10);
      const verified = agent.trusted.length;
      const lost = agent.lost.size;
      signalContainer(await agent.container('chaperone'), 'SIGKILL');
      await until(`${agent.name} has noticed`, () => agent.read().broken.size > 0);
      await agent.more(20);
      await until('it has verified again', () => agent.read().trusted.length > verified);
      assert.equal(new Set(agent.trusted).size, 1, 'it trusts what it trusted');
      const account = await audit(scene.places, agent);
      t.diagnostic(JSON.stringify(account));
      assert.ok(account.lost - lost <= 2, 'more than each connection had under way');
      assert.ok(account.killed >= agent.broken.size && account.killed <= 3, 'one for each that was open'); // prettier-ignore
      const ended = (await reader.sessions({ limit: '1000' })).filter(({ pod, endReason }) => pod === agent.name && endReason === 'sidecar-killed'); // prettier-ignore
      assert.equal(ended.length, account.killed);
      if (round >= 2) await scene.retire(agent);
    }
  });

  test(`the API server killed, ${times} times: sidecars go on, and changes afterwards arrive`, async (t) => {
    await unnoticed(t, async (round) => {
      signal(tryFindPid('apiserver') ?? assert.fail('there is none'), 'SIGKILL');
      await until('it has ended', () => !isUp());
      await scene.more(20);
      await up(quietly);
      await scene.orderAll(60_000);
      await podStarts(`after-api-server-${round}`);
    });
  });

  test(`connections of both controllers to the API server that fall silent, ${slowly} times: a change afterwards arrives`, async (t) => {
    await unnoticed(
      t,
      async () => {
        const controllers = await scene.parts('controller');
        using _ = silenceApiServer(controllers.map(({ container }) => pidOfContainer(container)));
        await scene.orderAll(120_000);
      },
      slowly,
    );
  });

  test(`all three authorities replaced while pods are created, ${slowly} times: none is refused, and no stream breaks for good`, async (t) => {
    const authorities = new Authorities(scene.installed.system);
    await unnoticed(
      t,
      async () => {
        const { core, namespace, image } = scene;
        const older = await scene.addAgent();
        await using churn = startPodChurn(namespace, image);
        const questions = startQuestions(core, namespace.name);
        await authorities.announce();
        await churn.more(1);
        await authorities.takeOver();
        await churn.more(1);
        await scene.orderAll();
        const { refused, bare } = await questions.stop();
        assert.deepEqual([refused, bare], [0, 0]);
        t.diagnostic(`${await churn.stop()} pods started`);
        // What it was injected with says nothing of the authorities that it meets now.
        signalContainer(await older.container('chaperone'), 'SIGKILL');
        await until('it has noticed', () => older.read().broken.size > 0);
        await older.more(20);
        await scene.orderAll();
        await scene.retire(older);
      },
      slowly,
    );
  });
});

/** The oldest process that a process has started and that still runs. */
function childOf(pid: number): number | undefined {
  const [first] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  return first === undefined || first === '' ? undefined : Number(first);
}
