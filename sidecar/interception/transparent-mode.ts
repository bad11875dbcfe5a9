import type { Logger } from 'pino';
import { KnownNames } from '#core/dns/known-names.ts';
import type { Bundle } from '#core/policy/resolve.ts';
import type { SidecarConfig } from '../config.ts';
import type { Connections } from '../connections.ts';
import { NameService } from '../dns/name-service.ts';
import { startDnsServer, type DnsServer } from '../dns/server.ts';
import type { Host } from '../host.ts';
import type { Surroundings } from '../surroundings.ts';
import { loadOriginalDestination } from './original-destination.ts';
import { RefusedPackets } from './refused-packets.ts';
import { TransparentListener } from './transparent-listener.ts';

export interface Served {
  readonly host: Pick<Host, 'bundle' | 'unknownHost' | 'recordLookup' | 'recordRefused'>;
  readonly connections: Connections;
  /** Why the sidecar cannot do its work now, or undefined when it can. */
  readonly notReady: () => string | undefined;
  readonly log: Logger;
}

const tellMs = 10_000;

/** Everything that only a pod has whose rules lead its traffic here: names, and what is dialled. */
export class TransparentMode {
  readonly #config: SidecarConfig;
  readonly #surroundings: Surroundings;
  readonly #refused = new RefusedPackets();
  #teller: NodeJS.Timeout | undefined;
  #served: Served | undefined;
  #known: KnownNames | undefined;
  #listener: TransparentListener | undefined;
  #names: DnsServer | undefined;

  constructor(config: SidecarConfig, surroundings: Surroundings) {
    this.#config = config;
    this.#surroundings = surroundings;
  }

  /** What the rules of the pod have refused, since its network began. */
  get packetsRefused(): number {
    return this.#refused.total;
  }

  /** Opens the listeners; until the first bundle nothing is let through. @throws ChaperoneError `config-invalid`. */
  async start(served: Served): Promise<void> {
    const { host, connections, notReady, log } = served;
    const { transparentPort: port, transparentDnsPort: dnsPort } = this.#config;
    const { resolver, learned, places, isDenied } = this.#surroundings;
    const unknownHost = () => host.unknownHost();
    const service = new NameService({
      known: () => this.#known,
      unknownHost,
      resolver,
      learned,
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
      learned,
      places,
      isDenied,
      bundle: () => host.bundle,
      unknownHost,
      notReady,
      log,
      nowMs,
    });
    await this.#listener.open();
    this.#served = served;
    this.#teller = setInterval(() => this.#tellRefused(), tellMs);
  }

  /** Takes note of the Backends of a bundle. */
  async apply({ backends }: Bundle): Promise<void> {
    this.#known = new KnownNames(backends.values(), this.#surroundings.searchDomains);
  }

  /** Takes no new connections, and waits for those that are open; until then names are answered. Never rejects. */
  async close(): Promise<void> {
    clearInterval(this.#teller);
    this.#tellRefused(); // now: the spool may be closed before all connections are
    await this.#listener?.close();
    this.#names?.close();
  }

  #tellRefused(): void {
    if (!this.#served) return;
    const packets = this.#refused.takeNew();
    if (packets === undefined) return;
    const { host, log } = this.#served;
    host.recordRefused(packets, () => this.#refused.tellAgain());
    log.info({ packets }, 'the rules of the pod have refused what is neither TCP nor DNS');
  }
}

function nowMs(): number {
  return performance.now();
}
