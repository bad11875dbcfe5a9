import type { Logger } from 'pino';
import { KnownNames } from '#core/dns/known-names.ts';
import { LearnedNames } from '#core/dns/learned-names.ts';
import { ChaperoneError } from '#core/errors.ts';
import type { Bundle } from '#core/policy/resolve.ts';
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
  readonly log: Logger;
}

/** Everything that only a pod has whose rules lead its traffic here: names, where they lead, and what is dialled. */
export class TransparentMode {
  /** How the sidecar itself reaches upstreams. */
  readonly routes: Routes;
  readonly #config: SidecarConfig;
  readonly #resolver: NameResolver;
  readonly #learned = new LearnedNames();
  readonly #denied: DeniedAddresses;
  #known: KnownNames | undefined;
  #listener: TransparentListener | undefined;
  #names: DnsServer | undefined;

  /** @throws ChaperoneError `config-invalid` without a resolver. */
  constructor(config: SidecarConfig) {
    const { transparentResolver: resolver, transparentSearchDomains: searchDomains } = config;
    if (resolver === 'none')
      throw new ChaperoneError('config-invalid', 'transparent mode needs a resolver');
    this.#config = config;
    this.#resolver = createUpstreamResolver(resolver);
    this.#denied = new DeniedAddresses(config.transparentDeniedAddresses);
    const isDenied = (address: string): boolean => this.#denied.has(address);
    this.routes = {
      connectTo: config.connectTo,
      isDenied,
      lookup: createUpstreamLookup({
        resolver: this.#resolver,
        searchDomains,
        learned: this.#learned,
        isDenied,
        nowMs,
      }),
    };
  }

  /** Opens the listeners; until the first bundle nothing is let through. @throws ChaperoneError `config-invalid`. */
  async start({ host, connections, log }: Served): Promise<void> {
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
      denied: this.#denied,
      bundle: () => host.bundle,
      unknownHost,
      log,
      nowMs,
    });
    await this.#listener.open();
  }

  /** Takes note of the Backends of a bundle. */
  async apply({ backends }: Bundle): Promise<void> {
    this.#denied.apply(backends.values());
    this.#known = new KnownNames(backends.values(), this.#config.transparentSearchDomains);
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
