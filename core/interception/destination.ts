import type { ResolvedBackend } from '../policy/resolve.ts';

/** What an agent has dialled, and what is known of it. */
export interface Dialled {
  /** In canonical form. */
  readonly address: string;
  readonly port: number;
  /** In lower case: what agents and the sidecar itself have learned that the address stands for. */
  readonly names: readonly string[];
}

/** What it leads to. */
export type Destination =
  | { readonly kind: 'backend'; readonly backend: ResolvedBackend }
  | { readonly kind: 'unknown' }
  /** Several Backends: which of them an agent means does not show. */
  | { readonly kind: 'ambiguous' };

/**
 * Finds the Backend that an address and a port lead to: by a name that was told for the address, by the address itself
 * where a Backend has it as a host, and by where a Backend's upstream is. Names of the address that no Backend has do not
 * count: what goes to a Backend is dialled at its upstream, and can end nowhere else.
 */
export function findDestination(
  { address, port, names }: Dialled,
  backends: Iterable<ResolvedBackend>,
): Destination {
  const asked = new Set([address, ...names]);
  const found = Array.from(backends).filter(({ hosts, ports, upstream }) => {
    const atHost = ports.includes(port) && hosts.some((host) => asked.has(host.toLowerCase()));
    return atHost || (upstream.port === port && asked.has(upstream.host.toLowerCase()));
  });
  const [backend, ...others] = found;
  if (!backend) return { kind: 'unknown' };
  return others.length === 0 ? { kind: 'backend', backend } : { kind: 'ambiguous' };
}
