import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { startBackendServer, type BackendServer } from '../../support/backend-server.ts';
import { cluster, withoutCluster, type Cluster, type Namespace } from '../../support/cluster.ts';
import { PodCollector, writePodFiles, type PodFiles } from '../../support/pod-collector.ts';
import { StreamAuthor } from '../../support/stream-author.ts';
import { until } from '../../support/until.ts';

const name = 'col-identity';
const write = 'chaperone-collector';
const read = 'chaperone-read';

const rbac = 'rbac.authorization.k8s.io';
const role = (suffix: string, group: string, rules: Readonly<Record<string, string[]>>) => ({
  apiVersion: `${rbac}/v1`,
  kind: 'ClusterRole',
  metadata: { name: `${name}-${suffix}` },
  rules: Object.entries(rules).map(([resource, verbs]) => ({
    apiGroups: [group],
    resources: [resource],
    verbs,
  })),
});
const grant = (suffix: string, account: string) => ({
  apiVersion: `${rbac}/v1`,
  kind: 'ClusterRoleBinding',
  metadata: { name: `${name}-${account}-${suffix}` },
  roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: `${name}-${suffix}` },
  subjects: [{ kind: 'ServiceAccount', name: account, namespace: name }],
});

/** All that the collector's own service account may do. */
const collectorsRights = [
  role('tokens', 'authentication.k8s.io', { tokenreviews: ['create'] }),
  role('access', 'authorization.k8s.io', { subjectaccessreviews: ['create'] }),
  grant('tokens', 'collector'),
  grant('access', 'collector'),
];
const peoplesRights = [
  role('reader', 'chaperone.dev', { sessions: ['get'] }),
  role('eraser', 'chaperone.dev', { sessions: ['delete'] }),
  role('holder', 'chaperone.dev', { sessions: ['update'] }),
  grant('reader', 'reader'),
  grant('eraser', 'eraser'),
  grant('holder', 'holder'),
];
const ofCluster = [...collectorsRights, ...peoplesRights];

const account = (account: string) => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name: account },
});
/** It never runs: a token is bound to the object. */
const pod = (pod: string) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: pod },
  spec: {
    serviceAccountName: 'agent',
    nodeSelector: { nowhere: 'true' },
    containers: [{ name: 'app', image: 'app' }],
  },
});

const authorOf = (pod: string): StreamAuthor =>
  new StreamAuthor({ identity: { pod, namespace: name, serviceAccount: 'agent' } });

/** Leads to the API server until it is closed. */
async function startRelay(host: string, port: number) {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    const upstream = connect(port, host);
    for (const each of [socket, upstream]) {
      open.add(each);
      each.on('error', () => undefined).on('close', () => open.delete(each));
    }
    socket.pipe(upstream).pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port, // a TCP server's address is one
    [Symbol.dispose]: () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

describe('a collector in a cluster', { skip: withoutCluster }, () => {
  const stack = new AsyncDisposableStack();
  let kube: Cluster;
  let namespace: Namespace;
  let postgres: BackendServer;
  let files: PodFiles;
  let collector: PodCollector;
  let apiServer: Readonly<Record<string, unknown>>;

  const token = async (who: string, audience: string, boundTo?: string): Promise<string> => {
    const bound = boundTo === undefined ? [] : ['--bound-object-kind=Pod', `--bound-object-name=${boundTo}`]; // prettier-ignore
    const args = ['create', 'token', who, `--audience=${audience}`, ...bound];
    return (await namespace.kubectl(args)).trim();
  };
  const kubeconfig = (server: Readonly<Record<string, unknown>>, user: string): string =>
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'test', cluster: server }],
      users: [{ name: 'test', user: { token: user } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
      'current-context': 'test',
    });

  before(async () => {
    kube = stack.use(await cluster());
    namespace = stack.use(await kube.namespace(name));
    await namespace.apply([
      ...['agent', 'reader', 'eraser', 'holder', 'nobody', 'collector'].map(account),
      ...ofCluster,
      ...['agent-0', 'agent-1', 'agent-2'].map(pod),
    ]);
    stack.defer(async () => {
      const names = ofCluster.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
      await kube.kubectl(['delete', '--ignore-not-found', ...names]);
    });
    const view = await kube.kubectl(['config', 'view', '--raw', '--minify', '--output=json']);
    const { clusters } = JSON.parse(view) as { clusters: { cluster: Record<string, unknown> }[] };
    apiServer = clusters[0]?.cluster ?? {};
    const own = (await namespace.kubectl(['create', 'token', 'collector'])).trim();
    postgres = stack.use(await startBackendServer({ version: 18, tls: true }));
    files = stack.use(await writePodFiles(''));
    const ca = files.write('database.crt', postgres.ca ?? '');
    files.write('url', `postgres://postgres:${encodeURIComponent(postgres.password)}@127.0.0.1:${postgres.port}/postgres?sslmode=verify-full&sslrootcert=${ca}\n`); // prettier-ignore
    files.write('kubeconfig', kubeconfig(apiServer, own));
    collector = stack.use(await PodCollector.start(files, files.path('kubeconfig')));
  });
  after(() => stack.disposeAsync());

  test('takes records of a pod by its token, as those of that pod', async () => {
    const author = authorOf('agent-0');
    const answer = await collector.put(await token('agent', write, 'agent-0'), [author.start()]);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    const { body } = await collector.send('GET', `/v1/streams/${author.stream}`, await token('reader', read)); // prettier-ignore
    assert.deepEqual(
      [body['pod'], body['namespace'], body['serviceAccount']],
      ['agent-0', name, 'agent'],
    );
  });

  test('takes none into the stream of another pod of the same account', async () => {
    const author = authorOf('agent-0');
    const start = [author.start()];
    assert.equal((await collector.put(await token('agent', write, 'agent-0'), start)).status, 200);
    const answer = await collector.put(await token('agent', write, 'agent-1'), start);
    assert.deepEqual([answer.status, answer.title], [403, 'not-your-stream']);
  });

  test('takes records by no other token', async () => {
    const start = [authorOf('agent-0').start()];
    const bound = await token('agent', write, 'agent-0');
    const others = {
      'bound to no pod': await token('agent', write),
      'of readers': await token('reader', read),
      'for another server': await token('agent', 'chaperone-controller', 'agent-0'),
      'for the API server': (await namespace.kubectl(['create', 'token', 'agent'])).trim(),
      'with a signature that is none': `${bound.slice(0, bound.lastIndexOf('.'))}.AAAA`,
      'that is none': 'x',
      'that is empty': '',
    };
    for (const [which, other] of Object.entries(others)) {
      const answer = await collector.put(other, start);
      assert.deepEqual([answer.status, answer.title], [401, 'unauthorized'], which);
    }
  });

  test('lets people do what their verb on sessions says, and nothing else', async () => {
    const order = { who: 'somebody', why: 'a test' };
    const erasure = { ...order, session: '00000000-0000-4000-8000-000000000000' };
    const tries: [path: string, ask: (given: string) => ReturnType<PodCollector['send']>, right: string, done: number][] = [
      ['sessions', (given) => collector.send('GET', '/v1/sessions', given), 'reader', 200],
      ['erasures', (given) => collector.order('POST', '/v1/erasures', given, erasure), 'eraser', 404],
      ['legal-hold', (given) => collector.order('PUT', '/v1/legal-hold', given, { ...order, held: false }), 'holder', 200],
    ]; // prettier-ignore
    for (const who of ['reader', 'eraser', 'holder', 'nobody']) {
      const given = await token(who, read);
      for (const [path, ask, right, done] of tries) {
        const answer = await ask(given);
        const wanted = who === right ? done : 403;
        assert.equal(answer.status, wanted, `${who}: ${path}`);
        if (wanted === 403) assert.equal(answer.title, 'forbidden');
      }
    }
    const ofPod = await token('agent', write, 'agent-0');
    assert.equal((await collector.send('GET', '/v1/sessions', ofPod)).status, 401);
  });

  test('puts on record by name who reads and who orders', async () => {
    const author = authorOf('agent-0');
    const session = '00000000-0000-4000-8000-000000000001';
    await collector.put(await token('agent', write, 'agent-0'), [author.start(), ...author.session(['SELECT 1'], 'u', session)]); // prettier-ignore
    const reader = await token('reader', read);
    await collector.send('GET', `/v1/sessions/${session}/frames`, reader);
    const { body } = await collector.send('GET', '/v1/reads', reader);
    const who = `system:serviceaccount:${name}:reader`;
    const found = body['reads'] as { who: string; what: string }[];
    assert.equal(found.find(({ what }) => what.includes(session))?.who, who);
    const order = { session, who: 'privacy office', why: 'request 42' };
    const erased = await collector.order(
      'POST',
      '/v1/erasures',
      await token('eraser', read),
      order,
    );
    assert.equal(erased.status, 200);
    const { text } = await collector.send('GET', '/v1/ledger', reader);
    assert.ok(text.includes(`"who":"privacy office (system:serviceaccount:${name}:eraser)"`), text);
  });

  test('asks a right anew each time: one that is taken away is gone', async () => {
    const given = await token('reader', read);
    assert.equal((await collector.send('GET', '/v1/sessions', given)).status, 200);
    const binding = grant('reader', 'reader');
    await kube.kubectl(['delete', `${binding.kind}/${binding.metadata.name}`]);
    await until('the API server has heard', async () =>
      (await collector.send('GET', '/v1/sessions', given)).status === 403); // prettier-ignore
    await namespace.apply([binding]);
  });

  test('knows no token of a pod that is gone', async () => {
    const author = authorOf('agent-0');
    const given = await token('agent', write, 'agent-2');
    await namespace.kubectl(['delete', 'pod', 'agent-2', '--grace-period=0', '--force']);
    const answer = await collector.put(given, [author.start()]);
    assert.deepEqual([answer.status, answer.title], [401, 'unauthorized']);
  });

  test('lets nobody in while the API server is away, but whom it knows from just before', async () => {
    const server = new URL(String(apiServer['server']));
    using relay = await startRelay(server.hostname, Number(server.port));
    const through = { ...apiServer, server: `https://127.0.0.1:${relay.port}`, 'tls-server-name': server.hostname }; // prettier-ignore
    const own = (await namespace.kubectl(['create', 'token', 'collector'])).trim();
    const config = files.write('kubeconfig-relayed', kubeconfig(through, own));
    await using another = await PodCollector.start(files, config);
    const [known, unknown] = [await token('agent', write, 'agent-0'), await token('agent', write, 'agent-1')]; // prettier-ignore
    const author = authorOf('agent-0');
    assert.equal((await another.put(known, [author.start()])).status, 200);
    relay[Symbol.dispose]();
    assert.equal((await another.put(known, author.records(1))).status, 200);
    const answer = await another.put(unknown, [authorOf('agent-0').start()]);
    assert.deepEqual([answer.status, answer.title], [503, 'identity-unavailable']);
    const person = await another.send('GET', '/v1/sessions', await token('reader', read));
    assert.deepEqual([person.status, person.title], [503, 'identity-unavailable']);
    const said = another.lines.filter(({ msg }) => msg === 'the Kubernetes API does not answer');
    assert.equal(said.length, 1, 'said once');
    assert.ok(!JSON.stringify(another.lines).includes(unknown));
  });

  test('shows a new certificate as its files have one', async () => {
    const { serial } = await collector.send('GET', '/v1/sessions', '');
    await files.renew();
    await until('the new one is shown', async () =>
      (await collector.send('GET', '/v1/sessions', '')).serial !== serial); // prettier-ignore
  });

  test('logs in to its database as the file says by then', async () => {
    const ca = files.path('database.crt');
    const url = (password: string): string =>
      `postgres://store:${password}@127.0.0.1:${postgres.port}/postgres?sslmode=verify-full&sslrootcert=${ca}`;
    const admin = new Client({ host: postgres.directory, port: postgres.port, user: 'postgres', database: 'postgres' }); // prettier-ignore
    await admin.connect();
    await admin.query(`CREATE ROLE store SUPERUSER LOGIN PASSWORD 'first'`);
    files.write('url', url('first'));
    const drop = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'chaperone%'`;
    const users = `SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name LIKE 'chaperone%'`;
    const usedBy = async (user: string): Promise<void> => {
      await until(`${user} is logged in`, async () => {
        const { rows } = await admin.query<{ usename: string }>(users);
        return rows.length === 1 && rows[0]?.usename === user && (await collector.isReady());
      });
    };
    await admin.query(drop);
    await usedBy('store');
    await admin.query(`ALTER ROLE store PASSWORD 'second'`);
    await admin.query(drop);
    await until('it is not let in', async () => !(await collector.isReady()));
    files.write('url', 'no URL'); // as a file that is being written: what was there before is tried on
    files.write('url', url('second'));
    await usedBy('store');
    assert.ok(!JSON.stringify(collector.lines).includes('second'));
    await admin.end();
  });
});
