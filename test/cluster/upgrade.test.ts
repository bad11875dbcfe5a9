import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { SessionSummary } from '#core/session-summary.ts';
import { cluster, ownCluster, withoutCluster, type Cluster } from '../support/cluster.ts';
import { readerOf, type Reader } from '../support/collector-in-cluster.ts';
import { install, type Installed } from '../support/installed.ts';
import { openShop, type Shop } from '../support/shop-in-cluster.ts';
import { until } from '../support/until.ts';
import { nameImage } from './cluster.ts';
import { memoryOfContainer } from './memory.ts';

/** Of this machine's cluster, which has none of its own. */
const storageClass = 'chaperone-upgrade';

/** A volume in a directory of the node, for a claim of that class. */
function volumeIn(directory: string): object {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: storageClass },
    spec: {
      capacity: { storage: '8Gi' },
      accessModes: ['ReadWriteOnce'],
      persistentVolumeReclaimPolicy: 'Retain',
      storageClassName: storageClass,
      local: { path: directory },
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: 'kubernetes.io/os', operator: 'In', values: ['linux'] }] },
          ],
        },
      },
    },
  };
}

describe('an installed release', { skip: withoutCluster, timeout: 600_000 }, () => {
  const stack = new AsyncDisposableStack();
  let running: Cluster;
  let installed: Installed;
  let reader: Reader;
  let shop: Shop;
  let image: string;

  const sessionWith = (text: string): Promise<SessionSummary> =>
    until(`a session with ${text}`, async () => (await reader.sessions({ text }))[0], 60_000);
  const imageOf = (pod: string): Promise<string> =>
    shop.kubectl('get', 'pod', pod, '--output=jsonpath={.spec.initContainers[?(@.name=="chaperone")].image}'); // prettier-ignore

  /** Where the records are to lie: a claim of the cluster's default class, or one of our own. */
  const storage = async (): Promise<readonly string[]> => {
    const kept = '--set=postgres.bundled.storage.ephemeral=false';
    if (!running.own) return [kept];
    const directory = mkdtempSync(join(tmpdir(), 'chaperone-volume-'));
    chmodSync(directory, 0o777);
    stack.defer(() => rmSync(directory, { recursive: true, force: true }));
    stack.defer(async () => {
      await running.kubectl(['delete', 'persistentvolume', storageClass, '--ignore-not-found', '--wait=false']); // prettier-ignore
    });
    await running.kubectl(['apply', '--filename=-'], {
      input: JSON.stringify(volumeIn(directory)),
    });
    return [kept, `--set=postgres.bundled.storage.class=${storageClass}`];
  };

  before(async () => {
    running = stack.use(await cluster());
    image = await running.image();
    installed = stack.use(await install(running, await storage()));
    reader = await readerOf(installed);
    shop = stack.use(await openShop(running));
  });
  after(() => stack.disposeAsync());

  // The kernel counts where the node is.
  if (ownCluster)
    test('has a sidecar that comes to rest below 80 MB', async () => {
      const pod = await shop.podOf('analyst');
      const read = (path: string): Promise<string> =>
        shop.kubectl('get', 'pod', pod, `--output=jsonpath=${path}`);
      const id = await read('{.status.initContainerStatuses[?(@.name=="chaperone")].containerID}');
      const uid = await read('{.metadata.uid}');
      let bytes = Infinity;
      const rests = (): boolean => (bytes = memoryOfContainer(uid, id)) < 80e6;
      await until('it rests', rests, 120_000).catch((error: unknown) => assert.fail(`${String(error)}: ${bytes} bytes`)); // prettier-ignore
    });

  test('keeps its records when its own database is moved', async () => {
    await shop.psql("SELECT 'before the move'");
    const { id } = await sessionWith('before the move');
    await installed.system.kubectl(['delete', 'pod', 'chaperone-postgres-0']);
    await installed.system.waitFor('pod/chaperone-postgres-0', 'create');
    await installed.system.waitFor('pod/chaperone-postgres-0', 'condition=Ready');
    const found = await until('the sessions are read again', () =>
      reader.sessions({ text: 'before the move' }).catch(() => undefined)); // prettier-ignore
    assert.deepEqual(found.map((session) => session.id), [id]); // prettier-ignore
    await shop.psql("SELECT 'after the move'");
    await sessionWith('after the move');
  });

  test('serves old pods and new ones after an upgrade, by the same authorities', async () => {
    const next = running.own ? image.replace(/:[^:]+$/, ':next') : image;
    if (running.own) nameImage(image, next);
    const [, tag = ''] = /:([^:]+)$/.exec(next) ?? [];
    const authorities = (): Promise<string> =>
      installed.system.kubectl(['get', 'configmap/chaperone-authorities', '--output=jsonpath={.data}']); // prettier-ignore
    const before = await authorities();
    const old = await shop.podOf('analyst');
    await shop.psql("SELECT 'before the upgrade'");
    await installed.upgrade([`--set=image.tag=${tag}`, `--set=acceptedImages={${image}}`]); // prettier-ignore
    assert.equal(await authorities(), before);

    await shop.apply('policy-enforce');
    const refused = await until('a policy of after the upgrade reaches the old pod', () =>
      shop.psql('DROP TABLE IF EXISTS no_such_table').then(() => undefined, (error: unknown) => /.*denied by.*/.exec(String(error))?.[0])); // prettier-ignore
    assert.match(refused, /rule no-drop/);
    await shop.kubectl('rollout', 'restart', 'deployment/analyst');
    await shop.kubectl('rollout', 'status', 'deployment/analyst', '--timeout=120s');
    await shop.kubectl('wait', '--for=delete', `pod/${old}`, '--timeout=60s');
    assert.equal(await imageOf(await shop.podOf('analyst')), next);
    await shop.psql("SELECT 'after the upgrade'");
    for (const text of ['before the upgrade', 'after the upgrade']) await sessionWith(text);
  });

  test('lets a node drain: the pods of agents go, and what they had open is on record as ended', async () => {
    const old = await shop.podOf('analyst');
    const node = await shop.kubectl('get', 'pod', old, '--output=jsonpath={.spec.nodeName}');
    const open = shop
      .psql("SELECT 'while it drains', pg_sleep(600)")
      .then(() => 'answered', String);
    await sessionWith('while it drains');
    try {
      await running.kubectl(['drain', node, '--pod-selector=app=analyst', '--ignore-daemonsets', '--delete-emptydir-data', '--timeout=90s']); // prettier-ignore
    } finally {
      await running.kubectl(['uncordon', node]);
    }
    assert.notEqual(await open, 'answered');
    await shop.kubectl('rollout', 'status', 'deployment/analyst', '--timeout=120s');
    const ended = await until('its session has ended', async () => {
      const [session] = await reader.sessions({ text: 'while it drains' });
      return session?.endedAt ? session : undefined;
    });
    assert.equal(ended.pod, old);
    await shop.psql("SELECT 'after the drain'");
    await sessionWith('after the drain');
  });
});
