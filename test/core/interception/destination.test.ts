import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { findDestination } from '#core/interception/destination.ts';
import { shop } from '../../support/policies.ts';

const upstream = { host: 'Real-DB.example.com', port: 6_432, tls: shop.upstream.tls };
const first = { ...shop, name: 'first', hosts: ['Orders-DB', '192.0.2.1'], ports: [5_432, 5_433], upstream }; // prettier-ignore
const second = { ...shop, name: 'second', hosts: ['orders-db'], ports: [80] };
const third = { ...shop, name: 'third', hosts: ['queue'], ports: [5_432], upstream: { ...upstream, host: '192.0.2.3', port: 7 } }; // prettier-ignore

describe('what an agent has dialled leads to', () => {
  const cases: [title: string, address: string, port: number, names: string[], to: string][] = [
    ['a Backend by a name that was told', '192.0.2.9', 5_432, ['orders-db'], 'first'],
    ['another one at another port', '192.0.2.9', 80, ['orders-db'], 'second'],
    ['a Backend by its address', '192.0.2.1', 5_433, [], 'first'],
    ['a Backend by the name of its upstream', '192.0.2.9', 6_432, ['real-db.example.com'], 'first'],
    ['a Backend by the address of its upstream', '192.0.2.3', 7, [], 'third'],
    ['a Backend, whatever else was told of the address', '192.0.2.9', 5_432, ['x', 'orders-db', 'y'], 'first'],
    ['nothing that is known, at a port that no Backend has', '192.0.2.1', 1, ['orders-db'], 'unknown'],
    ['nothing that is known, at the upstream’s port of another', '192.0.2.9', 6_432, ['orders-db'], 'unknown'],
    ['nothing that is known, without names', '192.0.2.9', 5_432, [], 'unknown'],
    ['more than one Backend', '192.0.2.9', 5_432, ['orders-db', 'queue'], 'ambiguous'],
  ]; // prettier-ignore
  for (const [title, address, port, names, to] of cases)
    test(title, () => {
      const found = findDestination({ address, port, names }, [first, second, third]);
      assert.equal(found.kind === 'backend' ? found.backend.name : found.kind, to);
    });
});
