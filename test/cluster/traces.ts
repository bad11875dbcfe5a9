import { existsSync, lstatSync, readdirSync, readlinkSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { cgroupsOfPods, mountsBelow, processesOfPods } from './host.ts';
import { containerdSocket, runDirectory, state } from './places.ts';
import { signal } from './processes.ts';
import { run } from '../../tools/run.ts';

const endMs = 10_000;

/** What kubelet, CNI and containerd make outside the directories that they are given. */
const elsewhere = [
  '/var/lib/kubelet/device-plugins',
  '/var/lib/kubelet',
  '/var/log/containers',
  '/var/lib/cni/results',
  '/var/lib/cni',
  '/run/containerd/runc/k8s.io',
  '/run/containerd/runc',
  '/run/containerd/s',
  '/run/containerd',
];

/** What `up` and its programs make below the state's directory: that alone is deleted, by name. */
const made = [
  'Corefile',
  'cni',
  'cni-addresses',
  'containerd',
  'containerd.toml',
  'etcd',
  'kubelet',
  'kubectl',
  'kubelet.yaml',
  'log',
  'pause.tar',
  'pki',
  'run',
  'sysctl',
  'volume-plugins',
];

/** Ends what is left of pods whose runtime could not do so. */
export async function endStrays(): Promise<void> {
  const deadline = performance.now() + endMs;
  for (;;) {
    const left = processesOfPods(containerdSocket);
    if (left.length === 0) return;
    if (performance.now() > deadline)
      throw new Error(`processes of pods cannot be ended: ${left.join(', ')}`);
    for (const pid of left) signal(pid, 'SIGKILL');
    await delay(50);
  }
}

/** Removes mounts, cgroups and files of a cluster that has been stopped. */
export function removeTraces(): void {
  for (const path of mountsBelow([state, runDirectory])) run('umount', [path]);
  for (const path of cgroupsOfPods()) rmdirSync(path);
  rmSync('/var/lib/kubelet/device-plugins/kubelet.sock', { force: true });
  removeLogLinks('/var/log/containers');
  for (const directory of elsewhere) removeIfEmpty(directory);
  rmSync(runDirectory, { recursive: true, force: true });
  for (const name of made) rmSync(join(state, name), { recursive: true, force: true });
}

/** The kubelet links the logs of its pods there. */
function removeLogLinks(directory: string): void {
  if (!existsSync(directory)) return;
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (lstatSync(path).isSymbolicLink() && readlinkSync(path).startsWith(`${state}/`))
      rmSync(path);
  }
}

function removeIfEmpty(directory: string): void {
  if (existsSync(directory) && readdirSync(directory).length === 0) rmdirSync(directory);
}
