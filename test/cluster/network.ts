import { existsSync } from 'node:fs';
import { addresses } from './addresses.ts';
import { clusterName, namespaceFile } from './places.ts';
import { run, succeeds } from '../../tools/run.ts';

const { host, node, pods, services } = addresses;

/** Runs a program in the node's network namespace. */
export function runInNode(program: string, args: readonly string[]): string {
  return run('nsenter', [`--net=${namespaceFile}`, '--', program, ...args]);
}

/**
 * Gives the node a network namespace and a link into it, so that the host keeps its firewall, routes and sysctls. The
 * node's address sits on the link: not every kernel has dummy ones.
 */
export function makeNetwork(): void {
  if (existsSync(namespaceFile)) return;
  const onHost = (command: string): string => run('ip', command.split(' '));
  const onNode = (command: string): string => onHost(`-n ${clusterName} ${command}`);
  onHost(`netns add ${clusterName}`);
  onHost(`link add ${clusterName} type veth peer name eth0 netns ${clusterName}`);
  onHost(`addr add ${host.v4}/24 dev ${clusterName}`);
  onHost(`addr add ${host.v6}/64 dev ${clusterName} nodad`);
  onHost(`link set ${clusterName} up`);
  onNode('link set lo up');
  onNode(`addr add ${node.v4}/24 dev eth0`);
  onNode(`addr add ${node.v6}/64 dev eth0 nodad`);
  onNode('link set eth0 up');
  onNode(`route add default via ${host.v4}`);
  onNode(`-6 route add default via ${host.v6}`);
  for (const range of [pods, services]) {
    onHost(`route add ${range.v4} via ${node.v4}`);
    onHost(`-6 route add ${range.v6} via ${node.v6}`);
  }
  // Pods on one bridge reach each other's Services only if what crosses it is filtered as well.
  succeeds('modprobe', ['--quiet', 'br_netfilter']); // in many kernels it is built in
  runInNode('sysctl', [
    '-qw',
    'net.ipv4.ip_forward=1',
    'net.ipv6.conf.all.forwarding=1',
    'net.bridge.bridge-nf-call-iptables=1',
    'net.bridge.bridge-nf-call-ip6tables=1',
  ]);
}

export function removeNetwork(): void {
  succeeds('ip', ['link', 'del', clusterName]); // the peer and the routes go with it
  succeeds('ip', ['netns', 'del', clusterName]);
}
