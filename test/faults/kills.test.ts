import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scaled } from '../support/random.ts';
import { killAgain, underLoad, type Part, type Scene } from './under-load.ts';

const cases: readonly [parts: readonly Part[], times: number][] = [
  [['sidecar'], 50],
  [['collector'], 50],
  [['store'], 10],
  [['sidecar', 'collector'], 20],
];

/** Has the policy deny everything for a while. */
async function denyForAWhile({ instance, load }: Scene): Promise<void> {
  const file = join(instance.config, 'policies.yaml');
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replaceAll('defaultAction: Allow', 'defaultAction: Deny'));
  await load.more(10, 'denied');
  writeFileSync(file, text);
}

for (const [index, [parts, times]] of cases.entries()) {
  test(`kill -9 of the ${parts.join(' and the ')}, again and again: nothing that the backend saw, an agent got or the collector acknowledged is missing`, async (t) => {
    const { unknown } = await underLoad(t, { seed: 100 + index, pauseMs: 2 }, async (scene) => {
      await killAgain(scene, Math.ceil(scaled(times) / 2), ...parts);
      await denyForAWhile(scene);
      await killAgain(scene, Math.floor(scaled(times) / 2), ...parts);
    });
    if (parts.includes('sidecar')) assert.ok(unknown > 0, 'nothing was under way at any kill');
  });
}
