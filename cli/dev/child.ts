import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, renameSync, statSync } from 'node:fs';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { createInterface } from 'node:readline';
import { ChaperoneError } from '#core/errors.ts';
import { controlFd } from '#core/control.ts';

export interface NodeChildOptions<Report> {
  readonly name: string;
  /** Program and arguments for Node. */
  readonly args: readonly string[];
  /** All of the environment: nothing of the supervisor's own is passed on. */
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** Sent down the control pipe. */
  readonly secrets: object;
  readonly onReport: (report: Report) => void;
}

/** A part that runs as a process of its own, in a process group of its own, and stops when its pipe closes. */
export interface NodeChild {
  readonly pid: number;
  readonly exited: Promise<void>;
  /** Asks it to stop, and kills it when it has not after `timeoutMs`. */
  stop(timeoutMs: number): Promise<void>;
}

/** What every child gets of the supervisor's environment: nothing in it is a secret or a setting of ours. */
export function baseEnvironment(
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const names = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'TZ'];
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

// On a machine with much memory Node lets garbage of 128 MB lie before it is collected.
export const youngGeneration = '--max-semi-space-size=16';

// The larger a heap may get, the more garbage Node lets lie in it: four times what lives, or with this half as much again.
export const oldGeneration = '--max-old-space-size=1024';

// Large buffers go back to the system when they are freed, which glibc stops to do once it has seen some of them freed.
export const allocator = { MALLOC_MMAP_THRESHOLD_: '262144', MALLOC_ARENA_MAX: '2' };

const maxLogBytes = 10 * 1024 * 1024;

/** Opens a log file for appending; one that has grown long is set aside first, and the one set aside before is dropped. */
export function openLog(path: string): number {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > maxLogBytes)
    renameSync(path, `${path}.1`);
  return openSync(path, 'a', 0o600);
}

/** Starts a Node program with its control pipe. */
export function startNodeChild<Report>(options: NodeChildOptions<Report>): NodeChild {
  const log = openLog(options.logFile);
  const child = spawn(
    process.execPath,
    [youngGeneration, oldGeneration, '--disable-warning=ExperimentalWarning', ...options.args],
    {
      env: { ...allocator, ...options.env },
      stdio: ['ignore', log, log, 'pipe'],
      detached: true,
    },
  );
  closeSync(log);
  const pipe = child.stdio[controlFd] as Duplex; // 'pipe' above
  pipe.on('error', () => undefined); // the child is gone; `exited` says so
  pipe.write(`${JSON.stringify(options.secrets)}\n`);
  createInterface({ input: pipe })
    .on('line', (line) => options.onReport(JSON.parse(line) as Report)) // a child is this release
    .on('error', () => undefined); // the pipe's error comes here as well
  return controlled(options.name, child);
}

function controlled(name: string, child: ChildProcess): NodeChild {
  const { pid } = child;
  if (pid === undefined) throw new ChaperoneError('config-invalid', `cannot start ${name}`);
  const exited = once(child, 'exit').then(() => undefined);
  return {
    pid,
    exited,
    async stop(timeoutMs) {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
      await exited;
      clearTimeout(timer);
    },
  };
}
