import type { BundleNetwork } from '#core/bundle-message.ts';
import { LearnedNames } from '#core/dns/learned-names.ts';
import { ChaperoneError } from '#core/errors.ts';
import type { Bundle } from '#core/policy/resolve.ts';
import { tryParseAddress, type Address } from '../runtime/settings.ts';
import type { SidecarConfig } from './config.ts';
import { createUpstreamResolver, type NameResolver } from './dns/upstream-resolver.ts';
import { BackendAddresses } from './interception/backend-addresses.ts';
import { DeniedAddresses } from './interception/denied-addresses.ts';
import { createUpstreamLookup, findAddresses } from './interception/upstream-lookup.ts';
import type { Routes } from './upstream.ts';

/** What is known of the network that the pod is in. */
interface Network {
  /** All of it, to see whether it changes. */
  readonly said: string;
  readonly resolver: NameResolver;
  readonly searchDomains: readonly string[];
  readonly denied: DeniedAddresses;
}

export type SurroundingsOptions = Pick<
  SidecarConfig,
  'connectTo' | 'transparentResolver' | 'transparentSearchDomains' | 'deniedAddresses'
>;

/**
 * The network around a pod, as the platform says it is: whose names are asked of whom, and where nothing is sent to. The
 * pod's own resolv.conf and hosts file count for nothing: its author writes them, and so does an agent that is root.
 */
export class Surroundings {
  /** How the sidecar itself reaches upstreams. */
  readonly routes: Routes;
  readonly resolver: NameResolver;
  /** What addresses were told for which names. */
  readonly learned = new LearnedNames();
  /** Where Backends are, though no agent has asked for them. */
  readonly places: BackendAddresses;
  readonly #always: readonly string[];
  #network: Network | undefined;

  /** `gateways` are the pod's: behind one is its node, under an address that the cluster does not tell. */
  constructor(options: SurroundingsOptions, gateways: readonly string[]) {
    const { transparentResolver, transparentSearchDomains: searchDomains } = options;
    this.#always = [...options.deniedAddresses, ...gateways];
    if (transparentResolver !== 'none')
      this.#surround(transparentResolver, { searchDomains, deniedAddresses: [] });
    this.resolver = {
      resolve: async (name, type) =>
        this.#network?.resolver.resolve(name, type) ?? { code: 'SERVFAIL', records: [] },
    };
    const lookup = {
      resolver: this.resolver,
      searchDomains: () => this.searchDomains,
      learned: this.learned,
      isDenied: this.isDenied,
      nowMs,
    };
    this.places = new BackendAddresses({ lookUp: (name) => findAddresses(name, lookup), nowMs });
    this.routes = {
      connectTo: options.connectTo,
      isDenied: this.isDenied,
      trustsLoopback: false,
      lookupFor: createUpstreamLookup(lookup),
    };
  }

  /** What clients may put behind a name. */
  get searchDomains(): readonly string[] {
    return this.#network?.searchDomains ?? [];
  }

  /** Of an address in canonical form. */
  readonly isDenied = (address: string, port: number): boolean =>
    this.#network?.denied.has(address, port) ?? true;

  /** Takes what the controller says of the network. Nothing is looked up or dialled before. */
  surroundedBy({ resolver, searchDomains, deniedAddresses }: BundleNetwork): void {
    const address = tryParseAddress(resolver);
    if (!address) throw new ChaperoneError('config-invalid', `"${resolver}" is no address:port`);
    this.#surround(address, { searchDomains, deniedAddresses });
  }

  /** Takes note of the Backends of a bundle. */
  apply({ backends }: Bundle): void {
    this.#network?.denied.apply(backends.values());
  }

  #surround(
    resolver: Address,
    { searchDomains, deniedAddresses }: Pick<BundleNetwork, 'searchDomains' | 'deniedAddresses'>,
  ): void {
    const said = JSON.stringify([resolver, searchDomains, deniedAddresses]);
    if (said === this.#network?.said) return; // what is remembered and under way stays
    this.#network = {
      said,
      resolver: createUpstreamResolver(resolver),
      searchDomains,
      denied: new DeniedAddresses([...this.#always, ...deniedAddresses]),
    };
  }
}

function nowMs(): number {
  return performance.now();
}
