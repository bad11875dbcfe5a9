import { existsSync } from 'node:fs';
import type { Needed } from '../../tools/debian-packages.ts';
import { inPath } from '../../tools/run.ts';

const cniDirectories = ['/usr/lib/cni', '/opt/cni/bin'];

/** Where the plugins are that give pods their network. */
export function cniDirectory(): string {
  return cniDirectories.find((directory) => existsSync(`${directory}/bridge`)) ?? '/usr/lib/cni';
}

/** What a cluster runs on besides its compiled programs. Docker's containerd serves as well as Debian's. */
export const forCluster: readonly Needed[] = [
  [() => inPath('containerd') && inPath('ctr'), 'containerd'],
  [() => inPath('runc'), 'runc'],
  [() => existsSync(`${cniDirectory()}/bridge`), 'containernetworking-plugins'],
  [() => inPath('nft'), 'nftables'],
  [() => inPath('ip'), 'iproute2'],
  [() => inPath('nsenter'), 'util-linux'],
  [() => inPath('sysctl'), 'procps'],
  [() => inPath('umount'), 'mount'],
];
