import { execFileSync, type ExecFileSyncOptionsWithStringEncoding } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Runs a program to its end and returns what it wrote. Its failure names the command and what it said. */
export function run(
  program: string,
  args: readonly string[],
  options: Omit<ExecFileSyncOptionsWithStringEncoding, 'encoding'> = {},
): string {
  try {
    return execFileSync(program, args, {
      stdio: 'pipe',
      maxBuffer: 64 * 1024 * 1024,
      timeout: 120_000,
      ...options,
      encoding: 'utf8',
    });
  } catch (cause) {
    const { stderr, message } = cause as { stderr?: string | null; message: string }; // execFileSync attaches the first
    const said = typeof stderr === 'string' ? stderr.trim() : '';
    throw new Error(`${program} ${args.join(' ')}: ${said === '' ? message : said}`, { cause });
  }
}

/** Whether a program says yes within a time; one that is not there says no. */
export function succeeds(program: string, args: readonly string[], timeoutMs = 30_000): boolean {
  try {
    execFileSync(program, args, { stdio: 'ignore', timeout: timeoutMs });
    return true;
  } catch {
    return false; // which is the answer
  }
}

export function inPath(program: string): boolean {
  return (process.env['PATH'] ?? '')
    .split(':')
    .some((directory) => existsSync(join(directory, program)));
}
