import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KnownNames } from '#core/dns/known-names.ts';
import { shop } from '../../support/policies.ts';

const orders = { ...shop, name: 'orders', hosts: ['orders-db', 'shop.db.example.com'] };
const names = new KnownNames([shop, orders], ['agents.svc.cluster.local', 'svc.Cluster.Local']);

describe('a name that policy knows', () => {
  const cases: [asked: string, host: string | undefined, exact: boolean, ...backends: string[]][] = [
    ['shop-db', 'shop-db', true, 'shop'],
    ['shop.db.example.com', 'shop.db.example.com', true, 'shop', 'orders'],
    ['orders-db.agents.svc.cluster.local', 'orders-db', false, 'orders'],
    ['orders-db.svc.cluster.local', 'orders-db', false, 'orders'],
    ['_postgresql._tcp.orders-db', 'orders-db', false, 'orders'],
    ['_postgresql._tcp.orders-db.svc.cluster.local', 'orders-db', false, 'orders'],
    ['_a-secret-that-is-long._tcp.orders-db', undefined, false],
    ['_x._secret.orders-db', undefined, false],
    ['orders-db.example.com', undefined, false],
    ['db.example.com', undefined, false],
    ['x.shop-db', undefined, false],
    ['svc.cluster.local', undefined, false],
    ['', undefined, false],
  ]; // prettier-ignore
  for (const [asked, host, exact, ...backends] of cases)
    test(`is ${host ?? 'not found'} for "${asked}"`, () => {
      const found = names.find(asked);
      assert.equal(found?.host, host);
      if (found) assert.deepEqual([found.exact, ...found.backends.map(({ name }) => name)], [exact, ...backends]); // prettier-ignore
    });

  test('has expansions, by whatever a search list puts behind it', () => {
    for (const name of ['orders-db.example.com', 'orders-db.a.b.c', 'shop.db.example.com.corp', 'orders-db.svc.cluster.local.corp'])
      assert.equal(names.isExpansion(name), true, name);
    for (const name of ['x.orders-db', 'orders-dbx.example.com', 'orders-db', 'example.com'])
      assert.equal(names.isExpansion(name), false, name);
  }); // prettier-ignore

  test('has expansions of what clients use for short, where it ends in a search domain', () => {
    const service = { ...shop, hosts: ['db.data.svc.cluster.local'] };
    const known = new KnownNames([service], ['agents.svc.cluster.local', 'svc.cluster.local', 'cluster.local']);
    for (const name of ['db.data.agents.svc.cluster.local', 'db.data.corp', 'db.data.svc.agents.svc.cluster.local', '_pg._tcp.db.data.corp'])
      assert.equal(known.isExpansion(name), true, name);
    for (const name of ['db.data', 'db.other.agents.svc.cluster.local', 'data.agents.svc.cluster.local', 'x.db.data.corp'])
      assert.equal(known.isExpansion(name), false, name);
  }); // prettier-ignore
});
