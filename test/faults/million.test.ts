import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { scaled } from '../support/random.ts';
import { kill, underLoad, type Part } from './under-load.ts';

const million = 1_000_000;
const wanted = scaled(million) < million ? 30_000 : million; // a tenth would take minutes
const between = Math.max(5_000, scaled(25_000)); // records, on average, from one kill to the next
const parts: readonly Part[] = ['sidecar', 'collector', 'store'];

test(`of ${wanted} records none is lost and none stored twice, whatever is killed meanwhile`, async (t) => {
  const { records } = await underLoad(
    t,
    { seed: 601, agents: 8, session: 20_000 },
    async ({ instance, load, random, watch }) => {
      for (let next = random.below(2 * between); watch.records < wanted;) {
        await load.more(1);
        await delay(100);
        if (watch.records < next) continue;
        await kill(instance, random.pick(parts));
        next = watch.records + random.below(2 * between);
      }
    },
  );
  assert.ok(records >= wanted);
});
