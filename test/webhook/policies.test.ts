import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Policies, type PolicyPages } from '../../webhook/policies.ts';

/** A policy as the API shows it. */
const policy = (name: string, version: number, port: number, more: object = {}): object => ({
  apiVersion: 'chaperone.dev/v1alpha1',
  kind: 'AuditPolicy',
  metadata: { name, namespace: 'agents', uid: name, resourceVersion: String(version) },
  spec: { podSelector: {}, inbound: { ports: [port] }, ...more },
});

const filler = (length: number): object => ({
  rules: Array.from({ length }, (_, index) => ({ name: `rule-${index}`, backends: ['shop'], anySubject: true, action: 'Deny', message: 'a'.repeat(1_000) })),
}); // prettier-ignore

function pagesOf(own: readonly object[]): PolicyPages & { asked: number } {
  const pages = async function* (namespace: string | undefined): AsyncGenerator<readonly object[]> {
    for (let from = 0; namespace !== undefined && from < own.length; from += 8) {
      pages.asked += 1;
      yield own.slice(from, from + 8);
    }
  };
  pages.asked = 0;
  return pages;
}

const portsOf = async (policies: Policies): Promise<readonly number[]> =>
  (await policies.of('agents')).flatMap(({ spec }) => spec.inboundPorts);

describe('policies of a namespace', () => {
  test('are read once in each version', async () => {
    const own = [policy('one', 1, 7001)];
    const policies = new Policies(pagesOf(own));
    const [first] = await policies.of('agents');
    assert.equal((await policies.of('agents'))[0], first);
    own[0] = policy('one', 2, 7002);
    assert.deepEqual(await portsOf(policies), [7002]);
  });

  test('are taken from all pages, but for those that cannot be read', async () => {
    const own = Array.from({ length: 20 }, (_, index) => policy(`p-${index}`, 1, 7_000 + index));
    own[3] = policy('broken', 1, 8_000, { mode: 'Sometimes' });
    const ports = await portsOf(new Policies(pagesOf(own)));
    assert.deepEqual([ports.length, ports.includes(8_000)], [19, false]);
  });

  test('count for nothing, and are asked for no further, where they are more than anybody reads', async () => {
    for (const own of [
      Array.from({ length: 600 }, (_, index) => policy(`p-${index}`, 1, 7_000)),
      Array.from({ length: 400 }, (_, index) => policy(`p-${index}`, 1, 7_000, filler(60))),
    ]) {
      const pages = pagesOf(own);
      assert.deepEqual(await portsOf(new Policies(pages)), []);
      assert.ok(pages.asked < own.length / 8, `${pages.asked} pages`);
    }
  });

  test('are listed for few pods of a namespace at once, and then for the next', async () => {
    const held = Promise.withResolvers<void>();
    let under = 0;
    const policies = new Policies(async function* (namespace) {
      if (namespace === undefined) return;
      under += 1;
      await held.promise;
      yield [policy('one', 1, 7001)];
    });
    const asked = Array.from({ length: 10 }, () => portsOf(policies));
    await turn(); // by then all that may ask have asked
    assert.equal(under, 2);
    held.resolve();
    assert.deepEqual(await Promise.all(asked), Array(10).fill([7001]));
  });
});
