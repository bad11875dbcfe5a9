import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { build } from 'esbuild';
import { Client } from 'pg';
import type { SessionSummary } from '#core/session-summary.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { dashboardFile } from '../../tools/dashboard.ts';
import { expandSql } from '../support/grafana-sql.ts';
import { cluster, withoutCluster, type Cluster } from '../support/cluster.ts';
import { readerOf, type Reader } from '../support/collector-in-cluster.ts';
import { failureOf } from '../support/failure-of.ts';
import { install, type Installed } from '../support/installed.ts';
import { openShop, type Shop } from '../support/shop-in-cluster.ts';
import { until } from '../support/until.ts';

/** An agent as people write them. */
const driverAgent = `
const { Client } = require('pg');
(async () => {
  const client = new Client();
  await client.connect();
  const { rows } = await client.query('SELECT $1::text AS answer', ['of the driver']);
  console.log(JSON.stringify(rows));
  await client.end();
})();`;

/** As much of a dashboard as is asked for. */
interface Dashboard {
  readonly panels: readonly {
    readonly title: string;
    readonly targets?: readonly { readonly rawSql: string }[];
  }[];
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly allValue?: string }[];
  };
}

/** The words of an error that is a refusal of ours; undefined for any other, such as of a pod that is away. */
function deniedBy(error: unknown): string | undefined {
  const said = String(error);
  return said.includes('denied by') ? said : undefined;
}

describe('the chart with its examples', { skip: withoutCluster, timeout: 900_000 }, () => {
  const stack = new AsyncDisposableStack();
  let running: Cluster;
  let installed: Installed;
  let reader: Reader;
  let image: string;
  let shop: Shop;

  const applyAll = async (items: readonly object[]): Promise<void> => {
    const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
    await running.kubectl(['apply', '--filename=-'], { input });
  };
  const sessionWith = (sql: string): Promise<SessionSummary> =>
    until(`a session with ${sql}`, async () => (await reader.sessions({ text: sql }))[0], 60_000);
  before(async () => {
    running = stack.use(await cluster());
    image = await running.workloads();
    installed = stack.use(await install(running));
    reader = await readerOf(installed);
    shop = stack.use(await openShop(running));
  });
  after(() => stack.disposeAsync());

  test('an agent asks its database with no password, and its manifest says nothing of Chaperone', async () => {
    const manifest = (await shop.kubectl('get', 'deployment/analyst', '--output=yaml')).replaceAll(image, 'IMAGE'); // prettier-ignore
    assert.doesNotMatch(manifest, new RegExp(`chaperone|${shop.password}|PGPASSWORD`, 'i'));
    const environment = await shop.exec('deployment/analyst', 'env');
    assert.doesNotMatch(environment, new RegExp(shop.password));
    assert.equal(await shop.psql("SELECT 6 * 7, 'first question'"), '42|first question\n');
  });

  test('what it asked is recorded with its pod, service account and namespace', async () => {
    await shop.psql("SELECT 1, 'recorded question'");
    const session = await sessionWith('recorded question');
    assert.equal(session.namespace, 'shop');
    assert.equal(session.pod, await shop.podOf('analyst'));
    assert.equal(session.user, 'system:serviceaccount:shop:analyst');
    assert.equal(session.backend, 'shop');
  });

  test('a DROP passes while the policy observes, and is refused in words once it enforces', async () => {
    await shop.psql('CREATE TABLE dropped (id int)');
    await shop.psql('DROP TABLE dropped');
    await shop.psql('CREATE TABLE kept (id int)');
    await shop.apply('policy-enforce');
    const said = await until('the policy is in force', () =>
      shop.psql('DROP TABLE IF EXISTS no_such_table').then(() => undefined, deniedBy)); // prettier-ignore
    assert.match(said, /denied by AuditPolicy\/shop\/analysts, rule no-drop .*analysts do not remove tables/); // prettier-ignore
    await failureOf(shop.psql('DROP TABLE kept'));
    assert.equal((await sessionWith('DROP TABLE kept')).denied, 1);
    assert.equal(await shop.psql('SELECT count(*) FROM kept'), '0\n');
  });

  test('an agent verifies the database by the name it dials, with what its container was given', async () => {
    const url = 'postgresql://analyst@shop-db/shop?sslmode=verify-full';
    const out = await shop.exec('deployment/analyst', 'psql', url, '-Atc', "SELECT 'verified'");
    assert.equal(out, 'verified\n');
  });

  test('nothing else is reached under a policy that denies unknown hosts', async () => {
    const elsewhere = (...command: readonly string[]): Promise<string> =>
      running.kubectl(['--namespace=shop-data', 'exec', 'deployment/shop-db', '--', ...command]);
    const name = 'kubernetes.default.svc.cluster.local';
    assert.match(await elsewhere('getent', 'hosts', name), new RegExp(name));
    assert.match(await failureOf(shop.exec('deployment/analyst', 'getent', 'hosts', name)), /exit code/); // prettier-ignore
    const address = await running.kubectl(['get', 'service', 'kubernetes', '--output=jsonpath={.spec.clusterIP}']); // prettier-ignore
    const dial = ['curl', '--silent', '--show-error', '--insecure', '--max-time', '10', `https://${address}/version`]; // prettier-ignore
    assert.match(await elsewhere(...dial), /gitVersion|Forbidden|Unauthorized/);
    assert.match(await failureOf(shop.exec('deployment/analyst', ...dial)), /curl: \(\d+\)/);
  });

  test('a changed credential is used by the next login, with no pod restarted', async () => {
    const before = await shop.kubectl('get', 'pods', '--selector=app=analyst', '--output=jsonpath={.items[*].metadata.uid}'); // prettier-ignore
    const database = ['--namespace=shop-data', 'exec', 'deployment/shop-db', '--'];
    const next = 'another-2b9e';
    await running.kubectl([...database, 'psql', '--host=127.0.0.1', '--username=shop', `postgresql://shop:${shop.password}@127.0.0.1/shop`, '--command', `ALTER ROLE shop PASSWORD '${next}'`]); // prettier-ignore
    const patch = JSON.stringify({ stringData: { password: next } });
    await running.kubectl(['--namespace=chaperone-credentials', 'patch', 'secret', 'shop-login', '--patch', patch]); // prettier-ignore
    await until('the login works again', () =>
      shop.psql('SELECT 1').then(
        () => true,
        () => false,
      ),
    );
    const now = await shop.kubectl('get', 'pods', '--selector=app=analyst', '--output=jsonpath={.items[*].metadata.uid}'); // prettier-ignore
    assert.equal(now, before);
    await running.kubectl([...database, 'psql', `postgresql://shop:${next}@127.0.0.1/shop`, '--command', `ALTER ROLE shop PASSWORD '${shop.password}'`]); // prettier-ignore
    await shop.apply('credential');
    await until('the login works again', () =>
      shop.psql('SELECT 1').then(
        () => true,
        () => false,
      ),
    );
  });

  test('an agent with a driver of its own works, and so does one with a parametrised query', async () => {
    const { outputFiles } = await build({
      stdin: { contents: driverAgent, resolveDir: projectDirectory },
      bundle: true,
      platform: 'node',
      format: 'cjs',
      external: ['pg-native'],
      write: false,
    });
    const program = outputFiles[0]?.text ?? assert.fail('no bundle');
    const metadata = { name: 'driver', namespace: 'shop' };
    await applyAll([
      { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'agent.cjs': program } },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata,
        spec: {
          restartPolicy: 'Never',
          serviceAccountName: 'analyst',
          containers: [
            {
              name: 'main',
              image: await running.image(),
              command: ['/usr/bin/node', '/agent/agent.cjs'],
              env: [
                { name: 'PGHOST', value: 'shop-db' },
                { name: 'PGUSER', value: 'analyst' },
                { name: 'PGDATABASE', value: 'shop' },
              ],
              volumeMounts: [{ name: 'agent', mountPath: '/agent' }],
            },
          ],
          volumes: [{ name: 'agent', configMap: { name: 'driver' } }],
        },
      },
    ]);
    await shop.kubectl(
      'wait',
      '--for=jsonpath={.status.phase}=Succeeded',
      'pod/driver',
      '--timeout=120s',
    );
    assert.equal(
      await shop.kubectl('logs', 'driver', '--container=main'),
      '[{"answer":"of the driver"}]\n',
    );
    assert.equal((await sessionWith('AS answer')).pod, 'driver');
  });

  test('an agent of a pod that is labelled logs in with its own password, and is recorded', async () => {
    await using labelled = await running.namespace('labelled');
    const consumer = [{ op: 'add', path: '/spec/consumers/-', value: { namespace: 'labelled' } }];
    await running.kubectl(['patch', 'backend', 'shop', '--type=json', `--patch=${JSON.stringify(consumer)}`]); // prettier-ignore
    const env = Object.entries({ PGHOST: 'shop-db', PGUSER: 'shop', PGDATABASE: 'shop', PGPASSWORD: shop.password }); // prettier-ignore
    await labelled.apply([
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'own', labels: { 'chaperone.dev/inject': 'true' } },
        spec: {
          securityContext: { runAsUser: 1000 },
          containers: [
            {
              name: 'main',
              image,
              command: ['sleep', 'infinity'],
              env: env.map(([name, value]) => ({ name, value })),
            },
          ],
        },
      },
    ]);
    await labelled.waitFor('pod/own', 'condition=Ready');
    const ask = (sql: string, ...more: readonly string[]): Promise<string> =>
      labelled.kubectl(['exec', 'own', '--', ...more, 'psql', '-AtX', '--command', sql]);
    assert.equal(await ask("SELECT 'own login'"), 'own login\n');
    const wrong = await failureOf(ask('SELECT 1', 'env', 'PGPASSWORD=wrong'));
    assert.match(wrong, /password authentication failed/);
    const session = await sessionWith('own login');
    assert.deepEqual([session.namespace, session.pod], ['labelled', 'own']);
  });

  test('an agent in explicit mode that is root leads its sidecar nowhere by the hosts file', async () => {
    const labels = { 'chaperone.dev/enforce': 'true', 'chaperone.dev/mode': 'explicit' };
    await using dialling = await running.namespace('dialling', labels);
    const consumer = [{ op: 'add', path: '/spec/consumers/-', value: { namespace: 'dialling' } }];
    await running.kubectl(['patch', 'backend', 'shop', '--type=json', `--patch=${JSON.stringify(consumer)}`]); // prettier-ignore
    const pod = (spec: object): object => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'root' },
      spec: { containers: [{ name: 'main', image, command: ['sleep', 'infinity'], securityContext: { runAsUser: 0 } }], ...spec }, // prettier-ignore
    });
    const alias = { ip: '127.0.0.1', hostnames: ['chaperone-collector.chaperone-system.svc'] };
    assert.match(await failureOf(dialling.apply([pod({ hostAliases: [alias] })])), /spec\.hostAliases names .*remove it/); // prettier-ignore
    await dialling.apply([pod({})]);
    await dialling.waitFor('pod/root', 'condition=Ready');
    const run = (command: string): Promise<string> =>
      dialling.kubectl(['exec', 'root', '--', 'sh', '-c', command]);
    await run('echo 127.0.0.1 shop-db.shop-data.svc.cluster.local >> /etc/hosts');
    assert.match(await run('getent hosts shop-db.shop-data.svc.cluster.local'), /^127\.0\.0\.1 /);
    const url = 'postgresql://analyst@127.0.0.1:15432/shop';
    assert.equal(await run(`psql ${url} -AtXc "SELECT 'by its own name'"`), 'by its own name\n');
    assert.equal((await sessionWith('by its own name')).pod, 'root');
  });

  test('each panel of the dashboard shows it, to a login that may see its namespace', async () => {
    await shop.psql('SELECT count(*) FROM generate_series(1, 3) AS id WHERE id <> 4711');
    const { id } = await sessionWith('id <> 4711');
    const read = (...args: readonly string[]): Promise<string> =>
      installed.system.kubectl(['get', ...args]);
    const url = new URL(Buffer.from(await read('secret/chaperone-database', '--output=jsonpath={.data.url}'), 'base64').toString()); // prettier-ignore
    url.hostname = await read('service/chaperone-postgres', '--output=jsonpath={.spec.clusterIP}');
    const owner = new Client({ connectionString: url.href });
    await owner.connect();
    await owner.query(`CREATE ROLE dashboards LOGIN PASSWORD '${shop.password}' IN ROLE chaperone_grafana`); // prettier-ignore
    await owner.query(`INSERT INTO grafana.access VALUES ('dashboards', 'shop')`);
    await owner.end();
    [url.username, url.password] = ['dashboards', shop.password];
    const grafana = new Client({ connectionString: url.href });
    await grafana.connect();
    try {
      const dashboard = JSON.parse(readFileSync(dashboardFile, 'utf8')) as Dashboard;
      const values = Object.fromEntries(dashboard.templating.list.map(({ name, allValue }) => [name, allValue === undefined ? '' : { all: allValue }])); // prettier-ignore
      const show = async (title: string): Promise<string> => {
        const panel = dashboard.panels.find((each) => each.title === title);
        const sql = panel?.targets?.[0]?.rawSql ?? assert.fail(title);
        const to = new Date(Date.now() + 60_000);
        const chosen = { from: new Date(to.getTime() - 3_600_000), to, intervalSeconds: 30, values: { ...values, session: id } }; // prettier-ignore
        return JSON.stringify((await grafana.query(expandSql(sql, chosen))).rows);
      };
      assert.match(await show('Sessions'), new RegExp(id));
      const timeline = await until('its statement is there without its constant', async () => {
        const shown = await show('Timeline');
        return shown.includes('id <> $3') ? shown : undefined;
      });
      assert.doesNotMatch(timeline, /4711/);
      for (const { title, targets } of dashboard.panels)
        if (targets) assert.notEqual(await show(title), '[]', title);
    } finally {
      await grafana.end();
    }
  });
});
