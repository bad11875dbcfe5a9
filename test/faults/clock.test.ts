import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { get as http, type IncomingMessage } from 'node:http';
import { get as https } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestInstance } from '../support/instance.ts';
import { scaled } from '../support/random.ts';
import { until } from '../support/until.ts';
import { kill, underLoad, type Scene } from './under-load.ts';

const library = ['x86_64-linux-gnu', 'aarch64-linux-gnu']
  .map((machine) => `/usr/lib/${machine}/faketime/libfaketime.so.1`)
  .find((path) => existsSync(path));
const skip = library === undefined ? 'there is no libfaketime' : false;

const hour = 3_600;
const statements = scaled(5_000);

/** A wall clock of one process, which can be set; its monotonic clock is left alone. */
interface Clock extends Disposable {
  readonly environment: Readonly<Record<string, string>>;
  set(seconds: number): void;
}

function makeClock(): Clock {
  const home = mkdtempSync(join(tmpdir(), 'chaperone-clock-'));
  const file = join(home, 'offset');
  const set = (seconds: number): void => {
    writeFileSync(`${file}.new`, `${seconds < 0 ? '' : '+'}${seconds}`);
    renameSync(`${file}.new`, file);
  };
  set(0);
  return {
    environment: {
      LD_PRELOAD: library ?? '',
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      FAKETIME_CACHE_DURATION: '1', // seconds until the file is looked at again
      FAKETIME_DISABLE_SHM: '1',
      NO_FAKE_STAT: '1',
    },
    set,
    [Symbol.dispose]: () => rmSync(home, { recursive: true }),
  };
}

/** What a part takes for the time, in hours from now, as its answers over HTTP say. */
async function hoursOf({ instance }: TestInstance, part: 'sidecar' | 'collector'): Promise<number> {
  const { caFile, url } = instance.collector;
  const date = await new Promise<string | undefined>((resolve, reject) => {
    const take = (response: IncomingMessage): void => {
      resolve(response.headers.date);
      response.resume();
    };
    const outgoing =
      part === 'sidecar'
        ? http(instance.sidecar.metricsUrl, take)
        : https(url, { ca: readFileSync(caFile) }, take);
    outgoing.on('error', reject);
  });
  return Math.round((Date.parse(date ?? '') - Date.now()) / 1000 / hour);
}

/** Sets the clock of a part, and waits until it has noticed. */
async function setHours(
  { instance }: Scene,
  part: 'sidecar' | 'collector',
  clock: Clock,
  hours: number,
): Promise<void> {
  clock.set(hours * hour);
  await until(
    `the ${part} is ${hours} hours off`,
    async () => (await hoursOf(instance, part)) === hours,
  );
}

async function tellsOfSkew(instance: TestInstance): Promise<boolean> {
  const { findings } = await instance
    .collector()
    .json<{ findings: readonly { kind: string }[] }>('/v1/findings');
  return findings.some(({ kind }) => kind === 'clock-skew');
}

for (const part of ['sidecar', 'collector'] as const)
  test(
    `the clock of the ${part} is set back and forward by hours: no session ends, no login is refused, nothing is lost`,
    { skip },
    async (t) => {
      using clock = makeClock();
      const environment = { [part]: clock.environment };
      await underLoad(t, { seed: 500 + part.length, start: { environment } }, async (scene) => {
        for (const hours of [-1, 2, -2, 0]) {
          await setHours(scene, part, clock, hours);
          await scene.load.more(statements, 'answered', 300_000);
        }
        assert.deepEqual([...scene.load.errors.keys()], ['22012']);
        if (part === 'sidecar')
          await until('the collector tells of it', () => tellsOfSkew(scene.instance));
      });
    },
  );

test(
  'the clock of the sidecar is set back and the sidecar killed: nothing is lost',
  { skip },
  async (t) => {
    using clock = makeClock();
    const environment = { sidecar: clock.environment };
    await underLoad(t, { seed: 502, start: { environment } }, async (scene) => {
      const { instance, load } = scene;
      for (const hours of [-1, -2, 1, 0]) {
        await setHours(scene, 'sidecar', clock, hours);
        await load.more(50);
        await kill(instance, 'sidecar');
        await load.more(50);
      }
    });
  },
);
