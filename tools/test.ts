import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { text as buffer } from 'node:stream/consumers';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { inspect, parseArgs } from 'node:util';
import { isUp, noCluster } from '../test/cluster/cluster.ts';

/**
 * Runs the whole suite and ends with one line that a script can read. Arguments are parts of file names: `npm test
 * spool` runs the tests of the spool. `--long` takes counts, sizes and durations whole instead of a tenth.
 */

const { values, positionals } = parseArgs({
  options: {
    long: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
// Half of what many processes of ours do is to read the same sources again.
process.env['NODE_COMPILE_CACHE'] ??= resolve('node_modules/.cache/chaperone-compiled');
process.env['CHAPERONE_TEST_SCALE'] = values.long ? '1' : '0.1';

const files = globSync('test/**/*.test.ts')
  .filter((file) => positionals.length === 0 || positionals.some((part) => file.includes(part)))
  .sort();
/** What the runner counts at the end of each file. */
const totals = /^ℹ (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) .*\n/gm;
const began = performance.now();
const counts = { passed: 0, failed: 0, skipped: 0 };
const skipped: string[] = [];
const failures: string[] = [];
let done = 0;

/** Milliseconds a file may take, its processes' end included: what hangs is a failure, a whole gigabyte is not. */
const fileMs = values.long ? 10_800_000 : 1_200_000;

/** A file that tests how this machine's cluster comes and goes, and those that need one: they say so where they skip. */
const isLifeOfCluster = (file: string): boolean => file === 'test/cluster/cluster.test.ts';
const lifeOfCluster = files.filter(isLifeOfCluster);
const cluster = files.filter(
  (file) => !isLifeOfCluster(file) && readFileSync(file, 'utf8').includes('withoutCluster'),
);

/** What measures the memory of a process or is about a machine under load: nothing of its kind runs beside it. */
const alone =
  /^test\/(faults|end-to-end\/(hostile|hostile-backend|hostile-texts|large|slow-logins))\b/;
const demanding = files.filter((file) => alone.test(file) && !cluster.includes(file));
const others = files.filter((file) => ![...cluster, ...lifeOfCluster, ...demanding].includes(file));

// Tests of the cluster wait most of the time, and so do those of faults: two such lanes leave room for a third.
const first = runOneByOne(demanding);
const lane = async (before?: Promise<void>): Promise<void> => {
  await before;
  for (let name = others.shift(); name !== undefined; name = others.shift()) await runFile(name);
};
if (availableParallelism() > 1) await Promise.all([first, lane(), lane(runCluster())]);
else await lane(first.then(runCluster));

// The last line is ours.
for (const line of [...failures, ...skipped]) process.stdout.write(`${line}\n`);
const { passed, failed, skipped: left } = counts;
process.stdout.write(`chaperone: ${passed} passed, ${failed} failed, ${left} skipped\n`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;

/** Starts the cluster once for all files, so that none of them stops it under another. */
async function runCluster(): Promise<void> {
  await runOneByOne(lifeOfCluster);
  if (cluster.length === 0) return;
  const tool = async (command: string): Promise<void> => {
    const child = spawn(process.execPath, ['test/cluster/main.ts', command], { stdio: 'inherit' });
    await once(child, 'close'); // what it could not do, the tests say again
  };
  const own = noCluster === false && (process.env['KUBECONFIG'] ?? '') === '' && !isUp();
  if (own) await tool('up');
  try {
    await runOneByOne(cluster);
  } finally {
    if (own) await tool('down');
  }
}

async function runOneByOne(names: readonly string[]): Promise<void> {
  for (const name of names) await runFile(name);
}

/** Runs one file to its end, or until its time is up, and writes what it said once that is whole: others may be running. */
async function runFile(name: string): Promise<void> {
  // The runner's own `timeout` is one for tests, and waits for a process that has none left but does not end.
  const stream = run({ files: [name], concurrency: 1, signal: AbortSignal.timeout(fileMs) });
  stream.on('test:pass', (event) => {
    if (event.skip === undefined || event.skip === false) {
      if (event.details.type !== 'suite') counts.passed += 1;
    } else {
      // A suite that is skipped tells of none of its tests, and counts as one.
      counts.skipped += 1;
      skipped.push(
        `skipped: ${event.name} (${typeof event.skip === 'string' ? event.skip : 'no reason given'})`,
      );
    }
  });
  stream.on('test:fail', (event) => {
    if (event.details.type === 'suite') return;
    counts.failed += 1;
    failures.push(`failed: ${name}: ${event.name}\n${reasonOf(event.details.error)}`);
  });
  const report = await buffer(stream.compose(spec));
  done += 1;
  const minutes = Math.round((performance.now() - began) / 60_000);
  process.stdout.write(
    `\n${name} (${done} of ${files.length}, ${minutes} min)\n${report.replace(totals, '')}`,
  );
}

/** The first lines of what a test failed with, for the list at the end: the whole is with its file. */
function reasonOf(error: Error): string {
  return inspect(error.cause ?? error)
    .split('\n', 12)
    .map((line) => `  ${line}`)
    .join('\n');
}
