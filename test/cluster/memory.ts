import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Bytes of anonymous and kernel memory that a container of this machine's cluster holds, by the kernel's own count
 * (memory.stat, of either version of cgroups). Pages of files are left out: they go where others need the room.
 *
 * @throws Error where there is no such container.
 */
export function memoryOfContainer(podUid: string, containerId: string): number {
  const id = containerId.replace(/^.*:\/\//, '');
  const [path] = globSync(
    [`/sys/fs/cgroup/memory/kubepods/**/pod${podUid}/${id}`, `/sys/fs/cgroup/kubepods/**/pod${podUid}/${id}`],
  ); // prettier-ignore
  if (path === undefined) throw new Error(`no cgroup of container ${id} of pod ${podUid}`);
  const stat = readFileSync(join(path, 'memory.stat'), 'utf8');
  const of = (name: string): number | undefined => {
    const [, value] = new RegExp(`^${name} (\\d+)$`, 'm').exec(stat) ?? [];
    return value === undefined ? undefined : Number(value);
  };
  const kernelOfVersion1 = join(path, 'memory.kmem.usage_in_bytes');
  const anonymous = of('anon') ?? of('total_rss');
  const kernel = existsSync(kernelOfVersion1)
    ? Number(readFileSync(kernelOfVersion1, 'utf8'))
    : of('kernel');
  if (anonymous === undefined || kernel === undefined)
    throw new Error(`${path} does not say what is anonymous, and what the kernel's`);
  return anonymous + kernel;
}
