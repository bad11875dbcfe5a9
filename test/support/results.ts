import assert from 'node:assert/strict';
import { allSessions, type TestInstance } from './instance.ts';
import { untilStored } from './metrics.ts';
import { until } from './until.ts';

/** Waits until every session is over and stored to its end. */
export async function waitForSessions(instance: TestInstance): Promise<void> {
  await untilStored(instance);
  await until('all sessions are stored', async () => {
    for await (const { endedAt } of allSessions(instance.collector()))
      if (endedAt === null) return false;
    return true;
  });
}

/**
 * Fails unless every request of every stored session has exactly one result. Returns how many results there are.
 * Sessions of more requests than `most` are left out: they take long to read.
 */
export async function assertOneResultEach(
  instance: TestInstance,
  most = Infinity,
): Promise<number> {
  const collector = instance.collector();
  let count = 0;
  for await (const { id, requests } of allSessions(collector)) {
    if (requests > most) continue;
    const missing = new Set<number>();
    const results = new Set<number>();
    for await (const { header } of collector.frames(id)) {
      if (header.kind === 'request' && header.verdict.action === 'Allow') missing.add(header.seq);
      // A statement that failed has a result as well.
      if (header.kind !== 'result') continue;
      assert.ok(!results.has(header.request ?? 0), `two results of ${header.request}`);
      results.add(header.request ?? 0);
      missing.delete(header.request ?? 0);
    }
    count += results.size;
    assert.deepEqual([...missing], [], id);
  }
  return count;
}
