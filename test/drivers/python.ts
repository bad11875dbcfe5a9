import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { projectDirectory } from '../../cli/instance.ts';

export interface PythonOptions {
  readonly input?: unknown;
  readonly directory?: string;
  /** Exit codes that are no failure of the program. Default: 0. */
  readonly mayExit?: readonly number[];
}

/** Runs Python with the packages that the tests brought, and resolves with what it printed. */
export function python(args: readonly string[], options: PythonOptions = {}): Promise<string> {
  const { input, directory = import.meta.dirname, mayExit = [0] } = options;
  return new Promise((resolve, reject) => {
    const child = execFile(
      join(projectDirectory, 'node_modules/.python/bin/python'),
      ['-B', ...args],
      {
        cwd: directory,
        env: { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8', PYTHONHASHSEED: '0' },
        maxBuffer: 256 * 1024 * 1024,
        timeout: 550_000,
      },
      (error, out, err) => {
        const code = error ? error.code : 0;
        if (typeof code === 'number' && mayExit.includes(code)) resolve(out);
        else
          reject(new Error(`python ${args[0]} ended with ${code}:\n${err}\n${out.slice(-10_000)}`));
      },
    );
    child.stdin?.on('error', () => undefined); // it has ended, and says why by its code
    child.stdin?.end(input === undefined ? '' : JSON.stringify(input));
  });
}
