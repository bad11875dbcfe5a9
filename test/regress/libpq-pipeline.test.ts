import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { providePostgresTests, type PostgresTests } from '../support/postgres-source.ts';
import { assertOneResultEach, waitForSessions } from '../support/results.ts';
import { startThrough, type Through } from '../support/through.ts';

const rows = '700'; // as PostgreSQL's own runs have it
const routes = ['direct', 'through'] as const;
type Route = (typeof routes)[number];

/** This test sends until its socket is full, which is after as many statements as it happens. */
const untilFull = 'uniqviol';
const shape = (line: string): string => line.replaceAll(/\d+/g, '0');

async function* linesOf(trace: string): AsyncGenerator<string> {
  yield* createInterface({ input: createReadStream(trace), crlfDelay: Infinity });
}

/** The trace of each direction by itself: how the two are interleaved is up to the scheduler. */
async function directions(trace: string): Promise<{ up: string[]; down: string[] }> {
  const up: string[] = [];
  const down: string[] = [];
  for await (const line of linesOf(trace)) (line.startsWith('F') ? up : down).push(line);
  return { up, down };
}

/** The kinds of lines of a trace without their numbers, in the order in which they first come. */
async function shapes(trace: string): Promise<string[]> {
  const seen = new Set<string>();
  for await (const line of linesOf(trace)) seen.add(shape(line));
  return [...seen].sort();
}

describe('libpq_pipeline', () => {
  let tests: PostgresTests;
  let home: string;
  let server: BackendServer;
  let through: Through;

  before(async () => {
    tests = providePostgresTests();
    home = mkdtempSync(join(tmpdir(), 'chaperone-pipeline-'));
    server = await startBackendServer({ version: 15 });
    through = await startThrough(server);
    const { host, port, user, password } = server;
    const admin = new Client({ host, port, user, password, database: 'postgres' });
    await admin.connect();
    for (const route of routes) await admin.query(`CREATE DATABASE ${route}`);
    await admin.end();
  });
  after(async () => {
    await through[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    rmSync(home, { recursive: true, force: true });
  });

  const start = (args: readonly string[], password = '') => ({
    command: join(tests.pipeline, 'libpq_pipeline'),
    args,
    env: { LD_LIBRARY_PATH: tests.libraries, PGPASSWORD: password, LC_ALL: 'C' },
  });

  /** Runs one test and returns its trace. */
  async function run(name: string, route: Route): Promise<string> {
    const { host, port, password } = route === 'direct' ? server : through;
    const trace = join(home, `${name}.${route}`);
    const address = `host=${host} port=${port} user=postgres dbname=${route}`;
    const { command, args, env } = start(['-r', rows, '-t', trace, name, address], password);
    const program = spawn(command, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
    let said = ''; // the last of it: some tests say a line for each row
    program.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = `${said}${text}`.slice(-2_000);
    });
    const [code] = (await once(program, 'close')) as [number | null];
    assert.equal(code, 0, `${name}, ${route}: ${said}`);
    return trace;
  }

  function names(): string[] {
    const { command, args, env } = start(['tests']);
    const { stdout } = spawnSync(command, args, { env, encoding: 'utf8' });
    return stdout.split('\n').filter((name) => name !== '');
  }

  test('passes each of its tests, with the same messages up and down as without the sidecar', async () => {
    const all = names();
    assert.ok(all.length >= 11 && all.includes(untilFull), all.join());
    for (const name of all) {
      const direct = await run(name, 'direct');
      const gated = await run(name, 'through');
      if (name === untilFull) {
        assert.deepEqual(await shapes(gated), await shapes(direct), name);
        continue;
      }
      assert.deepEqual(await directions(gated), await directions(direct), name);
      // PostgreSQL says for most of them how the two are interleaved.
      const expected = join(tests.pipeline, 'traces', `${name}.trace`);
      if (existsSync(expected))
        assert.equal(readFileSync(gated, 'utf8'), readFileSync(expected, 'utf8'), name);
    }
  });

  test('leaves a result on record for every request', async () => {
    await waitForSessions(through.instance);
    const results = await assertOneResultEach(through.instance, 10_000);
    assert.ok(results > Number(rows), `${results} results`);
  });
});
