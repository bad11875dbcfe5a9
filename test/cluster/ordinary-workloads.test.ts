import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { cluster, withoutCluster, type Cluster, type Namespace } from '../support/cluster.ts';
import { readerOf, type Reader } from '../support/collector-in-cluster.ts';
import { install } from '../support/installed.ts';
import { until } from '../support/until.ts';

/** Looks for `word` in what a container said; it says the same again and again. */
const every = (command: string): readonly string[] => [
  'sh',
  '-c',
  `while true; do ${command}; sleep 1; done`,
];

interface Workload {
  readonly kind: 'Deployment' | 'StatefulSet' | 'Job';
  readonly name: string;
  readonly spec: object;
}

/** A pod's containers, which ask for as little as those of a namespace that nobody has looked after. */
function workload({ kind, name, spec }: Workload): object {
  const template = { metadata: { labels: { app: name } }, spec };
  const selector = { matchLabels: { app: name } };
  if (kind === 'Job')
    return {
      apiVersion: 'batch/v1',
      kind,
      metadata: { name },
      spec: { backoffLimit: 0, template },
    };
  const own = kind === 'StatefulSet' ? { serviceName: name } : {};
  return { apiVersion: 'apps/v1', kind, metadata: { name }, spec: { replicas: 1, selector, template, ...own } }; // prettier-ignore
}

/** Serves HTTPS and HTTP, and a database, outside of the namespace: what the workloads are clients of. */
const servers = (image: string): readonly object[] => {
  const pod = (name: string, container: object): object => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: name } },
    spec: { containers: [{ name: 'main', image, ...container }] },
  });
  const service = (name: string, port: number): object => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: { selector: { app: name }, ports: [{ port }] },
  });
  const https =
    'import http.server, ssl; s = http.server.HTTPServer(("", 8443), http.server.SimpleHTTPRequestHandler); c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain("/tmp/c", "/tmp/k"); s.socket = c.wrap_socket(s.socket, server_side=True); s.serve_forever()';
  return [
    pod('web', {
      command: [
        'sh',
        '-c',
        `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /tmp/k -out /tmp/c -days 9 -subj /CN=web.outside >/dev/null && exec python3 -c '${https}'`,
      ],
    }),
    service('web', 8443),
    pod('undeclared', {
      args: ['postgres'],
      env: [
        { name: 'POSTGRES_PASSWORD', value: 'theirs' },
        { name: 'PGDATA', value: '/tmp/data' },
      ],
    }),
    service('undeclared', 5432),
  ];
};

const exec = (command: readonly string[]): object => ({
  exec: { command },
  periodSeconds: 1,
  failureThreshold: 60,
});

describe('ordinary workloads', { skip: withoutCluster, timeout: 900_000 }, () => {
  const stack = new AsyncDisposableStack();
  let running: Cluster;
  let reader: Reader;
  let ordinary: Namespace;
  let outside: Namespace;
  let image: string;

  /** What of the ten works before anybody labels anything. */
  const workloads = (): readonly object[] => {
    const main = (container: object): object => ({
      containers: [{ name: 'main', image, ...container }],
    });
    return [
      { kind: 'Deployment' as const, name: 'plain', spec: main({ command: ['sleep', 'infinity'] }) },
      { kind: 'StatefulSet' as const, name: 'stateful', spec: main({ command: ['sleep', 'infinity'] }) },
      { kind: 'Deployment' as const, name: 'prepared', spec: {
        initContainers: [
          { name: 'wait', image, command: ['sh', '-c', 'until nc -z undeclared.outside 5432; do sleep 1; done'] },
        ],
        ...main({ command: ['sleep', 'infinity'] }),
      } },
      { kind: 'Deployment' as const, name: 'server', spec: main({
        command: ['python3', '-m', 'http.server', '8080'],
        ports: [{ containerPort: 8080 }],
        readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
        livenessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 5 },
      }) },
      { kind: 'Deployment' as const, name: 'https', spec: main({
        command: every('curl --silent --show-error --insecure https://web.outside:8443/ --output /dev/null && touch /tmp/well'),
        readinessProbe: exec(['cat', '/tmp/well']),
      }) },
      { kind: 'Deployment' as const, name: 'database', spec: main({
        command: every('PGPASSWORD=theirs psql --host undeclared.outside --username postgres --command "SELECT 1" >/dev/null && touch /tmp/well'),
        readinessProbe: exec(['cat', '/tmp/well']),
      }) },
      { kind: 'Deployment' as const, name: 'kube', spec: main({
        command: every('curl --silent --show-error --insecure --max-time 5 https://kubernetes.default/version && touch /tmp/well'),
        readinessProbe: exec(['cat', '/tmp/well']),
      }) },
    ].map(workload); // prettier-ignore
  };
  const job = (name: string): object =>
    workload({
      kind: 'Job',
      name,
      spec: {
        restartPolicy: 'Never',
        containers: [{ name: 'main', image, command: ['curl', '--silent', '--insecure', 'https://web.outside:8443/'] }], // prettier-ignore
      },
    });
  const cron = (): object => ({
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata: { name: 'nightly' },
    spec: {
      schedule: '0 0 1 1 *',
      jobTemplate: {
        spec: {
          backoffLimit: 0,
          template: { spec: { restartPolicy: 'Never', containers: [{ name: 'main', image, command: ['true'] }] } }, // prettier-ignore
        },
      },
    },
  });
  const rolled = async (names: readonly string[]): Promise<void> => {
    for (const name of names) await ordinary.kubectl(['rollout', 'status', name, '--timeout=120s']);
  };
  const that_work = ['deployment/plain', 'statefulset/stateful', 'deployment/prepared', 'deployment/server', 'deployment/https', 'deployment/database']; // prettier-ignore

  before(async () => {
    running = stack.use(await cluster());
    image = await running.workloads();
    outside = stack.use(await running.namespace('outside'));
    ordinary = stack.use(await running.namespace('ordinary'));
    const installed = stack.use(await install(running));
    reader = await readerOf(installed);
    await outside.apply(servers(image));
    await outside.waitFor('pod/web', 'condition=Ready');
    await outside.waitFor('pod/undeclared', 'condition=Ready');
    await ordinary.apply([...workloads(), job('first'), cron()]);
    await rolled([...that_work, 'deployment/kube']);
    await ordinary.waitFor('job/first', 'condition=Complete');
    await ordinary.kubectl(['label', 'namespace', 'ordinary', 'chaperone.dev/enforce=true']);
    for (const name of [...that_work, 'deployment/kube'])
      await ordinary.kubectl(['rollout', 'restart', name]);
    await rolled(that_work);
  });
  after(() => stack.disposeAsync());

  const containersOf = (selector: string): Promise<string> =>
    ordinary.kubectl(['get', 'pods', `--selector=${selector}`, '--field-selector=status.phase=Running', '--output=jsonpath={.items[*].spec.initContainers[*].name}']); // prettier-ignore

  for (const name of that_work) {
    test(`go on in a namespace that is labelled: ${name}`, async () => {
      assert.match(await containersOf(`app=${name.split('/')[1]}`), /\bchaperone\b/);
    });
  }

  test('a Job completes, and so does one of a CronJob', async () => {
    await ordinary.apply([job('second')]);
    await ordinary.kubectl(['create', 'job', 'third', '--from=cronjob/nightly']);
    await ordinary.waitFor('job/second', 'condition=Complete');
    await ordinary.waitFor('job/third', 'condition=Complete');
  });

  test('an undeclared database and HTTPS are recorded as connections', async () => {
    for (const [host, port] of [
      ['undeclared', 5432],
      ['web', 8443],
    ] as const) {
      const address = await outside.kubectl(['get', 'service', host, '--output=jsonpath={.spec.clusterIP}']); // prettier-ignore
      const found = await until(
        `a session with ${host}`,
        async () =>
        (await reader.sessions({ limit: '1000' })).find(({ backend }) => backend === `${address}:${port}`), // prettier-ignore
      );
      assert.match(found.protocol ?? '', /tcp/i);
      assert.equal(found.namespace, 'ordinary');
    }
  });

  test('the Kubernetes API, which no policy names, is refused', async () => {
    const log = await until('a refusal in the log', async () => {
      const injected = '--selector=app=kube,chaperone.dev/injected=true';
      const text = await ordinary.kubectl(['logs', injected, '--container=main', '--tail=-1']);
      return /curl: .*/.exec(text)?.[0];
    });
    assert.match(log, /curl: \(\d+\)/);
  });

  test('UDP other than DNS fails at once and is on record, and names are answered', async () => {
    const pod = ['exec', 'deployment/plain', '--container=main', '--'];
    const names = await ordinary.kubectl([
      ...pod,
      'dig',
      '+short',
      'web.outside.svc.cluster.local',
    ]);
    assert.match(names, /^\d+\./);
    const name = await ordinary.kubectl(['get', 'pods', '--selector=app=plain', '--field-selector=status.phase=Running', '--output=jsonpath={.items[0].metadata.name}']); // prettier-ignore
    const onRecord = async (): Promise<number> =>
      (await reader.records(ordinary.name, name)).reduce((last, record) => (record.kind === 'packets.refused' ? record.packets : last), 0); // prettier-ignore
    const before = await onRecord();
    const script = 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("10.250.0.254", 9)); s.send(b"x")'; // prettier-ignore
    const failed = await ordinary
      .kubectl([...pod, 'python3', '-c', script])
      .then(() => 'it was sent', (error: unknown) => String(error)); // prettier-ignore
    assert.match(failed, /PermissionError|No route to host|Operation not permitted|unreachable/);
    await until('it is on record', async () => (await onRecord()) > before, 60_000);
  });
});
