import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BackendAddresses } from '../../../sidecar/interception/backend-addresses.ts';
import { shop } from '../../support/policies.ts';

const backend = {
  ...shop,
  hosts: ['Shop-DB', '192.0.2.1', '2001:db8::1'],
  ports: [5_432, 6_432],
  upstream: { ...shop.upstream, host: 'db.example.com', port: 7_432 },
};

function start() {
  const asked: string[] = [];
  let nowMs = 0;
  const held = Promise.withResolvers<void>();
  const places = new BackendAddresses({
    lookUp: async (name) => {
      asked.push(name);
      if (name.startsWith('slow')) await held.promise;
    },
    nowMs: () => nowMs,
  });
  return { places, asked, answer: held.resolve, later: (ms: number) => void (nowMs += ms) };
}

describe('where Backends are', () => {
  test('is asked of the names that could be at a port, and of no addresses', async () => {
    for (const [port, names] of [
      [5_432, ['shop-db']],
      [6_432, ['shop-db']],
      [7_432, ['db.example.com']],
      [80, []],
    ] as const) {
      const { places, asked } = start();
      await places.lookUp(port, [backend]);
      assert.deepEqual(asked, names, String(port));
    }
  });

  test('is asked once in half a minute, however many connections wait for it', async () => {
    const { places, asked, answer, later } = start();
    const slow = [{ ...backend, hosts: ['slow-db'] }];
    let answered = 0;
    const waiting = [0, 1].map(() => places.lookUp(5_432, slow).then(() => (answered += 1)));
    await new Promise(setImmediate);
    assert.deepEqual([asked, answered], [['slow-db'], 0]);
    answer();
    await Promise.all(waiting);
    later(29_999);
    await places.lookUp(5_432, slow);
    assert.deepEqual(asked, ['slow-db']);
    later(1);
    await places.lookUp(5_432, slow);
    assert.deepEqual(asked, ['slow-db', 'slow-db']);
  });

  test('is not asked of more than 16 names at once', async () => {
    const { places, asked, answer } = start();
    const hosts = Array.from({ length: 20 }, (_, index) => `slow-${index}`);
    const done = places.lookUp(5_432, [{ ...backend, hosts }]);
    await new Promise(setImmediate);
    assert.equal(asked.length, 16);
    answer();
    await done;
    assert.deepEqual(asked, hosts);
  });
});
