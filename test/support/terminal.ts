import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { PsqlLogin } from './psql.ts';
import { until } from './until.ts';

/** A program that runs on a terminal, as for a person. It is ended when it is disposed of. */
export interface Terminal extends AsyncDisposable {
  /** Resolves with the exit code. */
  readonly exited: Promise<number>;
  type(keys: string): void;
  /** Sends SIGINT to the program alone. */
  interrupt(): void;
  /** Waits until what was shown since the last time matches. */
  see(want: RegExp): Promise<string>;
}

// util-linux's `script` ends with its input and hides the program's process; Python's pty does neither.
const runOnTerminal = `
import os, pty, sys, select, struct
program = sys.argv[1:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(program[0], program)
os.write(3, str(pid).encode() + b'\\n')
while True:
    ready, _, _ = select.select([0, fd], [], [])
    if 0 in ready:
        keys = os.read(0, 65536)
        if not keys: os.kill(pid, 9)
        else: os.write(fd, keys)
    if fd in ready:
        try: shown = os.read(fd, 65536)
        except OSError: break
        if not shown: break
        os.write(1, shown)
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status) & 255)
`;

/** Runs a program on a terminal of its own. */
export function runInTerminal(
  program: readonly string[],
  env: Readonly<Record<string, string>>,
): Terminal {
  const child = spawn('python3', ['-c', runOnTerminal, ...program], {
    env: { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8', TERM: 'dumb', ...env },
    stdio: ['pipe', 'pipe', 'inherit', 'pipe'],
  });
  let shown = '';
  let pid = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (shown += text));
  child.stdio[3]?.on('data', (text: Buffer) => (pid += text.toString()));
  const exited = once(child, 'close').then(([code]) => Number(code));
  return {
    exited,
    [Symbol.asyncDispose]: async () => {
      child.stdin?.end();
      await exited;
    },
    type: (keys) => void child.stdin?.write(keys),
    interrupt: () => void process.kill(Number(pid), 'SIGINT'),
    see: async (want) => {
      const text = await until(
        `${String(want)} is shown`,
        () => (want.test(shown) ? shown : undefined),
        60_000,
      ).catch((cause: unknown) => {
        throw new Error(`never shown: ${String(want)}, but: ${shown}`, { cause });
      });
      shown = '';
      return text;
    },
  };
}

/** Runs psql on a terminal. */
export function startTerminal({
  host,
  port,
  user = 'postgres',
  database = 'postgres',
  password,
  settings = '',
}: PsqlLogin): Terminal {
  const target = `host=${host} port=${port} user=${user} dbname=${database} ${settings}`;
  return runInTerminal(['psql', '-X', '-n', '-P', 'pager=off', '-v', 'PROMPT1=%/=# ', target], {
    PGPASSWORD: password,
  });
}
