import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { until } from '../support/until.ts';
import { mountSmallSpool, mounts } from './tmpfs.ts';
import { kill, underLoad, type Scene } from './under-load.ts';

/** Refusals that show that nothing passes. */
const enough = 20;
const megabytes = 24;

function waitBriefly(config: string): void {
  const file = join(config, 'policies.yaml');
  writeFileSync(file, readFileSync(file, 'utf8').replace('wait: 10s', 'wait: 500ms'));
}

const briefly = { prepare: waitBriefly };

/** Has a spool fail, sees that statements are refused, mends it, and sees that they pass again. */
async function refuseMeanwhile(
  { load }: Scene,
  fail: () => void | Promise<void>,
  mend: () => void | Promise<void>,
): Promise<void> {
  await fail();
  await load.moreRefusals(enough);
  await mend();
  await load.more(enough);
}

describe('a spool on a disk of its own', { skip: mounts }, () => {
  const onSmallDisk = async (
    t: TestContext,
    seed: number,
    damage: (scene: Scene, disk: ReturnType<typeof mountSmallSpool>) => Promise<void>,
  ): Promise<void> => {
    using disk = mountSmallSpool(megabytes);
    let config = '';
    const start = {
      data: disk.data,
      prepare: (directory: string) => {
        config = directory;
        waitBriefly(directory);
      },
    };
    try {
      await underLoad(t, { seed, long: 4, start }, (scene) => damage(scene, disk));
    } finally {
      rmSync(dirname(config), { recursive: true });
    }
  };

  test('is full because the collector is away: what cannot be recorded is refused, and once the collector is back all is as before', async (t) => {
    await onSmallDisk(t, 301, async (scene) => {
      const { collector } = scene.instance.instance.pids;
      await refuseMeanwhile(
        scene,
        () => void process.kill(collector, 'SIGSTOP'),
        () => void process.kill(collector, 'SIGCONT'),
      );
    });
  });

  test('is full when the sidecar is killed: the next one refuses as well, and once the collector is back all is as before', async (t) => {
    await onSmallDisk(t, 302, async (scene) => {
      const { collector } = scene.instance.instance.pids;
      await refuseMeanwhile(
        scene,
        async () => {
          process.kill(collector, 'SIGSTOP');
          await scene.load.moreRefusals(enough);
          await kill(scene.instance, 'sidecar');
        },
        () => void process.kill(collector, 'SIGCONT'),
      );
    });
  });

  test('is full of what is not ours: what cannot be recorded is refused until there is room', async (t) => {
    await onSmallDisk(t, 303, async (scene, { directory }) => {
      const file = join(directory, 'not-ours');
      await refuseMeanwhile(
        scene,
        () => fill(file, () => scene.load.refusals > 0),
        () => rmSync(file),
      );
    });
  });

  test('is read-only when the sidecar starts: nothing passes until it can be written', async (t) => {
    await onSmallDisk(t, 304, async ({ instance, load }, disk) => {
      const { sidecar, supervisor } = instance.instance.pids;
      const before = instance.output.length;
      process.kill(supervisor, 'SIGSTOP'); // it would start the next one at once
      process.kill(sidecar, 'SIGKILL');
      await until('nobody has a file of it open', () => tryRemount(disk));
      process.kill(supervisor, 'SIGCONT');
      const answered = load.book.count('answered');
      // It starts and refuses; only what a write has left in half keeps it from starting.
      await until(
        'the sidecar has tried to start',
        () => load.refusals >= enough || instance.output.slice(before).includes('does not start'),
      );
      assert.equal(load.book.count('answered'), answered);
      disk.remount('rw');
      await until('the sidecar runs again', () => instance.instance.pids.sidecar !== sidecar);
      await load.more(enough);
    });
  });
});

/** Takes all the room that there is, again and again as some comes free, until it is enough. */
async function fill(path: string, enough: () => boolean): Promise<void> {
  const fd = openSync(path, 'w');
  const some = Buffer.alloc(4_096);
  await until('the disk is full', () => {
    while (tryWrite(fd, some));
    return enough();
  });
  closeSync(fd);
}

function tryWrite(fd: number, bytes: Buffer): boolean {
  try {
    writeSync(fd, bytes);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return false;
    throw error;
  }
}

function tryRemount(disk: ReturnType<typeof mountSmallSpool>): boolean {
  try {
    disk.remount('ro');
    return true;
  } catch {
    return false; // it is in use
  }
}

test('a spool of which no file may grow: what cannot be recorded is refused until they may again', async (t) => {
  await underLoad(t, { seed: 305, start: briefly }, async (scene) => {
    const limit = (bytes: number | 'unlimited'): void =>
      void execFileSync('prlimit', [
        `--pid=${scene.instance.instance.pids.sidecar}`,
        `--fsize=${bytes}:unlimited`,
      ]);
    for (const bytes of [0, 4_096, 0])
      await refuseMeanwhile(
        scene,
        () => limit(bytes),
        () => limit('unlimited'),
      );
  });
});
