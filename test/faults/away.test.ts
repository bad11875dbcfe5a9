import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { projectDirectory } from '../../cli/instance.ts';
import { scaled } from '../support/random.ts';
import { until } from '../support/until.ts';
import { underLoad, type Scene } from './under-load.ts';

const awayMs = scaled(300_000);
const unhurried = { pauseMs: 20 }; // the spool has to hold all of it

/** Agents work on while the collector is away, and are refused nothing. */
async function workMeanwhile({ load }: Scene): Promise<void> {
  const before = load.book.count('answered');
  await delay(awayMs);
  assert.ok(load.book.count('answered') > before + awayMs / 100, 'the agents were held up');
  assert.deepEqual([...load.errors.keys()], ['22012']);
}

describe('a collector that is away for minutes', { concurrency: true }, () => {
  test('because it hangs: agents work on, and once it goes on everything is stored', async (t) => {
    await underLoad(t, { seed: 201, ...unhurried }, async (scene) => {
      const { collector } = scene.instance.instance.pids;
      process.kill(collector, 'SIGSTOP');
      await workMeanwhile(scene);
      process.kill(collector, 'SIGCONT');
    });
  });

  test('because it was killed: agents work on, and once there is one again everything is stored', async (t) => {
    const home = mkdtempSync(join(tmpdir(), 'chaperone-away-'));
    const program = join(home, 'collector.ts');
    const there = (): void =>
      writeFileSync(program, `import '${join(projectDirectory, 'collector/main.ts')}';\n`);
    there();
    const programs = { sidecar: join(projectDirectory, 'sidecar/main.ts'), collector: program };
    try {
      await underLoad(t, { seed: 202, ...unhurried, start: { programs } }, async (scene) => {
        const { collector } = scene.instance.instance.pids;
        rmSync(program); // what is to be started again is not there
        process.kill(collector, 'SIGKILL');
        await workMeanwhile(scene);
        there();
        await until(
          'there is one again',
          () => scene.instance.instance.pids.collector !== collector,
        );
      });
    } finally {
      rmSync(home, { recursive: true });
    }
  });
});
