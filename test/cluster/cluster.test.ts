import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { projectDirectory } from '../../cli/instance.ts';
import { run } from '../../tools/run.ts';
import { cluster, type Cluster, type Namespace } from '../support/cluster.ts';
import { until } from '../support/until.ts';
import { addresses } from './addresses.ts';
import { down, isUp, noCluster, up } from './cluster.ts';
import { cgroupsOfPods, mountsBelow, processesOfPods } from './host.ts';
import {
  clusterName,
  containerdSocket,
  helm,
  kube,
  kubectlCache,
  namespaceFile,
  runDirectory,
  state,
} from './places.ts';
import { signal, tryFindPid } from './processes.ts';

const quietly = (): void => undefined;

/** Processes whose working directory is the state's: the programs of the node. */
function processesInState(): readonly string[] {
  return readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readlinkSync(`/proc/${name}/cwd`).startsWith(state);
    } catch {
      return false; // it has ended, or is of the kernel
    }
  });
}

/** What a cluster could leave behind, as lines. */
function traces(): readonly string[] {
  const sysctls = run('sysctl', ['vm.overcommit_memory', 'kernel.panic', 'kernel.panic_on_oops']);
  return [
    ...processesInState().map((pid) => `process ${pid}`),
    ...processesOfPods(containerdSocket).map((pid) => `process of a pod ${pid}`),
    ...mountsBelow([state, runDirectory]).map((path) => `mount ${path}`),
    ...cgroupsOfPods().map((path) => `cgroup ${path}`),
    ...readdirSync('/sys/class/net').filter((name) => name === clusterName).map((name) => `link ${name}`), // prettier-ignore
    ...run('ip', ['route']).split('\n').filter((line) => /10\.(250|244|96)\./.test(line)),
    ...run('ip', ['-6', 'route']).split('\n').filter((line) => /fd10:/.test(line)),
    ...[namespaceFile, runDirectory, '/run/containerd', '/var/lib/kubelet', '/var/log/containers', '/var/lib/cni'].filter(existsSync), // prettier-ignore
    ...(existsSync(state) ? readdirSync(state) : []),
    ...sysctls.trim().split('\n'),
  ];
} // prettier-ignore

const tool = (...args: readonly string[]): string =>
  run(process.execPath, [join(projectDirectory, 'test/cluster/main.ts'), ...args]);

const server = `
const answer = (request, response) => response.end('served');
require('node:http').createServer(answer).listen(8080, '::');`;

const selector = { app: 'server' };
const serverPod = (image: string): readonly object[] => [
  {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'server', labels: selector },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'main',
          image,
          args: ['-e', server],
          readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 1 },
        },
      ],
    },
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'server' },
    spec: { selector, ports: [{ port: 80, targetPort: 8080 }], ipFamilyPolicy: 'RequireDualStack' },
  },
];

describe('the cluster of this machine', { skip: noCluster }, () => {
  const stack = new AsyncDisposableStack();
  let running: Cluster;
  let namespace: Namespace;
  let tracesBefore: readonly string[];

  before(async () => {
    const wasUp = isUp();
    await down(quietly);
    tracesBefore = traces();
    stack.defer(async () => void (await (wasUp ? up(quietly) : down(quietly))));
    await up(quietly);
    running = stack.use(await cluster());
    namespace = await running.namespace('server');
    await namespace.apply(serverPod(await running.image()));
    await namespace.waitFor('pod/server', 'condition=Ready');
  });
  after(() => stack.disposeAsync());

  test('has one node, which is ready', () => {
    const ready = '{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}';
    const format = `--output=jsonpath={range .items[*]}${ready}{end}`;
    assert.equal(tool('kubectl', 'get', 'nodes', format), 'node0 True');
  });

  test('is reached by whoever has the kubeconfig that it names, and by helm', () => {
    const file = tool('kubeconfig').trim();
    const env = { PATH: process.env['PATH'], HOME: kubectlCache, KUBECONFIG: file };
    assert.match(run(kube, ['kubectl', 'get', 'namespaces'], { env }), /^server +Active/m);
    assert.match(run(helm, ['list', '--all-namespaces'], { env }), /^NAME/);
  });

  test('serves a pod and its Service to this machine, IPv4 and IPv6', async () => {
    const pods = await namespace.kubectl(['get', 'pod', 'server', '--output=jsonpath={.status.podIPs[*].ip}']); // prettier-ignore
    const services = await namespace.kubectl(['get', 'service', 'server', '--output=jsonpath={.spec.clusterIPs[*]}']); // prettier-ignore
    const hosts = [
      ...pods.split(' ').map((ip) => (ip.includes(':') ? `[${ip}]:8080` : `${ip}:8080`)),
      ...services.split(' ').map((ip) => (ip.includes(':') ? `[${ip}]` : ip)),
    ];
    assert.equal(hosts.length, 4);
    for (const host of hosts) {
      const response = await until(`${host} answers`, () =>
        fetch(`http://${host}/`).catch(() => undefined),
      );
      assert.equal(await response.text(), 'served');
    }
  });

  test('has pods reach a server of this machine, IPv4 and IPv6, with their own addresses', async () => {
    const pods = await namespace.kubectl(['get', 'pod', 'server', '--output=jsonpath={.status.podIPs[*].ip}']); // prettier-ignore
    const seen: (string | undefined)[] = [];
    for (const host of [addresses.host.v4, addresses.host.v6]) {
      const listener = createServer((socket) => {
        seen.push(socket.remoteAddress);
        socket.end();
      }).listen(0, host);
      await once(listener, 'listening');
      const { port } = listener.address() as AddressInfo; // a TCP server's address is one
      const dial = `require('node:net').connect(${port}, '${host}').resume()`;
      await namespace.kubectl(['exec', 'server', '--', '/usr/bin/node', '-e', dial]);
      listener.close();
    }
    assert.deepEqual(seen, pods.split(' '));
  });

  test('runs commands in its network', () => {
    assert.match(tool('exec', 'ip', 'address', 'show', 'dev', 'eth0'), /10\.250\.0\.1\/24/);
  });

  test('is left alone by another start', async () => {
    assert.equal(await up(quietly), false);
  });

  test('is mended by a start when one of its programs was killed', async () => {
    const pid = tryFindPid('apiserver');
    assert.ok(pid);
    signal(pid, 'SIGKILL');
    await until('it has ended', () => !isUp());
    assert.equal(await up(quietly), true);
    assert.match(await namespace.kubectl(['get', 'pod', 'server']), /Running/);
  });

  test('goes without leaving a process, mount, namespace, link, route, cgroup or setting', async () => {
    assert.ok(traces().length > tracesBefore.length + 20, 'there is something to leave');
    await down(quietly);
    assert.deepEqual(traces(), tracesBefore);
  });

  test('goes when its container runtime was killed, pods and all', async () => {
    await up(quietly);
    namespace = await running.namespace('server');
    const pause = { name: 'main', image: 'localhost/pause:1' };
    await namespace.apply([
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'pause' }, spec: { containers: [pause] } },
    ]);
    await namespace.waitFor('pod/pause', 'condition=Ready');
    const pid = tryFindPid('containerd');
    assert.ok(pid);
    signal(pid, 'SIGKILL');
    await down(quietly);
    assert.deepEqual(traces(), tracesBefore);
  });
});
