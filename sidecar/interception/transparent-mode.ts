import type { Logger } from 'pino';
import type { BundleNetwork } from '#core/bundle-message.ts';
import { KnownNames } from '#core/dns/known-names.ts';
import { LearnedNames } from '#core/dns/learned-names.ts';
import { ChaperoneError } from '#core/errors.ts';
import type { Bundle } from '#core/policy/resolve.ts';
import { tryParseAddress, type Address } from '../../runtime/settings.ts';
import type { SidecarConfig } from '../config.ts';
import type { Connections } from '../connections.ts';
import { NameService } from '../dns/name-service.ts';
import { startDnsServer, type DnsServer } from '../dns/server.ts';
import { createUpstreamResolver, type NameResolver } from '../dns/upstream-resolver.ts';
import type { Host } from '../host.ts';
import type { Routes } from '../upstream.ts';
import { DeniedAddresses } from './denied-addresses.ts';
import { loadOriginalDestination } from './original-destination.ts';
import { TransparentListener } from './transparent-listener.ts';
import { createUpstreamLookup } from './upstream-lookup.ts';

export interface Served {
  readonly host: Pick<Host, 'bundle' | 'unknownHost' | 'recordLookup'>;
  readonly connections: Connections;
  /** Why the sidecar cannot do its work now, or undefined when it can. */
  readonly notReady: () => string | undefined;
  readonly log: Logger;
}

/** What is known of the network that the pod is in. */
interface Surroundings {
  /** All of it, to see whether it changes. */
  readonly said: string;
  readonly resolver: NameResolver;
  readonly searchDomains: readonly string[];
  readonly denied: DeniedAddresses;
}

/** Everything that only a pod has whose rules lead its traffic here: names, where they lead, and what is dialled. */
export class TransparentMode {
  /** How the sidecar itself reaches upstreams. */
  readonly routes: Routes;
  readonly #config: SidecarConfig;
  readonly #resolver: NameResolver;
  readonly #learned = new LearnedNames();
  #network: Surroundings | undefined;
  #known: KnownNames | undefined;
  #listener: TransparentListener | undefined;
  #names: DnsServer | undefined;

  constructor(config: SidecarConfig) {
    const { transparentResolver: resolver, transparentSearchDomains: searchDomains } = config;
    this.#config = config;
    if (resolver !== 'none') this.#surround(resolver, { searchDomains, deniedAddresses: [] });
    this.#resolver = {
      resolve: async (name, type) =>
        this.#network?.resolver.resolve(name, type) ?? { code: 'SERVFAIL', records: [] },
    };
    this.routes = {
      connectTo: config.connectTo,
      isDenied: this.#isDenied,
      lookup: createUpstreamLookup({
        resolver: this.#resolver,
        searchDomains: () => this.#network?.searchDomains ?? [],
        learned: this.#learned,
        isDenied: this.#isDenied,
        nowMs,
      }),
    };
  }

  /** Takes what the controller says of the network around the pod. Nothing is looked up or dialled before. */
  surroundedBy({ resolver, searchDomains, deniedAddresses }: BundleNetwork): void {
    const address = tryParseAddress(resolver);
    if (!address) throw new ChaperoneError('config-invalid', `"${resolver}" is no address:port`);
    this.#surround(address, { searchDomains, deniedAddresses });
  }

  #surround(
    resolver: Address,
    { searchDomains, deniedAddresses }: Pick<BundleNetwork, 'searchDomains' | 'deniedAddresses'>,
  ): void {
    const said = JSON.stringify([resolver, searchDomains, deniedAddresses]);
    if (said === this.#network?.said) return; // what is remembered and under way stays
    const denied = [...this.#config.transparentDeniedAddresses, ...deniedAddresses];
    this.#network = {
      said,
      resolver: createUpstreamResolver(resolver),
      searchDomains,
      denied: new DeniedAddresses(denied),
    };
  }

  readonly #isDenied = (address: string): boolean => this.#network?.denied.has(address) ?? true;

  /** Opens the listeners; until the first bundle nothing is let through. @throws ChaperoneError `config-invalid`. */
  async start({ host, connections, notReady, log }: Served): Promise<void> {
    const { transparentPort: port, transparentDnsPort: dnsPort } = this.#config;
    const unknownHost = () => host.unknownHost();
    const service = new NameService({
      known: () => this.#known,
      unknownHost,
      resolver: this.#resolver,
      learned: this.#learned,
      record: (lookup, verdict) => host.recordLookup(lookup, verdict),
      nowMs,
    });
    this.#names = await startDnsServer({
      port: dnsPort,
      answer: (query) => service.answer(query),
      onError: (error) => log.error({ err: error }, 'a name could not be answered'),
    });
    this.#listener = new TransparentListener({
      port,
      connections,
      originalDestination: await loadOriginalDestination(),
      learned: this.#learned,
      isDenied: this.#isDenied,
      bundle: () => host.bundle,
      unknownHost,
      notReady,
      log,
      nowMs,
    });
    await this.#listener.open();
  }

  /** Takes note of the Backends of a bundle. */
  async apply({ backends }: Bundle): Promise<void> {
    this.#network?.denied.apply(backends.values());
    this.#known = new KnownNames(backends.values(), this.#network?.searchDomains ?? []);
  }

  /** Takes no new connections, and waits for those that are open; until then names are answered. Never rejects. */
  async close(): Promise<void> {
    await this.#listener?.close();
    this.#names?.close();
  }
}

function nowMs(): number {
  return performance.now();
}
