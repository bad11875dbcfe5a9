import { containerdSocket } from './places.ts';
import { run } from '../../tools/run.ts';

/** What is done to containers of pods from outside, past the API: as the kernel or a failing node would. */

const inRuntime = [`--address=${containerdSocket}`, '--namespace=k8s.io', 'tasks'] as const;

/** Sends a signal to the first process of a container, by the id that the pod's status names. */
export function signalContainer(id: string, signal: NodeJS.Signals): void {
  run('ctr', [...inRuntime, 'kill', `--signal=${signal}`, plain(id)]);
}

/** The number that the first process of a container has on this machine. */
export function pidOfContainer(id: string): number {
  const lines = run('ctr', [...inRuntime, 'list']).split('\n');
  const [, pid] = lines.find((line) => line.startsWith(plain(id)))?.split(/\s+/) ?? [];
  if (pid === undefined) throw new Error(`no process of ${id}`);
  return Number(pid);
}

const plain = (id: string): string => id.replace(/^containerd:\/\//, '');
