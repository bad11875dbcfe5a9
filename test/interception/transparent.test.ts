import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import type { RecordHeader } from '#core/record/kinds.ts';
import { addresses, ports, withoutNamespaces } from '../support/pod-network.ts';
import { startPodSidecar, type PodSidecar } from '../support/pod-sidecar.ts';
import { further, lookupsIn, sessionsIn, startPodWorld, type PodWorld, type RecordedSession } from '../support/pod-world.ts'; // prettier-ignore
import { until } from '../support/until.ts';

const { gateway, outside } = addresses;
const apiVersion = 'chaperone.dev/v1alpha1';
const consumers = [{ namespace: 'agents' }];
const tls = { mode: 'Disable' };
/** Whether the reset comes before or after curl has seen that it is connected is chance. */
const reset = /reset by peer|Couldn't connect/;

const orders = {
  apiVersion,
  kind: 'Backend',
  metadata: { name: 'orders' },
  spec: {
    protocol: 'Postgres',
    hosts: ['orders.example.com', 'db', 'orders-db'],
    ports: [5_432],
    upstream: { address: 'orders.example.com:5432', tls },
    consumers,
  },
};
const inside = {
  apiVersion,
  kind: 'Backend',
  metadata: { name: 'inside' },
  spec: {
    protocol: 'TCP',
    hosts: ['inside.example.com'],
    ports: [80],
    upstream: { address: 'rebound.example.com:80', tls },
    consumers,
  },
};
const late = {
  ...inside,
  metadata: { name: 'late' },
  spec: { ...inside.spec, hosts: ['late'], upstream: { address: 'late.example.com:80', tls } },
};
const named = {
  ...inside,
  metadata: { name: 'metadata' },
  spec: { ...inside.spec, hosts: [further.metadata], upstream: { address: `${further.metadata}:80`, tls } }, // prettier-ignore
};
const issuer = {
  apiVersion,
  kind: 'IdentityProvider',
  metadata: { name: 'issuer' },
  spec: { issuer: 'https://127.0.0.1:9', audiences: ['chaperone'], jwksUri: 'https://127.0.0.1:9/keys' }, // prettier-ignore
};
const policy = (mode: string, defaultAction = 'Allow') => ({
  apiVersion,
  kind: 'ClusterAuditPolicy',
  metadata: { name: 'baseline' },
  spec: { podSelector: {}, mode, defaultAction },
});

/** What a session's request was decided on and how it ended. */
function summaryOf({ start, records }: RecordedSession): string {
  const verdict = records.flatMap((each) => (each.kind === 'request' ? [`${each.verdict.action} ${each.verdict.reason}`] : [])); // prettier-ignore
  const end = records.flatMap((each) => (each.kind === 'session.end' ? [each.reason] : []));
  return `${start.protocol} ${start.backend}: ${verdict.join()}, ${end.join()}`;
}

describe('an agent in a pod', { skip: withoutNamespaces }, () => {
  let world: PodWorld;
  let sidecar: PodSidecar;

  before(async () => {
    world = await startPodWorld();
    world.network.applyRules();
    const login = { type: 'Password', username: 'postgres', password: world.database.password } as const; // prettier-ignore
    sidecar = await startPodSidecar(world.network, [orders, inside, late, policy('Observe')], {
      login,
    });
  });
  after(async () => {
    await sidecar?.[Symbol.asyncDispose]();
    await world?.[Symbol.asyncDispose]();
  });

  const run = (...command: [string, ...string[]]): string => world.network.run('agent', ...command);
  const psql = (host: string): string => run('psql', '-X', '-A', '-t', '-c', 'SELECT 41 + 1', `host=${host} port=5432 user=postgres dbname=postgres connect_timeout=10`); // prettier-ignore
  const curl = (...args: string[]): string => run('curl', '--silent', '--show-error', '--max-time', '10', ...args); // prettier-ignore
  const fails = (do_: () => unknown, why: RegExp): void => assert.throws(do_, (error: Error & { stderr?: string }) => {
    assert.match(`${error.stderr}`, why);
    return true;
  }); // prettier-ignore
  /** Sessions that began since, once all of them have ended. */
  const since = async (before: number, count: number): Promise<RecordedSession[]> =>
    until(`${count} sessions have ended`, () => {
      const sessions = sessionsIn(sidecar.frames()).slice(before);
      const ended = sessions.filter(({ records }) => records.some(({ kind }) => kind === 'session.end')); // prettier-ignore
      return ended.length >= count ? sessions : undefined;
    });
  const begun = (): number => sessionsIn(sidecar.frames()).length;
  const resultOf = ({ records }: RecordedSession) => records.find((each): each is Extract<RecordHeader, { kind: 'result' }> => each.kind === 'result'); // prettier-ignore

  describe('under Observe', () => {
    for (const [host, why] of [
      ['orders.example.com', 'a full name'],
      ['db', 'a short name that the search list makes a canonical one of'],
      ['orders-db', 'a name that exists for agents alone'],
      [outside.v4, 'the address of the upstream'],
    ] as const)
      test(`reaches a database by ${why}`, async () => {
        const before = begun();
        assert.equal(psql(host), '42\n');
        const [session] = await since(before, 1);
        assert.ok(session);
        assert.equal(session.start.backend, 'orders');
        assert.ok([outside.v4, outside.v6 as string].includes(session.start['server.address']));
        assert.match(
          summaryOf(session),
          /^Postgres orders: Allow observe(,Allow observe)*, agent-closed$/,
        );
      });

    test('is known to dial a Backend by its address though nobody has asked for its name', async () => {
      const before = begun();
      fails(() => curl(`http://${further.service}/`), reset); // where nobody listens
      assert.deepEqual((await since(before, 1)).map(summaryOf), [
        'TCP late: Allow observe, backend-unreachable',
      ]);
    });

    test('asks for names with what it has, and gets addresses, services and canonical names', () => {
      assert.deepEqual(new Set(run('getent', 'ahosts', 'orders.example.com').match(/^\S+/gm)), new Set([outside.v4, outside.v6])); // prettier-ignore
      assert.match(run('getent', 'ahosts', 'only-v6.example.com'), new RegExp(`^${outside.v6} `));
      const dig = (...args: string[]): string => run('dig', '+tries=1', ...args);
      assert.match(dig('+short', 'SRV', '_postgresql._tcp.orders.example.com'), /5432 pod-0\.orders\.example\.com\.\n/); // prettier-ignore
      assert.equal(dig('+short', 'pod-0.orders.example.com'), `${outside.v4}\n`);
      assert.equal(dig('+short', 'CNAME', 'db.agents.svc.cluster.test'), 'orders.example.com.\n');
      assert.equal(dig('+short', 'TXT', 'orders.example.com'), '');
      assert.equal(dig('+short', 'TXT', 'api.example.com'), '"text"\n');
      for (const name of ['orders.example.com', 'api.example.com'])
        assert.match(dig('TYPE65', name), /status: NOERROR.*ANSWER: 0/s);
      assert.match(dig('nothing.example.com'), /status: NXDOMAIN.*chaperone\.invalid/s);
    });

    test('gets answers that are too long for a datagram over TCP', () => {
      assert.match(run('dig', '+notcp', '+ignore', 'many.example.com'), /flags: qr tc.*ANSWER: [1-9]/s); // prettier-ignore
      assert.match(
        run('dig', 'many.example.com'),
        /Truncated, retrying in TCP[^]*ANSWER: (6[0-4]),/,
      );
    });

    test('reaches a host that no Backend has, and its name, address and bytes are recorded', async () => {
      const before = begun();
      assert.equal(curl('http://api.example.com/'), 'hello from api.example.com');
      const [session] = await since(before, 1);
      assert.ok(session);
      assert.equal(summaryOf(session), `TCP ${outside.v4}:80: Allow observe, agent-closed`);
      assert.match(session.names, /"host":"[^"]*api\.example\.com/);
      const result = resultOf(session);
      assert.equal(result?.status, 'ok');
      assert.ok((result?.bytesUp ?? 0) > 50 && (result?.bytesDown ?? 0) > 50);
      assert.ok(lookupsIn(sidecar.frames()).includes('Allow A api.example.com 1'));
    });

    test('reaches an address that has no name, over v4 and v6', async () => {
      const before = begun();
      assert.equal(curl(`http://[${outside.v6}]/`), `hello from [${outside.v6}]`);
      assert.equal(summaryOf((await since(before, 1))[0] as RecordedSession), `TCP [${outside.v6}]:80: Allow observe, agent-closed`); // prettier-ignore
    });

    test('is refused at once what refuses, and what nobody may dial', async () => {
      const before = begun();
      fails(() => curl(`http://${outside.v4}:81/`), reset);
      fails(() => curl(`http://${further.metadata}/`), reset);
      fails(() => curl('http://rebound.example.com/'), reset);
      fails(() => curl('http://inside.example.com/'), reset);
      for (const host of [gateway.v4, `[${gateway.v6}]`])
        fails(() => curl(`http://${host}:10250/`), reset);
      assert.deepEqual((await since(before, 6)).map(summaryOf), [
        `TCP ${outside.v4}:81: Allow observe, backend-unreachable`,
        `TCP ${further.metadata}:80: Deny denied-address, access-withdrawn`,
        `TCP ${further.metadata}:80: Deny denied-address, access-withdrawn`,
        `TCP ${further.metadata}:80: Deny denied-address, access-withdrawn`,
        `TCP ${gateway.v4}:10250: Deny denied-address, access-withdrawn`,
        `TCP [${gateway.v6}]:10250: Deny denied-address, access-withdrawn`,
      ]);
    });

    test('has counted what it sends that is neither TCP nor DNS, and not what closed ports of its own refuse', async () => {
      const ready = sidecar.reports.find((report) => report.type === 'ready');
      assert.ok(ready);
      const refused = (): number => {
        const text = world.network.run('root in the pod', 'curl', '--silent', ready.metricsUrl);
        return Number(/^chaperone_packets_refused_total (\d+)$/m.exec(text)?.[1]);
      };
      const packetsOnRecord = (): readonly number[] =>
        sidecar.frames().flatMap(({ header }) => (header.kind === 'packets.refused' ? [header.packets] : [])); // prettier-ignore
      const counted = refused();
      for (const host of [outside.v4, outside.v6, '127.0.0.1', '::1'])
        for (let times = 0; times < 3; times += 1)
          await world.network.try('agent', 'udp', [host, 443, 'once']);
      assert.equal(refused(), counted + 6);
      await until('it is on record', () => packetsOnRecord().at(-1) === counted + 6);
      const counts = packetsOnRecord();
      assert.deepEqual(counts, [...new Set(counts)], 'one record for each count');
    });

    test('gets nothing from the listeners themselves, nor at the address of the pod', async () => {
      const before = begun();
      for (const host of ['127.0.0.1', '[::1]'])
        fails(() => curl(`http://${host}:${ports.proxyPort}/`), reset);
      for (const host of [addresses.pod.v4, `[${addresses.pod.v6}]`])
        for (const port of [ports.proxyPort, ports.dnsPort])
          fails(
            () => curl(`http://${host}:${port}/`),
            /Connection refused|Failed to connect|reset/,
          );
      assert.equal(begun(), before);
    });

    for (const [text, order, back] of [
      ['last', 'before', 8 + 3_000_000],
      ['first', 'after', 'answer'.length],
    ] as const)
      test(`ends its half of a connection ${order} the other side, and loses nothing`, async () => {
        const before = begun();
        const size = 3_000_000;
        const got = await world.network.try('agent', 'half', [outside.v4, 7_000, text, size]);
        assert.equal(got, back);
        const [session] = await since(before, 1);
        assert.ok(session);
        const { status, bytesUp, bytesDown } = resultOf(session) ?? {};
        const up = text === 'first' ? text.length + size : size;
        assert.deepEqual([status, bytesUp, bytesDown], ['ok', up, back]);
        await until('the other side has read to the end', () => world.halves.events.at(-1)?.['total'] === up); // prettier-ignore
      });
  });

  describe('under Enforce', () => {
    test('loses what no Backend has while it is connected, and what is known stays', async () => {
      const before = begun();
      const held = await world.network.start('agent', 'hold', [outside.v4, 7_001]);
      const closed = once(held.process, 'close');
      await sidecar.apply(orders, inside, policy('Enforce'));
      await closed;
      assert.deepEqual(held.events, [{ outcome: 'Connection reset by peer' }]);
      assert.deepEqual((await since(before, 1)).map(summaryOf), [
        `TCP ${outside.v4}:7001: Allow observe, access-withdrawn`,
      ]);
      assert.equal(psql('db'), '42\n');
    });

    test('finds no other name, and what its search list makes of one is no violation', () => {
      const before = lookupsIn(sidecar.frames()).length;
      fails(() => curl('http://secret.example.com/'), /Could not resolve host/);
      assert.match(run('dig', 'secret.example.com'), /status: NXDOMAIN.*AUTHORITY: 1/s);
      run('getent', 'ahosts', 'orders-db');
      const lookups = lookupsIn(sidecar.frames()).slice(before);
      assert.ok(lookups.includes('Deny A secret.example.com 1'));
      assert.deepEqual(lookups.filter((each) => /orders/.test(each)), []);
    }); // prettier-ignore

    test('is refused addresses that no Backend has, on record', async () => {
      const before = begun();
      fails(() => curl(`http://${further.service}/`), reset);
      assert.deepEqual((await since(before, 1)).map(summaryOf), [
        `TCP ${further.service}:80: Deny unknown-host, access-withdrawn`,
      ]);
    });

    test('is refused an address that stands for more than one may mean', async () => {
      const shared = { ...orders, metadata: { name: 'shared' }, spec: { ...orders.spec, hosts: ['pod-0.orders.example.com'] } }; // prettier-ignore
      await sidecar.apply(orders, shared, policy('Enforce'));
      run('getent', 'ahosts', 'pod-0.orders.example.com');
      const before = begun();
      assert.throws(() => psql(outside.v4));
      assert.equal(summaryOf((await since(before, 1))[0] as RecordedSession), `TCP ${outside.v4}:5432: Deny ambiguous-host, access-withdrawn`); // prettier-ignore
    });

    test('reaches an address that nobody may dial once a Backend names it, at the port that it names', async () => {
      const before = begun();
      await sidecar.apply(named, policy('Enforce'));
      assert.equal(curl(`http://${further.metadata}/`), `hello from ${further.metadata}`);
      assert.match(summaryOf((await since(before, 1))[0] as RecordedSession), /^TCP metadata: Allow default-action, agent-closed$/); // prettier-ignore
      fails(() => curl(`http://${further.metadata}:81/`), reset);
      assert.equal(summaryOf((await since(before, 2))[1] as RecordedSession), `TCP ${further.metadata}:81: Deny denied-address, access-withdrawn`); // prettier-ignore
    });
  });

  test('may present a token in the clear, since nothing of it leaves the pod', async () => {
    const credential = { type: 'Password', secretRef: { name: 'login' } };
    const withLogin = { ...orders, spec: { ...orders.spec, credential } };
    const asking = policy('Enforce');
    await sidecar.apply(withLogin, issuer, { ...asking, spec: { ...asking.spec, identity: 'Token' } }); // prettier-ignore
    fails(() => run('psql', '-c', 'SELECT 1', 'host=db user=u dbname=postgres password=wrong sslmode=disable'), /the login was not accepted/); // prettier-ignore
  });

  test('has its connections ended by a sidecar that is stopped', async () => {
    await sidecar.apply(orders, policy('Observe'));
    const before = begun();
    const held = await world.network.start('agent', 'hold', [outside.v4, 7_001]);
    const closed = once(held.process, 'close');
    sidecar.process.kill('SIGTERM');
    await closed;
    assert.deepEqual(held.events, [{ outcome: 'Connection reset by peer' }]);
    assert.match(summaryOf((await since(before, 1))[0] as RecordedSession), /Allow observe, draining$/); // prettier-ignore
  });
});

test('a pod without IPv6 works as one with it', { skip: withoutNamespaces }, async () => {
  await using world = await startPodWorld();
  const { network } = world;
  network.run('root in the pod', 'sh', '-c', 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6');
  network.applyRules();
  await using sidecar = await startPodSidecar(network, [orders, policy('Observe')]);
  const url = 'http://api.example.com/';
  assert.equal(network.run('agent', 'curl', '--silent', '--max-time', '10', url), 'hello from api.example.com'); // prettier-ignore
  assert.equal(sessionsIn(sidecar.frames()).length, 1);
});
