import { BlockList, isIP } from 'node:net';
import type { ResolvedBackend } from '#core/policy/resolve.ts';

/**
 * Addresses that nothing is sent to unless a Backend, which only the platform's team can write, names them itself; and
 * then to the ports that it names with them: the database of a node is not the node's kubelet.
 */
export class DeniedAddresses {
  readonly #denied = new BlockList();
  /** As `address port`. */
  #named: ReadonlySet<string> = new Set();

  /** Addresses, and networks as `address/bits`. This machine itself is always among them. */
  constructor(denied: readonly string[]) {
    for (const each of [...denied, ...ownAddresses]) addTo(this.#denied, each);
  }

  /** Takes note of what Backends name, as a host or as an upstream. */
  apply(backends: Iterable<ResolvedBackend>): void {
    const named = Array.from(backends, ({ hosts, ports, upstream }) => [
      ...hosts.flatMap((host) => ports.map((port) => ({ host, port }))),
      // Agents that are told of the upstream's address dial it at the Backend's own ports.
      ...[upstream.port, ...ports].map((port) => ({ host: upstream.host, port })),
    ]).flat();
    this.#named = new Set(
      named.filter(({ host }) => isIP(host) !== 0).map(({ host, port }) => keyOf(host, port)),
    );
  }

  /** Of an address in canonical form; what is no address is denied. */
  has(address: string, port: number): boolean {
    const version = isIP(address);
    if (version === 0) return true;
    const isDenied = this.#denied.check(address, version === 4 ? 'ipv4' : 'ipv6');
    return isDenied && !this.#named.has(keyOf(address, port));
  }
}

function keyOf(address: string, port: number): string {
  return `${address.toLowerCase()} ${port}`;
}

// A name that leads here would have the sidecar dial the agent, or itself.
const ownAddresses = ['127.0.0.0/8', '::1', '0.0.0.0/8', '::'];

function addTo(list: BlockList, text: string): void {
  const [address = '', bits] = text.split('/');
  const family = isIP(address) === 4 ? 'ipv4' : 'ipv6';
  if (bits === undefined) list.addAddress(address, family);
  else list.addSubnet(address, Number(bits), family);
}

/** Reads `address` and `address/bits`, separated by commas. */
export function tryParseNetworks(text: string): readonly string[] | undefined {
  const networks = text === '' ? [] : text.split(',');
  return networks.every(isNetwork) ? networks : undefined;
}

function isNetwork(text: string): boolean {
  const [, address = '', bits] = /^([0-9a-fA-F:.]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const version = isIP(address);
  return version !== 0 && Number(bits ?? 0) <= (version === 4 ? 32 : 128);
}
