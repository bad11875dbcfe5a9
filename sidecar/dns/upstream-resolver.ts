import { Resolver } from 'node:dns/promises';
import type { DnsAnswer, DnsRecord } from '#core/dns/packet.ts';
import type { Address } from '../../runtime/settings.ts';

/** Looks names up, for agents and for the sidecar itself. Never rejects. */
export interface NameResolver {
  resolve(name: string, type: string): Promise<DnsAnswer>;
}

const timeoutMs = 2_000;
const tries = 2;
const ttl = 30; // of types for which Node tells none
const maxRecords = 64;
const maxTextBytes = 255; // bytes that are no UTF-8 grow when they are read as text
const hostName = /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$/; // prettier-ignore

/**
 * Asks one DNS server and no other: the pod's own resolv.conf and hosts file are written by whoever wrote the pod. What
 * comes back is read by Node, and made anew here: nothing of a server's packet reaches an agent.
 */
export function createUpstreamResolver({ host, port }: Address): NameResolver {
  const resolver = new Resolver({ timeout: timeoutMs, tries });
  resolver.setServers([host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`]);
  return {
    resolve: async (name, type) => {
      try {
        const records = await lookUp(resolver, name, type);
        return { code: 'NOERROR', records: records.slice(0, maxRecords) };
      } catch (error) {
        return { code: codeOf(error), records: [] };
      }
    },
  };
}

async function lookUp(resolver: Resolver, name: string, type: string): Promise<DnsRecord[]> {
  switch (type) {
    case 'A':
    case 'AAAA': {
      const found = await (type === 'A'
        ? resolver.resolve4(name, { ttl: true })
        : resolver.resolve6(name, { ttl: true }));
      return found.map((each) => ({ type, ttl: each.ttl, data: each.address }));
    }
    case 'CNAME':
      return (await resolver.resolveCname(name)).filter(isHostName).map((data) => ({ type, ttl, data })); // prettier-ignore
    case 'NS':
      return (await resolver.resolveNs(name)).filter(isHostName).map((data) => ({ type, ttl, data })); // prettier-ignore
    case 'PTR':
      return (await resolver.resolvePtr(name)).filter(isHostName).map((data) => ({ type, ttl, data })); // prettier-ignore
    case 'SRV':
      return (await resolver.resolveSrv(name))
        .filter((each) => isHostName(each.name))
        .map(({ name: target, port, priority, weight }) => ({ type, ttl, data: { target, port, priority, weight } })); // prettier-ignore
    case 'MX':
      return (await resolver.resolveMx(name))
        .filter((each) => isHostName(each.exchange))
        .map(({ exchange, priority }) => ({ type, ttl, data: { exchange, preference: priority } }));
    case 'TXT':
      return (await resolver.resolveTxt(name))
        .filter((data) => data.every((text) => Buffer.byteLength(text) <= maxTextBytes))
        .map((data) => ({ type, ttl, data }));
    default:
      return []; // that there is none of a type is no lie that a client could not live with
  }
}

function isHostName(name: string): boolean {
  return hostName.test(name);
}

/** Node's words for what a server answered. */
function codeOf(error: unknown): DnsAnswer['code'] {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOTFOUND') return 'NXDOMAIN';
  return code === 'ENODATA' ? 'NOERROR' : 'SERVFAIL';
}
