import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { state } from './places.ts';
import { run } from '../../tools/run.ts';

/** What the cluster changes on the host itself, and whom it would be in the way of. */

/** The kubelet sets these of the whole machine. */
const sysctls = [
  'vm.overcommit_memory',
  'vm.panic_on_oom',
  'kernel.panic',
  'kernel.panic_on_oops',
  'kernel.keys.root_maxkeys',
  'kernel.keys.root_maxbytes',
];
const kept = join(state, 'sysctl');

/** Remembers what the kubelet is about to set, unless that was done before an earlier start. */
export function keepSysctls(): void {
  if (!existsSync(kept)) writeFileSync(kept, run('sysctl', sysctls));
}

export function restoreSysctls(): void {
  if (existsSync(kept)) run('sysctl', ['-q', '-p', kept]);
}

/**
 * Cgroups of pods, the innermost first. Version 1 has a tree for each controller, version 2 one; a cluster in a
 * container, such as kind's, has them further down and is none of ours.
 */
export function cgroupsOfPods(): readonly string[] {
  const root = '/sys/fs/cgroup';
  return ['.', ...readdirSync(root)]
    .map((controller) => join(root, controller, 'kubepods'))
    .filter((top) => existsSync(join(top, 'cgroup.procs')))
    .flatMap((top) => [
      top,
      ...readdirSync(top, { recursive: true, encoding: 'utf8' }).map((path) => join(top, path)),
    ])
    .filter((path) => existsSync(join(path, 'cgroup.procs')))
    .sort((a, b) => b.length - a.length);
}

/** Whether there are pods of another cluster, or of one whose state was deleted while it ran. */
export function hasForeignKubelet(): boolean {
  return !existsSync(kept) && cgroupsOfPods().length > 0;
}

/** Processes of pods, and those that hold them, which name the socket of the cluster's runtime. */
export function processesOfPods(runtimeSocket: string): readonly number[] {
  const inPods = cgroupsOfPods().flatMap((path) =>
    readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number),
  );
  const shims = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && isShim(commandOf(name), runtimeSocket))
    .map(Number);
  return [...new Set([...inPods, ...shims])];
}

function isShim(command: readonly string[], runtimeSocket: string): boolean {
  return /containerd-shim/.test(command[0] ?? '') && command.includes(runtimeSocket);
}

function commandOf(pid: string): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return []; // it has ended meanwhile
  }
}

/** Where something is mounted below any of these directories, the latest first. */
export function mountsBelow(directories: readonly string[]): readonly string[] {
  return readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => directories.some((directory) => path.startsWith(`${directory}/`)))
    .toReversed();
}
