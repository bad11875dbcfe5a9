import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { debianBinaries, startBackendServer } from '../support/backend-server.ts';
import { providePostgresTests } from '../support/postgres-source.ts';
import { assertOneResultEach, waitForSessions } from '../support/results.ts';
import { startThrough } from '../support/through.ts';

interface Address {
  readonly host: string;
  readonly port: number;
  readonly password: string;
}

/** How the suite went on one route. */
interface Run {
  readonly output: string;
  readonly passed: readonly string[];
  readonly failed: readonly string[];
}

const settings = { max_prepared_transactions: '2' }; // as pg_regress sets it for a server of its own

/** The names that pg_regress prints with an outcome. */
function named(outcome: RegExp, summary: string): string[] {
  return Array.from(summary.matchAll(/^(?:test| {4}) (\S+) +\.\.\. (.*)$/gm))
    .filter(([, , said = '']) => outcome.test(said))
    .map(([, name = '']) => name)
    .sort();
}

describe("PostgreSQL's own regression suite", () => {
  let home: string;
  let direct: Run;

  before(() => {
    const { regress } = providePostgresTests();
    // The server reads and writes there as well, under an account of its own.
    home = mkdtempSync(join(tmpdir(), 'chaperone-regress-'));
    chmodSync(home, 0o755);
    cpSync(regress, join(home, 'regress'), { recursive: true });
  });
  after(() => rmSync(home, { recursive: true, force: true }));

  /** Runs the whole suite as superuser, its own parallel schedule, in a database that it makes itself. */
  async function runSuite(route: string, { host, port, password }: Address): Promise<Run> {
    const source = join(home, 'regress');
    const output = join(home, route);
    for (const directory of [output, join(output, 'results')]) {
      mkdirSync(directory);
      chmodSync(directory, 0o777);
    }
    const options = {
      inputdir: source,
      outputdir: output,
      dlpath: source,
      schedule: join(source, 'parallel_schedule'),
      bindir: debianBinaries(15),
      'max-concurrent-tests': '20',
      host,
      port: String(port),
      user: 'postgres',
      dbname: 'regression', // some answers hold it
    };
    const program = spawn(
      join(source, 'pg_regress'),
      Object.entries(options).map(([name, value]) => `--${name}=${value}`),
      {
        cwd: output,
        env: { PATH: process.env['PATH'], PGPASSWORD: password },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let said = '';
    for (const stream of [program.stdout, program.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (said += text));
    await once(program, 'close');
    const run = { output, passed: named(/^ok/, said), failed: named(/^(?!ok)/, said) };
    assert.ok(run.passed.length + run.failed.length > 0, said);
    return run;
  }

  /** The beginning of what pg_regress found to differ from what is expected. */
  function differences({ output }: Run): string {
    const file = join(output, 'regression.diffs');
    return existsSync(file) ? readFileSync(file, 'utf8').slice(0, 10_000) : '';
  }

  test('passes 200 files and more without the sidecar', async () => {
    await using server = await startBackendServer({ version: 15, settings });
    direct = await runSuite('direct', server);
    const { length } = direct.passed;
    assert.ok(
      length >= 200,
      `${length} passed; ${direct.failed.join(' ')}\n${differences(direct)}`,
    );
  });

  test('passes exactly those files through the sidecar, with the same bytes, and a result on record for every request', async () => {
    await using server = await startBackendServer({ version: 15, settings });
    await using through = await startThrough(server);
    const gated = await runSuite('through', through);
    assert.deepEqual(gated.passed, direct.passed, differences(gated));
    assert.deepEqual(gated.failed, direct.failed);
    for (const name of direct.passed) {
      const [wanted, got] = [direct, gated].map(({ output }) =>
        readFileSync(join(output, 'results', `${name}.out`)),
      );
      assert.deepEqual(got, wanted, name);
    }
    await waitForSessions(through.instance);
    const results = await assertOneResultEach(through.instance);
    assert.ok(results > 30_000, `${results} results`);
  });
});
