import type { ResolvedBackend } from '../policy/resolve.ts';

/** A name that policy knows, asked for in one of its forms. */
export interface KnownName {
  /** As the Backends have it, in lower case. */
  readonly host: string;
  /** Whether it was asked for as it stands there, with nothing before or behind it. */
  readonly exact: boolean;
  readonly backends: readonly ResolvedBackend[];
}

/** Of a service (RFC 2782), whose name is short (RFC 6335 section 5.1): no room for what an agent would carry out. */
const serviceLabels = /^_[a-z0-9-]{1,15}\._(?:tcp|udp)\./;

/** Names that a Backend has, and what a client's resolver makes of them. */
export class KnownNames {
  readonly #hosts = new Map<string, ResolvedBackend[]>();
  /** Hosts without the search domain that they end in: clients use these for short. */
  readonly #short = new Set<string>();
  readonly #searchDomains: readonly string[];

  /** `searchDomains`: behind short names, as the cluster's own resolvers have them: `ns.svc.cluster.local` and so on. */
  constructor(backends: Iterable<ResolvedBackend>, searchDomains: readonly string[]) {
    this.#searchDomains = searchDomains.map((domain) => domain.toLowerCase());
    for (const backend of backends)
      for (const written of backend.hosts) {
        const host = written.toLowerCase();
        this.#hosts.set(host, [...(this.#hosts.get(host) ?? []), backend]);
        for (const domain of this.#searchDomains)
          if (host.endsWith(`.${domain}`)) this.#short.add(host.slice(0, -domain.length - 1));
      }
  }

  /**
   * Finds a name in lower case: a Backend's own, one with a search domain behind it, or a service under either
   * (`_postgresql._tcp.` before it, RFC 2782).
   */
  find(name: string): KnownName | undefined {
    const owner = name.replace(serviceLabels, '');
    const exact = this.#known(owner, owner === name);
    if (exact) return exact;
    for (const domain of this.#searchDomains) {
      if (!owner.endsWith(`.${domain}`)) continue;
      const known = this.#known(owner.slice(0, -domain.length - 1), false);
      if (known) return known;
    }
    return undefined;
  }

  /**
   * Whether a name is a known one, or one for short, with something behind it: a client tries its whole search list before
   * the name itself, and means nothing by it.
   */
  isExpansion(name: string): boolean {
    const labels = name.split('.');
    return labels.some((_, index) => {
      const before = labels.slice(0, index).join('.').replace(serviceLabels, '');
      return index > 0 && (this.#short.has(before) || this.find(before) !== undefined);
    });
  }

  #known(host: string, exact: boolean): KnownName | undefined {
    const backends = this.#hosts.get(host);
    return backends && { host, exact, backends };
  }
}
