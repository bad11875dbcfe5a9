import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ChaperoneError } from '#core/errors.ts';
import { lockDirectory } from '../../runtime/directory-lock.ts';
import { makeCertificates } from './certificates.ts';
import { containerdSettings, dnsSettings, kubeletSettings, podNetwork } from './files.ts';
import { hasForeignKubelet, keepSysctls, restoreSysctls } from './host.ts';
import { makeNetwork, removeNetwork } from './network.ts';
import { providePackages } from '../../tools/debian-packages.ts';
import { cniDirectory, forCluster } from './packages.ts';
import { containerdSocket, kube, runDirectory, state } from './places.ts';
import { isAlive, stop } from './processes.ts';
import { buildPrograms } from './programs.ts';
import { run, succeeds } from '../../tools/run.ts';
import { nodePrograms, startContainerd, startPrograms } from './start.ts';
import { endStrays, removeTraces } from './traces.ts';

/**
 * A cluster of one node for tests, with neither a container daemon nor a registry: etcd, Kubernetes' own programs,
 * containerd and CoreDNS run as processes of this machine, in one network namespace.
 */

export type Say = (line: string) => void;

const lockMs = 30 * 60_000; // who has it may be compiling

/** Why this user can have no cluster on this machine, or false. */
export const noCluster: string | false =
  process.platform !== 'linux'
    ? 'a cluster needs Linux'
    : process.getuid?.() !== 0
      ? 'only root can start a cluster'
      : false;

/** Installs and compiles what a cluster needs, unless it is there. */
export async function build(say: Say): Promise<void> {
  using _ = await lock(say);
  await provide(say);
}

/** Whether all programs of the cluster run. */
export function isUp(): boolean {
  return nodePrograms.every(isAlive);
}

/** Starts what does not run of the cluster; then its node is ready. Says whether there was anything to start. */
export async function up(say: Say): Promise<boolean> {
  if (noCluster !== false) throw new Error(noCluster);
  using _ = await lock(say);
  if (isUp()) return false;
  if (hasForeignKubelet())
    throw new Error('another kubelet runs here, and both would own the cgroup "kubepods"');
  await provide(say);
  say('starting the cluster');
  writeSettings();
  await makeCertificates();
  makeNetwork();
  keepSysctls();
  await startPrograms();
  return true;
}

/** Stops the cluster and removes all that `up` made; what was compiled stays. Fine where nothing runs. */
export async function down(say: Say): Promise<void> {
  if (noCluster !== false) throw new Error(noCluster);
  using _ = await lock(say);
  say('stopping the cluster');
  await stop('kubelet'); // or it would start again what is removed
  if (existsSync(containerdSocket) && existsSync(kube)) {
    // If somebody killed it, it is needed once more; what it cannot remove is ended and unmounted below.
    await startContainerd().catch((error: unknown) => say(String(error)));
    succeeds(kube, ['remove-pods', `unix://${containerdSocket}`], 120_000);
  }
  for (const name of nodePrograms.toReversed()) await stop(name);
  await endStrays();
  removeNetwork();
  restoreSysctls();
  removeTraces();
}

/** Gives the node the images of a docker-archive or an OCI archive. Says what they are called. */
export function loadImage(archive: string): string {
  const into = [`--address=${containerdSocket}`, '--namespace=k8s.io'];
  return run('ctr', [...into, 'images', 'import', archive]);
}

/** Gives an image of the node another name beside the one it has. */
export function nameImage(image: string, name: string): void {
  const into = [`--address=${containerdSocket}`, '--namespace=k8s.io'];
  run('ctr', [...into, 'images', 'tag', '--force', image, name]);
}

async function provide(say: Say): Promise<void> {
  providePackages(forCluster, say);
  await buildPrograms(say);
}

/** Waits for its turn: of two runs that start a cluster at once the second one finds it there. */
async function lock(say: Say): Promise<Disposable> {
  const deadline = performance.now() + lockMs;
  for (let tries = 0; ; tries += 1) {
    try {
      const server = await lockDirectory(state, 'another process has the cluster at work');
      return { [Symbol.dispose]: () => void server.close() };
    } catch (error) {
      if (!(error instanceof ChaperoneError) || performance.now() > deadline) throw error;
      if (tries === 0) say(`waiting: ${error.message}`);
      await delay(500);
    }
  }
}

function writeSettings(): void {
  for (const directory of ['cni', 'log', 'run'])
    mkdirSync(join(state, directory), { recursive: true });
  mkdirSync(runDirectory, { recursive: true });
  const write = (name: string, text: string): void => writeFileSync(join(state, name), text);
  write('cni/10-pods.conflist', podNetwork(state));
  write(
    'containerd.toml',
    containerdSettings({
      state,
      runDirectory,
      socket: containerdSocket,
      cniDirectory: cniDirectory(),
    }),
  );
  write('kubelet.yaml', kubeletSettings(state, containerdSocket));
  write('Corefile', dnsSettings(state));
}
