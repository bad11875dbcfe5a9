import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { run } from '../../tools/run.ts';
import { containerNames, healthPort } from '../../webhook/names.ts';
import {
  cluster,
  ownCluster,
  withoutCluster,
  type Cluster,
  type Namespace,
} from '../support/cluster.ts';
import { readerOf, type Reader } from '../support/collector-in-cluster.ts';
import { install } from '../support/installed.ts';
import { startEmptyNameServer } from '../support/empty-name-server.ts';
import { agent, backends, domain, forAgentsAlone, madeUp, names, namespaces, password, peerProgram, policies, runPeer, servers, users, type As } from '../support/network-pods.ts'; // prettier-ignore
import { scaled } from '../support/random.ts';
import { failureOf } from '../support/failure-of.ts';
import { until } from '../support/until.ts';
import { addresses } from './addresses.ts';
import { loadImage } from './cluster.ts';
import { buildUserImage } from './musl-client.ts';
import { containerdSocket } from './places.ts';

const versions = ['v4', 'v6'] as const;
const unknowns = ['Record', 'Deny'] as const;
type Unknown = (typeof unknowns)[number];

const refused = /^(?:Operation not permitted|Permission denied|No route to host)$/;
const unsupported = /^(?:Protocol not (?:supported|available)|Socket type not supported)$/;

/** What of it is wrong, as a line each; nothing where all of it is as it should be. */
const wrongIn = (outcomes: readonly unknown[], right: RegExp): readonly unknown[] =>
  outcomes.filter((each) => !right.test(String(each)));

/** What is no list stays as it is, to be seen. */
const sorted = (all: readonly string[]): readonly string[] =>
  Array.isArray(all) ? all.toSorted((a, b) => (a < b ? -1 : 1)) : all;

describe('the network of a pod', { skip: withoutCluster, timeout: 900_000 }, () => {
  const stack = new AsyncDisposableStack();
  let running: Cluster;
  let reader: Reader;
  let agents: Namespace;
  let outside: Namespace;
  let image: string;
  let server: Readonly<Record<(typeof versions)[number], string>>;

  const podAddresses = async (namespace: Namespace, name: string): Promise<typeof server> => {
    const text = await namespace.kubectl(['get', 'pod', name, '--output=jsonpath={.status.podIPs[*].ip}']); // prettier-ignore
    const [v4 = '', v6 = ''] = text.split(' ');
    return { v4, v6 };
  };
  /** Of those outside, each with its addresses. */
  let services: ReadonlyMap<string, readonly string[]>;
  const serviceAddresses = (name: string): readonly string[] => services.get(name) ?? [];
  const podOf = (unknown: Unknown): string => `agent-${unknown.toLowerCase()}`;
  const exec = (unknown: Unknown, ...command: readonly string[]): Promise<string> =>
    agents.kubectl(['exec', podOf(unknown), '--container=main', '--', ...command], { timeoutMs: 300_000 }); // prettier-ignore
  /** Has an agent do one thing of `peer.py`, and returns what came of it. */
  const peer = async (unknown: Unknown, what: string, args: readonly unknown[]): Promise<unknown> => {
    const said = await exec(unknown, ...runPeer(what, args));
    return (JSON.parse(said) as { outcome: unknown }).outcome;
  }; // prettier-ignore
  const refusedIn = async (unknown: Unknown): Promise<number> => {
    const path = `/api/v1/namespaces/${namespaces.agents}/pods/${podOf(unknown)}:${healthPort}/proxy/metrics`;
    const text = await running.kubectl(['get', '--raw', path]);
    return Number(/^chaperone_packets_refused_total (\d+)$/m.exec(text)?.[1]);
  };
  const fromServer = (container: string): Promise<string> => outside.logs('server', container);
  const psql = (unknown: Unknown, host: string, sql: string): Promise<string> =>
    exec(unknown, 'psql', '-X', '-A', '-t', '-c', sql, `host=${host} user=postgres password=${password} connect_timeout=10`); // prettier-ignore

  before(async () => {
    running = stack.use(await cluster());
    // Else names outside of the cluster are asked for in vain, and fail after two seconds.
    if (running.own) stack.use(await startEmptyNameServer(addresses.host.v4));
    image = await running.workloads();
    outside = stack.use(await running.namespace(namespaces.outside));
    agents = stack.use(await running.namespace(namespaces.agents, { 'chaperone.dev/enforce': 'true' })); // prettier-ignore
    const installed = stack.use(await install(running));
    reader = await readerOf(installed);
    stack.defer(async () => void (await running.kubectl(['delete', 'backend', 'network-names', 'network-alias', 'network-target', '--ignore-not-found']))); // prettier-ignore
    await outside.apply([peerProgram(), ...servers(image), ...names()]);
    const resources = [peerProgram(), ...backends(), ...policies()];
    await running.kubectl(['apply', `--namespace=${namespaces.agents}`, '--filename=-'], {
      input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: resources }),
    });
    await agents.apply(unknowns.map((unknown) => agent(image, unknown)));
    for (const name of ['server', 'database']) await outside.waitFor(`pod/${name}`, 'condition=Ready'); // prettier-ignore
    for (const unknown of unknowns)
      await agents.waitFor(`pod/${podOf(unknown)}`, 'condition=Ready');
    server = await podAddresses(outside, 'server');
    const found = await outside.kubectl(['get', 'services', '--output=jsonpath={range .items[*]}{.metadata.name} {.spec.clusterIPs[*]}{"\\n"}{end}']); // prettier-ignore
    services = new Map(found.trim().split('\n').map((line) => line.split(' ')).map(([name = '', ...own]) => [name, own])); // prettier-ignore
  });
  after(() => stack.disposeAsync());

  for (const version of versions) {
    test(`brings the sidecar every connection that is dialled, over ${version}`, async () => {
      const tries = Array.from({ length: scaled(200) }, (_, index) => ['tcp', server[version], index % 2 === 0 ? 443 : 8000]);
      assert.deepEqual(wrongIn((await peer('Record', 'reach', tries)) as string[], /^outside hello$/), []);
      const host = version === 'v6' ? `[${server.v6}]` : server.v4;
      await until('each is a session', async () => {
        const sessions = await reader.sessions({ limit: '1000' });
        const ofThese = sessions.filter(({ pod, backend }) => pod === 'agent-record' && backend === `${host}:443`);
        return ofThese.length === tries.length / 2;
      });
      const own = await podAddresses(agents, podOf('Record'));
      assert.ok((await fromServer('serve')).includes(own[version]), 'the server saw them come from the pod');
    }); // prettier-ignore

    test(`resets at once what may not be dialled, whatever the port, and nothing of it leaves, over ${version}`, async () => {
      const tries = Array.from({ length: scaled(400) }, (_, index) => ['tcp', server[version], [8000, 443, 7001, 1][index % 4]]);
      const right = /^Connection reset by peer$/;
      assert.deepEqual(wrongIn((await peer('Deny', 'reach', tries)) as string[], right), []);
      const host = version === 'v6' ? `[${server.v6}]` : server.v4;
      await until('each is on record as denied', async () => {
        const sessions = await reader.sessions({ limit: '1000' });
        const ofThese = sessions.filter(({ pod, backend, denied }) => pod === 'agent-deny' && backend === `${host}:443` && denied === 1);
        return ofThese.length === tries.length / 4;
      });
      const own = await podAddresses(agents, podOf('Deny'));
      assert.ok(!(await fromServer('serve')).includes(`"${own[version]}"`));
    }); // prettier-ignore

    test(`refuses at once what is neither TCP nor DNS, over ${version}`, async () => {
      const [icmp, echo] = version === 'v4' ? [1, 'ping'] : [58, 'ping over IPv6'];
      const kinds = [
        ['QUIC and other datagrams', 'SOCK_DGRAM', 0],
        [echo, 'SOCK_DGRAM', icmp],
        ['UDP-Lite', 'SOCK_DGRAM', 136],
        ['SCTP', 'SOCK_STREAM', 132],
        ['raw IP', 'SOCK_RAW', 253],
      ] as const;
      for (const unknown of unknowns) {
        const refusedBefore = await refusedIn(unknown);
        const outcomes = await peer(unknown, 'others', kinds.map(([, kind, protocol]) => [kind, protocol, server[version], 443]));
        (outcomes as string[]).forEach((outcome, index) =>
          assert.ok(refused.test(outcome) || unsupported.test(outcome), `${kinds[index]?.[0]}: ${outcome}`));
        assert.match(String((outcomes as string[])[0]), refused);
        assert.match(String((outcomes as string[])[1]), refused);
        assert.ok(await refusedIn(unknown) >= refusedBefore + 2, 'it is counted');
      }
      assert.doesNotMatch(await fromServer('serve'), /datagram/);
    }); // prettier-ignore

    test(`has the sidecar answer names whichever server is asked, over ${version}`, async () => {
      const dig = (...args: readonly string[]): Promise<string> =>
        exec('Deny', 'dig', '+short', '+tries=1', `@${server[version]}`, `server.${domain}`, ...args);
      const [v4] = serviceAddresses('server');
      assert.equal(await dig(), `${v4}\n`);
      assert.equal(await dig('+tcp'), `${v4}\n`);
    }); // prettier-ignore

    for (const side of ['server', 'client'])
      test(`leaves no socket behind at a server when the ${side} closes first, over ${version}`, async () => {
        const count = scaled(1_000);
        assert.equal(await peer('Record', 'closing', [server[version], 7001, count, side]), count);
        const states = ['state', 'all', 'exclude', 'listening', 'exclude', 'time-wait'];
        await until('no socket waits for a segment', async () =>
          (await outside.kubectl(['exec', 'server', '--container=closer', '--', 'ss', '-tanH', ...states, 'sport', '=', ':7001'])) === '');
        await until('nor does one in the pod', async () =>
          (await exec('Record', 'ss', '-tanH', ...states, '(', 'dport', '=', ':7001', 'or', 'sport', '=', ':15001', ')')) === '');
      }); // prettier-ignore
  }

  // Whoever does so is root on the node.
  if (ownCluster)
    test('keeps every connection, name and byte while its rules are put in force again', async () => {
      const end = '/tmp/rules-are-in-force';
      const steady = peer('Record', 'steadily', [end, [server.v4, server.v6], `server.${domain}`]);
      const { pid, command } = await rulesOf('agent-record');
      // As the runtime would start it: the command of the init container, of the same image and in the pod's network.
      const again = ['--target', pid, '--net', '--mount', '--', ...command];
      const rules = (): string => run('nsenter', ['--target', pid, '--net', '--', 'nft', 'list', 'ruleset']); // prettier-ignore
      const before = rules();
      for (let times = 0; times < scaled(200); times += 1) {
        run('nsenter', again);
        await new Promise(setImmediate);
      }
      await exec('Record', 'touch', end);
      const { count, wrong } = (await steady) as { count: number; wrong: readonly string[] };
      assert.deepEqual(wrong, []);
      assert.ok(count > 30, `${count} tries`);
      assert.equal(rules(), before);
      return undefined;
    });

  test('catches whatever runs under any of 20 uids, and images whatever their USER', async () => {
    const known = [0, 1_000, 2_147_483_647, 65_532, 1, 2, 33, 100, 101, 999, 1_001, 1_337, 2_102, 5_737, 10_001, 65_533, 65_534, 65_535];
    const uids = [...known, 999_999_999, 2_000_000_000].slice(0, 2 + scaled(20));
    const command = runPeer('tcp', [server.v4, 8000]);
    const containers: As[] = uids.map((uid) => ({ name: `as-${uid}`, image, command, runAsUser: uid }));
    // Nobody sees the USER of an image before it runs: one of the sidecars' range is let in, and is no pod's sidecar.
    if (running.own)
      for (const uid of [1_337, 1_000_000_000]) {
        await using made = buildUserImage(uid);
        loadImage(made.archive);
        stack.defer(() => void run('ctr', [`--address=${containerdSocket}`, '--namespace=k8s.io', 'images', 'rm', made.name]));
        containers.push({ name: `user-${uid}`, image: made.name, args: ['dial', server.v4, '8000'] });
      }
    await agents.apply([users('users', containers)]);
    await agents.waitFor('pod/users', 'jsonpath={.status.phase}=Succeeded');
    const said = await agents.kubectl(['logs', 'users', '--all-containers', '--prefix', '--tail=5']);
    for (const { name } of containers)
      assert.match(said, new RegExp(`/${name}\\] .*"outcome": ?"Connection reset by peer"`), name);
    const { v4 } = await podAddresses(agents, 'users');
    assert.ok(!(await fromServer('serve')).includes(`"${v4}"`));
  }); // prettier-ignore

  test('has no agent that asks for a uid of sidecars', async () => {
    for (const uid of [1_000_000_000, 1_999_999_999]) {
      const pod = users('reserved', [{ name: 'main', image, runAsUser: uid }]);
      assert.match(await failureOf(agents.apply([pod])), /are for sidecars/);
    }
  });

  describe('names', () => {
    const resolvers = {
      glibc: (unknown: Unknown, times: number, asked: readonly string[]) =>
        peer(unknown, 'names', [times, ...asked]),
      musl: async (unknown: Unknown, times: number, asked: readonly string[]) =>
        JSON.parse(await exec(unknown, 'musl-client', 'resolve', String(times), ...asked)) as unknown, // prettier-ignore
    } as const;
    const none: readonly string[] = [];

    // First, as long as nobody has asked for the name of the Backend.
    test('that no Backend has do not lead past the rules of the Backend behind them', async () => {
      const [address = ''] = serviceAddresses('second');
      for (const host of [`alias-of-second.${domain}`, address]) {
        assert.equal(await psql('Record', host, 'SELECT 7'), '7\n');
        assert.match(await failureOf(psql('Record', host, 'DROP TABLE nothing')), /nothing is dropped here/); // prettier-ignore
      }
    });

    for (const unknown of unknowns)
      for (const [resolver, resolve] of Object.entries(resolvers)) {
        const ask = async (times: number, ...asked: readonly string[]): Promise<Record<string, readonly string[]>> => {
          const found = (await resolve(unknown, times, asked)) as Record<string, readonly string[]>;
          return Object.fromEntries(Object.entries(found).map(([name, all]) => [name, sorted(all)]));
        }; // prettier-ignore
        const where = `by ${resolver} where unknown hosts are for ${unknown}`;

        test(`of every kind of Service are found ${where}`, async () => {
          const both = sorted(serviceAddresses('server'));
          assert.equal(both.length, 2);
          const expected = {
            [`server.${domain}`]: both,
            [`server.${domain}.`]: both,
            [`server.${namespaces.outside}`]: both,
            [`server.${namespaces.outside}.svc`]: both,
            [`SERVER.${domain}`]: both,
            [forAgentsAlone]: both,
            [`chain.${domain}`]: both,
            [`headless.${domain}`]: madeUp.headless,
            [`six.${domain}`]: madeUp.six,
            [`alias-of-first.${domain}`]: serviceAddresses('first'),
            [`second.${namespaces.outside}`]: serviceAddresses('second'),
          };
          assert.deepEqual(await ask(scaled(100), ...Object.keys(expected)), expected);
        });

        test(`with more addresses than a datagram holds have some ${where}`, async () => {
          const name = `many.${domain}`;
          const found = (await ask(1, name))[name] ?? none;
          assert.ok(found.length >= 8, `${found.length} addresses`);
          assert.ok(found.every((each) => madeUp.many.includes(each)));
        });

        test(`that do not exist are known not to at once ${where}`, async () => {
          const missing = [`nothing.${domain}`, `nothing.${namespaces.outside}`, `${forAgentsAlone}x.${domain}`]; // prettier-ignore
          const expected = Object.fromEntries(missing.map((name) => [name, none]));
          assert.deepEqual(await ask(scaled(100), ...missing), expected);
        });

        test(`that no Backend has are ${unknown === 'Deny' ? 'none' : 'found'} ${where}`, async () => {
          const first = unknown === 'Deny' ? none : serviceAddresses('first');
          const second = unknown === 'Deny' ? none : serviceAddresses('second');
          const expected = {
            [`first.${domain}`]: first,
            [`first.${namespaces.outside}`]: first,
            [`alias-of-second.${domain}`]: second,
          };
          assert.deepEqual(await ask(1, ...Object.keys(expected)), expected);
        });
      }

    for (const unknown of unknowns) {
      test(`are told by TCP where a datagram is too short, where unknown hosts are for ${unknown}`, async () => {
        const dig = (...args: readonly string[]): Promise<string> =>
          exec(unknown, 'dig', '+tries=1', `many.${domain}`, ...args);
        assert.match(await dig('+notcp', '+ignore'), /flags: qr tc.*ANSWER: [1-9]/s);
        assert.match(await dig('+noedns', '+ignore'), /flags: qr tc.*ANSWER: [1-9]/s);
        assert.match(await dig(), /Truncated, retrying in TCP[^]*ANSWER: 64,/);
      });

      test(`of services lead to pods of them, where unknown hosts are for ${unknown}`, async () => {
        const said = await exec(unknown, 'dig', '+short', '+tries=1', 'SRV', `_echo._tcp.headless.${domain}`);
        const targets = [...said.matchAll(/ 8000 (\S+)\.$/gm)].map(([, target = '']) => target);
        assert.equal(targets.length, 3);
        const found = await resolvers.glibc(unknown, 1, targets);
        assert.deepEqual(sorted(Object.values(found as Record<string, string[]>).flat()), madeUp.headless);
        assert.match(await exec(unknown, 'dig', '+short', 'CNAME', `chain.${domain}`), new RegExp(`^link\\.${domain}\\.`));
      }); // prettier-ignore

      test(`lead getent, curl and psql where they should, where unknown hosts are for ${unknown}`, async () => {
        const both = serviceAddresses('server');
        const said = await exec(unknown, 'getent', 'ahosts', `server.${namespaces.outside}`);
        assert.deepEqual(new Set(said.match(/^\S+/gm)), new Set(both));
        for (const [host, database] of [
          [`alias-of-first.${namespaces.outside}`, 'network-alias'],
          [`second.${domain}`, 'network-target'],
        ] as const) {
          const sql = `SELECT '${host} ${unknown}'`;
          assert.equal(await psql(unknown, host, sql), `${host} ${unknown}\n`);
          const [session] = await until('it is on record', async () => {
            const found = await reader.sessions({ text: sql });
            return found.length > 0 ? found : undefined;
          });
          assert.equal(session?.backend, database);
          assert.match(await failureOf(psql(unknown, host, 'DROP TABLE nothing')), /nothing is dropped here/); // prettier-ignore
        }
        const curl = (): Promise<string> => exec(unknown, 'curl', '-sS', '--max-time', '10', `http://server.${domain}:8080/`); // prettier-ignore
        if (unknown === 'Deny')
          assert.match(await failureOf(curl()), /reset by peer|Couldn't connect/); // prettier-ignore
        else assert.equal(await curl(), `hello from server.${domain}:8080`);
      });
    }
  });

  /** The process that holds a pod's network, and how its init container puts the rules in force. */
  async function rulesOf(name: string): Promise<{ pid: string; command: readonly string[] }> {
    const text = await agents.kubectl(['get', 'pod', name, '--output=json']);
    const pod = JSON.parse(text) as {
      readonly spec: { readonly initContainers: readonly { name: string; command: string[] }[] };
      readonly status: { readonly initContainerStatuses: readonly { name: string; containerID: string }[] }; // prettier-ignore
    };
    const network = pod.spec.initContainers.find((each) => each.name === containerNames.network);
    const sidecar = pod.status.initContainerStatuses.find((each) => each.name === containerNames.sidecar); // prettier-ignore
    const id = sidecar?.containerID.replace('containerd://', '') ?? '';
    const tasks = run('ctr', [`--address=${containerdSocket}`, '--namespace=k8s.io', 'tasks', 'list']); // prettier-ignore
    const [, pid = ''] = new RegExp(`^${id} +(\\d+)`, 'm').exec(tasks) ?? [];
    assert.ok(network && pid !== '', 'the pod is injected and runs');
    return { pid, command: network.command };
  }
});
