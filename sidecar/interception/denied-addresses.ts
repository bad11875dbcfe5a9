import { BlockList, isIP } from 'node:net';
import type { ResolvedBackend } from '#core/policy/resolve.ts';

/** Addresses that nothing is sent to unless a Backend, which only the platform's team can write, names them itself. */
export class DeniedAddresses {
  readonly #denied = new BlockList();
  #named: ReadonlySet<string> = new Set();

  /** Addresses, and networks as `address/bits`. This machine itself is always among them. */
  constructor(denied: readonly string[]) {
    for (const each of [...denied, ...ownAddresses]) addTo(this.#denied, each);
  }

  /** Takes note of what Backends name, as a host or as an upstream. */
  apply(backends: Iterable<ResolvedBackend>): void {
    const hosts = Array.from(backends, ({ hosts: own, upstream }) => [
      ...own,
      upstream.host,
    ]).flat();
    this.#named = new Set(
      hosts.filter((host) => isIP(host) !== 0).map((host) => host.toLowerCase()),
    );
  }

  /** Of an address in canonical form; what is no address is denied. */
  has(address: string): boolean {
    const version = isIP(address);
    if (version === 0) return true;
    return (
      !this.#named.has(address) && this.#denied.check(address, version === 4 ? 'ipv4' : 'ipv6')
    );
  }
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
