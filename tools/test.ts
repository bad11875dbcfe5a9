import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { parseArgs } from 'node:util';

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
process.env['CHAPERONE_TEST_SCALE'] = values.long ? '1' : '0.1';

const files = globSync('test/**/*.test.ts')
  .filter((file) => positionals.length === 0 || positionals.some((part) => file.includes(part)))
  .sort();
const counts = { passed: 0, failed: 0, skipped: 0 };
const skipped: string[] = [];

/** Milliseconds a file may take: a test that hangs is a failure, a whole gigabyte is not. */
const timeout = values.long ? 2_400_000 : 600_000;

/** What measures the memory of a process, is about a machine under load, or has the one cluster: it runs with nothing beside it. */
const alone =
  /^test\/(cluster|faults|end-to-end\/(hostile|hostile-backend|hostile-texts|large|slow-logins))\b/;
const rounds = [
  {
    files: files.filter((file) => !alone.test(file)),
    concurrency: availableParallelism() > 1 ? 2 : 1,
  },
  { files: files.filter((file) => alone.test(file)), concurrency: 1 },
];
for (const round of rounds) if (round.files.length > 0) await runFiles(round);

// The last line is ours.
for (const line of skipped) process.stdout.write(`${line}\n`);
const { passed, failed, skipped: left } = counts;
process.stdout.write(`chaperone: ${passed} passed, ${failed} failed, ${left} skipped\n`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;

async function runFiles(round: {
  readonly files: readonly string[];
  readonly concurrency: number;
}): Promise<void> {
  const stream = run({ files: round.files, concurrency: round.concurrency, timeout });
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
    if (event.details.type !== 'suite') counts.failed += 1;
  });
  const report = stream.compose(spec).pipe(new PassThrough());
  report.pipe(process.stdout, { end: false });
  await finished(report);
}
