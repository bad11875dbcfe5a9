import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { namespaceFile, state } from './places.ts';

/** The node's programs as processes. They outlive the one that starts them, so files say which they are. */

const pollMs = 100;
const readyMs = 180_000; // ten seconds are usual; a busy machine takes its time
const stopMs = 10_000;

const logFile = (name: string): string => join(state, 'log', `${name}.log`);

/** The process of a program, if it runs. Its working directory tells it from another that has got its number since. */
export function tryFindPid(name: string): number | undefined {
  try {
    const pid = Number(readFileSync(join(state, 'run', name), 'utf8'));
    return readlinkSync(`/proc/${pid}/cwd`) === state ? pid : undefined;
  } catch {
    return undefined; // no such file, or no such process
  }
}

export function isAlive(name: string): boolean {
  return tryFindPid(name) !== undefined;
}

/** Starts a program in the node's network, unless it runs. What it writes is in the state's `log`. */
export function start(name: string, program: string, args: readonly string[]): void {
  if (isAlive(name)) return;
  const log = openSync(logFile(name), 'a');
  // nsenter rather than `ip netns exec`, which mounts /sys anew and so hides the cgroups.
  const child = spawn('nsenter', [`--net=${namespaceFile}`, '--', program, ...args], {
    cwd: state,
    detached: true,
    stdio: ['ignore', log, log],
    env: { PATH: process.env['PATH'], HOME: state }, // no proxies, no kubeconfig of the user's
  });
  closeSync(log);
  if (child.pid === undefined) throw new Error(`${name} cannot be started: is there an nsenter?`);
  child.unref();
  writeFileSync(join(state, 'run', name), String(child.pid));
}

/** Ends a program, with force after ten seconds. */
export async function stop(name: string): Promise<void> {
  const pid = tryFindPid(name);
  if (pid === undefined) return;
  signal(pid, 'SIGTERM');
  const deadline = performance.now() + stopMs;
  while (isAlive(name)) {
    if (performance.now() > deadline) signal(pid, 'SIGKILL');
    await delay(pollMs);
  }
}

/** Sends a signal to a process that may have ended. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended, which is what is wanted of it.
  }
}

/** Waits until a probe succeeds that depends on a program; fails with the end of its log when that ends or takes long. */
export async function waitUntilReady(name: string, probe: () => boolean): Promise<void> {
  const deadline = performance.now() + readyMs;
  while (!probe()) {
    const alive = isAlive(name);
    if (!alive || performance.now() > deadline) {
      const said = readFileSync(logFile(name), 'utf8').trimEnd().split('\n').slice(-15).join('\n');
      throw new Error(
        `${name} ${alive ? 'is not ready' : 'has ended'}; ${logFile(name)} ends in\n${said}`,
      );
    }
    await delay(pollMs);
  }
}
