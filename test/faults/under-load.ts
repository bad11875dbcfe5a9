import { setTimeout as delay } from 'node:timers/promises';
import type { TestContext } from 'node:test';
import { startInstance, type StartOptions, type TestInstance } from '../support/instance.ts';
import { Random } from '../support/random.ts';
import { until } from '../support/until.ts';
import { audit, type Counts } from './audit.ts';
import { Load, type LoadOptions } from './load.ts';
import { Watch } from './watch.ts';

export interface UnderLoadOptions extends LoadOptions {
  readonly start?: StartOptions;
}

/** What a test does its damage to. */
export interface Scene {
  readonly instance: TestInstance;
  readonly load: Load;
  readonly random: Random;
  readonly watch: Watch;
}

const steadyWork = 20;

/**
 * Starts everything, lets agents work while `damage` is done, sees that they work on afterwards, and then audits to the
 * last statement. Returns what was counted.
 */
export async function underLoad(
  t: TestContext,
  options: UnderLoadOptions,
  damage: (scene: Scene) => Promise<void>,
): Promise<Counts> {
  const { environment, ...start } = options.start ?? {};
  await using instance = await startInstance({
    ...start,
    secrets: {},
    // Heads of streams are entered every second, so that the ledger has something to lose.
    environment: {
      ...environment,
      collector: { CHAPERONE_LEDGER_SECONDS: '1', ...environment?.collector },
    },
  });
  const password = await instance.token({ ttl: '86400' });
  await using watch = new Watch(instance);
  await using load = new Load(instance, password, options);
  await load.more(steadyWork);
  await damage({ instance, load, random: new Random(options.seed), watch });
  await load.more(steadyWork);
  await load.stop();
  const counts = await audit(instance, load.book, watch);
  t.diagnostic(JSON.stringify({ ...counts, errors: Object.fromEntries(load.errors) }));
  return counts;
}

export type Part = 'sidecar' | 'collector' | 'store';

/** Kills parts at once, as the kernel would for want of memory, and waits until all of them run again. */
export async function kill(instance: TestInstance, ...parts: readonly Part[]): Promise<void> {
  const { pids } = instance.instance;
  for (const part of parts) process.kill(pids[part], 'SIGKILL');
  for (const part of parts)
    await until(
      `the ${part} runs again`,
      () => instance.instance.pids[part] !== pids[part],
      60_000,
    );
}

/** Kills parts again and again, at random moments while agents work. */
export async function killAgain(
  { instance, load, random }: Scene,
  times: number,
  ...parts: readonly Part[]
): Promise<void> {
  for (let left = times; left > 0; left -= 1) {
    await load.more(1);
    await delay(random.below(3_000)); // the moment is the fault: it may be while it still recovers, or long after
    await kill(instance, ...parts);
  }
}
