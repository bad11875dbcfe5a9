import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { debianBinaries } from '../../test/support/backend-server.ts';
import type { Route } from '../setting.ts';

const run = promisify(execFile);
const binaries = debianBinaries(15);

function environment(route: Route, tls: boolean): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    PGHOST: '127.0.0.1',
    PGPORT: String(route.port),
    PGUSER: 'postgres',
    PGDATABASE: 'bench',
    PGPASSWORD: route.password,
    PGSSLMODE: tls ? 'require' : 'disable',
  };
}

/** What pgbench says at its end. */
export interface Throughput {
  readonly transactionsPerSecond: number;
  readonly latencyMs: number;
  readonly transactions: number;
}

/** Runs pgbench. @throws when a transaction fails: such a round counts for nothing. */
export async function pgbench(
  route: Route,
  args: readonly string[],
  tls = false,
): Promise<Throughput> {
  const { stdout, stderr } = await run(join(binaries, 'pgbench'), args, {
    env: environment(route, tls),
    maxBuffer: 16 * 1024 * 1024,
  });
  const number = (pattern: RegExp): number => Number(pattern.exec(stdout)?.[1] ?? 0);
  const failed = number(/number of failed transactions: (\d+)/);
  if (failed > 0) throw new Error(`${failed} transactions failed: ${stderr}`);
  return {
    transactionsPerSecond: number(/^tps = ([\d.]+)/m),
    latencyMs: number(/latency average = ([\d.]+) ms/),
    transactions: number(/transactions actually processed: (\d+)/),
  };
}

/** Runs a statement by psql with its output thrown away, and says how many milliseconds that took. */
export async function psqlMs(route: Route, statement: string, tls: boolean): Promise<number> {
  const began = performance.now();
  await run('psql', ['-X', '-At', '-o', '/dev/null', '-c', statement], {
    env: environment(route, tls),
  });
  return performance.now() - began;
}

/** Says how many milliseconds the answer takes to a client that only reads it. */
export async function drainMs(route: Route, statement: string, tls: boolean): Promise<number> {
  const program = join(import.meta.dirname, '../drain.ts');
  const args = [program, String(route.port), tls ? 'tls' : 'plain', statement];
  const { stdout } = await run(process.execPath, args, { env: environment(route, tls) });
  return (JSON.parse(stdout) as { ms: number }).ms; // its only output
}
