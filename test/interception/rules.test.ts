import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { scaled } from '../support/random.ts';
import {
  addresses,
  makePodNetwork,
  ports,
  sidecarUid,
  withoutNamespaces,
  type Peer,
  type PodNetwork,
} from '../support/pod-network.ts';
import { until } from '../support/until.ts';

const versions = ['v4', 'v6'] as const;
const { pod, outside } = addresses;
const loopbacks = ['127.0.0.1', '::1'];
const refused = /^(?:Operation not permitted|Permission denied|No route to host)$/;

describe('with its rules a pod', { skip: withoutNamespaces }, () => {
  let network: PodNetwork;
  const peers: Peer[] = [];
  let server: Peer;

  before(async () => {
    network = makePodNetwork();
    server = await network.start('outside', 'serve', ['outside', [outside.v4, outside.v6], [53, 443, 8_000]]); // prettier-ignore
    const sidecar = await network.start('sidecar', 'serve', ['sidecar', loopbacks, [ports.proxyPort, ports.dnsPort]]); // prettier-ignore
    const agent = await network.start('agent', 'serve', ['agent', ['0.0.0.0', '::'], [9_000, 9_001]]); // prettier-ignore
    peers.push(server, sidecar, agent);
    network.applyRules({ openPorts: [9_001] });
  });

  after(async () => {
    for (const peer of peers) await peer[Symbol.asyncDispose]();
    network[Symbol.dispose]();
  });

  const seenOutside = (): number => server.events.length;

  for (const version of versions) {
    const host = outside[version];

    test(`sends what its agents dial to the sidecar, whatever their group, over ${version}`, async () => {
      const seen = seenOutside();
      for (const port of [8_000, 443, 53, 1]) {
        assert.equal(await network.try('agent', 'tcp', [host, port]), 'sidecar hello');
        assert.equal(await network.try('root in the pod', 'tcp', [host, port]), 'sidecar hello');
      }
      assert.equal(await network.try('agent', 'udp', [host, 53]), 'sidecar hello');
      assert.equal(seenOutside(), seen);
    });

    test(`refuses other datagrams at once, QUIC among them, over ${version}`, async () => {
      const seen = seenOutside();
      for (const port of [443, 8_000])
        assert.match(String(await network.try('agent', 'udp', [host, port])), refused);
      assert.equal(seenOutside(), seen);
    });

    test(`refuses raw IP and ICMP at once, over ${version}`, async () => {
      for (const protocol of [253, version === 'v4' ? 1 : 58])
        assert.match(String(await network.try('agent', 'raw', [host, protocol], 'net_raw')), refused);
    }); // prettier-ignore

    test(`lets out whatever runs under the uid of the sidecar, over ${version}`, async () => {
      assert.equal(await network.try('sidecar', 'tcp', [host, 8_000]), 'outside hello');
      assert.equal(await network.try('sidecar', 'udp', [host, 8_000]), 'outside hello');
    });

    test(`can be reached at the ports that a policy names, and at no others, over ${version}`, async () => {
      const tried = (
        [
          ['tcp', 9_001],
          ['tcp', 9_000],
          ['udp', 9_001],
          ['udp', 9_000],
          ['tcp', ports.proxyPort],
        ] as const
      ).map(([kind, port]) => [kind, pod[version], port]);
      assert.deepEqual(await network.try('outside', 'reach', tried), [
        'agent hello',
        'stuck',
        'stuck',
        'stuck',
        'stuck',
      ]);
    });

    test(`has no agent that takes over what the sidecar has just used, over ${version}`, async () => {
      const local = 40_000;
      assert.equal(
        await network.try('sidecar', 'udp', [host, 8_000, 'once', local]),
        'outside once',
      );
      const seen = seenOutside();
      assert.match(
        String(await network.try('agent', 'udp', [host, 8_000, 'once', local])),
        refused,
      );
      assert.equal(seenOutside(), seen);
    });

    test(`keeps what agents and the sidecar ask from the same port apart, over ${version}`, async () => {
      for (const [first, local] of [['agent', 40_001], ['sidecar', 40_002]] as const)
        for (const place of [first, first === 'agent' ? 'sidecar' : 'agent', first] as const)
          assert.equal(await network.try(place, 'udp', [host, 53, 'once', local]), place === 'agent' ? 'sidecar once' : 'outside once');
    }); // prettier-ignore

    for (const side of ['server', 'client'])
      test(`leaves no socket behind at a server when the ${side} closes first, over ${version}`, async () => {
        const port = side === 'server' ? 7_001 : 7_002;
        await using _ = await network.start('outside', 'closer', [host, port]);
        const count = scaled(1_000);
        assert.equal(await network.try('sidecar', 'closing', [host, port, count, side]), count);
        await until('no socket waits for a segment', () => {
          const open = ['exclude', 'listening', 'exclude', 'time-wait'];
          return network.run('outside', 'ss', '-tanH', 'state', 'all', ...open, 'sport', '=', `:${port}`) === ''; // prettier-ignore
        });
      });
  }

  test('takes no other uid for that of the sidecar', async () => {
    const seen = seenOutside();
    const known = [0, 1, 33, 100, 101, 999, 1_000, 1_001, 1_337, 2_102, 5_737, 10_001, 65_532, 65_534];
    const near = [sidecarUid - 1, sidecarUid + 1, sidecarUid % 65_536, 999_999_999, 1_999_999_999, 4_294_967_294];
    for (const uid of [...known, ...near])
      assert.equal(await network.try(uid, 'tcp', [outside.v4, 8_000]), 'sidecar hello', String(uid));
    assert.equal(seenOutside(), seen);
  }); // prettier-ignore

  test('keeps every connection while its rules are put in force again', async () => {
    const seen = seenOutside();
    const steady = await network.start('agent', 'steady', [outside.v4, outside.v6]);
    for (let again = 0; again < scaled(200); again += 1) {
      network.applyRules({ openPorts: [9_001] });
      await new Promise(setImmediate); // reads what peers say: they wait where nobody does
    }
    steady.process.stdin?.end('stop\n');
    await once(steady.process, 'close');
    const [said] = steady.events;
    assert.ok(said);
    const { count, wrong } = said['outcome'] as { count: number; wrong: string[] };
    assert.deepEqual(wrong, []);
    assert.ok(count > 30, `${count} tries`);
    assert.equal(seenOutside(), seen);
    assert.equal(network.run('root in the pod', 'nft', 'list', 'ruleset').match(/chain outgoing/g)?.length, 1); // prettier-ignore
  });
});

describe('a pod in which nothing may come in', { skip: withoutNamespaces }, () => {
  for (const version of versions)
    test(`goes on with a connection of the sidecar's from before its rules, where the other side speaks first, over ${version}`, async () => {
      using network = makePodNetwork();
      await using server = await network.start('outside', 'push', [outside[version], 7_000]);
      await using sidecar = await network.start('sidecar', 'follow', [outside[version], 7_000]);
      network.applyRules();
      server.process.stdin?.write('now\n');
      const said = await until('it is told', () => sidecar.events.find((event) => 'outcome' in event)); // prettier-ignore
      assert.equal(said['outcome'], 'news');
    });

  test('takes rules without an open port', async () => {
    using network = makePodNetwork();
    network.applyRules();
    await using _ = await network.start('agent', 'serve', ['agent', ['0.0.0.0'], [9_000]]);
    assert.equal(await network.try('outside', 'tcp', [pod.v4, 9_000]), 'stuck');
  });

  test('has its agents fail at once while no sidecar runs', async () => {
    using network = makePodNetwork();
    network.applyRules();
    for (const version of versions)
      assert.equal(await network.try('agent', 'tcp', [outside[version], 80]), 'Connection refused');
  });
});
