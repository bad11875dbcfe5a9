import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KnownNames } from '#core/dns/known-names.ts';
import { LearnedNames } from '#core/dns/learned-names.ts';
import type { DnsAnswer, DnsQuery, DnsRecord } from '#core/dns/packet.ts';
import type { RecordedVerdict } from '#core/record/kinds.ts';
import { NameService } from '../../../sidecar/dns/name-service.ts';
import type { Ready } from '../../../sidecar/ready.ts';
import { shop } from '../../support/policies.ts';

const backend = {
  ...shop,
  hosts: ['shop-db', 'only-here'],
  upstream: { ...shop.upstream, host: 'real-db.example.com' },
};

/** What there is outside, by type and name; nothing else exists. */
type World = Readonly<Record<string, readonly DnsRecord[] | 'SERVFAIL' | Promise<never>>>;

function startService(world: World, action: 'Allow' | 'Deny' = 'Allow', record: () => Ready = () => undefined) {
  const asked: string[] = [];
  const recorded: string[] = [];
  const learned = new LearnedNames();
  let nowMs = 0;
  const verdict: RecordedVerdict = { action, wouldBe: action, reason: 'unknown-host', revision: 'r' };
  const service = new NameService({
    known: () => new KnownNames([backend], ['ns.svc.cluster.local']),
    unknownHost: () => verdict,
    resolver: {
      resolve: async (name, type): Promise<DnsAnswer> => {
        asked.push(`${type} ${name}`);
        const found = await world[`${type} ${name}`];
        if (found === 'SERVFAIL') return { code: 'SERVFAIL', records: [] };
        const exists = Object.keys(world).some((key) => key.endsWith(` ${name}`));
        return { code: exists ? 'NOERROR' : 'NXDOMAIN', records: found ?? [] };
      },
    },
    learned,
    record: ({ name, type }, { action: what }) => {
      recorded.push(`${what} ${type} ${name}`);
      return record();
    },
    nowMs: () => nowMs,
  });
  return {
    asked,
    recorded,
    learned,
    later: (ms: number) => void (nowMs += ms),
    ask: (name: string, type = 'A') => service.answer({ name, type } as DnsQuery),
  };
} // prettier-ignore

const a = (data: string, ttl = 60): DnsRecord => ({ type: 'A', ttl, data });
const empty: DnsAnswer = { code: 'NOERROR', records: [] };
const nameless: DnsAnswer = { code: 'NXDOMAIN', records: [] };

describe('of a name that policy knows', () => {
  test('its addresses are told, learned and not recorded', async () => {
    const { ask, learned, recorded } = startService({ 'A shop-db': [a('192.0.2.1')] }, 'Deny');
    assert.deepEqual(await ask('shop-db'), { code: 'NOERROR', records: [a('192.0.2.1')] });
    assert.deepEqual(learned.namesOf('192.0.2.1', 0), ['shop-db']);
    assert.deepEqual(recorded, []);
  });

  test('nothing is told but addresses, services and canonical names', async () => {
    const { ask, asked } = startService({ 'TXT shop-db': [{ type: 'TXT', ttl: 1, data: ['x'] }] });
    for (const type of ['TXT', 'UNKNOWN_65', 'UNKNOWN_64', 'MX', 'ANY', 'AXFR'])
      assert.deepEqual(await ask('shop-db', type), empty);
    assert.deepEqual(asked, []);
  });

  test('a form with a search domain is the same name', async () => {
    const world = { 'A shop-db.ns.svc.cluster.local': [a('192.0.2.2')] };
    const { ask, learned } = startService(world, 'Deny');
    assert.equal((await ask('shop-db.ns.svc.cluster.local')).records.length, 1);
    assert.deepEqual(learned.namesOf('192.0.2.2', 0), ['shop-db']);
  });

  test('what exists for agents alone is told as the upstream', async () => {
    const { ask, learned } = startService({ 'A real-db.example.com': [a('192.0.2.3')] }, 'Deny');
    assert.deepEqual(await ask('only-here'), { code: 'NOERROR', records: [a('192.0.2.3')] });
    assert.deepEqual(learned.namesOf('192.0.2.3', 0), ['only-here']);
    assert.deepEqual(await ask('only-here.ns.svc.cluster.local'), nameless);
  });

  test('what services and canonical names lead to is as known, for an hour', async () => {
    const target = 'pod-0.shop.example.com';
    const world: World = {
      '_pg._tcp.shop-db': [],
      'SRV _pg._tcp.shop-db': [{ type: 'SRV', ttl: 1, data: { target, port: 5_432 } }],
      [`A ${target}`]: [a('192.0.2.4')],
      'CNAME shop-db': [{ type: 'CNAME', ttl: 1, data: 'alias.example.com' }],
      'A alias.example.com': [a('192.0.2.5')],
    };
    const { ask, learned, later } = startService(world, 'Deny');
    assert.deepEqual(await ask(target), nameless);
    await ask('_pg._tcp.shop-db', 'SRV');
    await ask('shop-db', 'CNAME');
    assert.equal((await ask(target)).records.length, 1);
    assert.equal((await ask('alias.example.com')).records.length, 1);
    assert.deepEqual(learned.namesOf('192.0.2.4', 0), ['shop-db']);
    later(3_600_000);
    assert.deepEqual(await ask(target), nameless);
  });
});

describe('of a name that policy does not know', () => {
  test('nothing is asked outside under Deny, and it is recorded', async () => {
    const { ask, asked, recorded } = startService({ 'A secret.example': [a('192.0.2.1')] }, 'Deny');
    assert.deepEqual(await ask('secret.example'), nameless);
    assert.deepEqual(asked, []);
    assert.deepEqual(recorded, ['Deny A secret.example']);
  });

  test('what a search list makes of a known one is no violation', async () => {
    const { ask, recorded } = startService({}, 'Deny');
    assert.deepEqual(await ask('shop-db.corp.example'), nameless);
    assert.deepEqual(recorded, []);
  });

  test('it is recorded before it is asked outside, and each time that it is', async () => {
    const cleared = Promise.withResolvers<undefined>();
    const { ask, asked, recorded, later, learned } = startService({ 'A a.example': [a('192.0.2.1', 60)] }, 'Allow', () => cleared.promise); // prettier-ignore
    const first = ask('a.example');
    const second = ask('a.example');
    await new Promise(setImmediate);
    assert.deepEqual(recorded, ['Allow A a.example']);
    assert.deepEqual(asked, []);
    cleared.resolve(undefined);
    assert.deepEqual(await first, await second);
    await ask('a.example');
    assert.deepEqual(asked, ['A a.example']);
    later(60_000);
    await ask('a.example');
    assert.deepEqual(recorded, ['Allow A a.example', 'Allow A a.example']);
    assert.deepEqual(asked, ['A a.example', 'A a.example']);
    assert.deepEqual(learned.namesOf('192.0.2.1', 0), ['a.example']);
  });

  test('what cannot be recorded is not asked', async () => {
    const refusal = { code: 'audit-unavailable', message: 'm' } as const;
    const { ask, asked } = startService({ 'A a.example': [a('192.0.2.1')] }, 'Allow', () => ({ refusal, reason: 'audit-unavailable' })); // prettier-ignore
    assert.equal((await ask('a.example')).code, 'SERVFAIL');
    assert.deepEqual(asked, []);
  });

  test('no more than 128 are asked at once, and clients are told to come again', async () => {
    const never = new Promise<never>(() => undefined);
    const world = Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`A n${index}`, never])); // prettier-ignore
    const { ask, asked } = startService(world);
    for (let index = 0; index < 128; index += 1) void ask(`n${index}`);
    assert.equal((await ask('n199')).code, 'SERVFAIL');
    assert.equal(asked.length, 128);
  });

  test('no answer may be remembered longer than names are', async () => {
    const { ask } = startService({ 'A a.example': [a('192.0.2.1', 1_000_000)] });
    assert.deepEqual((await ask('a.example')).records, [a('192.0.2.1', 300)]);
  });

  test('an answer that failed is not remembered', async () => {
    const { ask, asked } = startService({ 'A a.example': 'SERVFAIL' });
    assert.equal((await ask('a.example')).code, 'SERVFAIL');
    await ask('a.example');
    assert.equal(asked.length, 2);
  });
});

test('while there is no bundle, no name is answered', async () => {
  const service = new NameService({
    known: () => undefined,
    unknownHost: () => assert.fail('nobody decides yet'),
    resolver: { resolve: () => assert.fail('nothing is asked') },
    learned: new LearnedNames(),
    record: () => undefined,
    nowMs: () => 0,
  });
  assert.equal((await service.answer({ name: 'a', type: 'A' } as DnsQuery)).code, 'SERVFAIL');
});
