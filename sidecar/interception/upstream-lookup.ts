import type { LookupFunction } from 'node:net';
import type { LearnedNames } from '#core/dns/learned-names.ts';
import type { NameResolver } from '../dns/upstream-resolver.ts';

export interface UpstreamLookupOptions {
  readonly resolver: NameResolver;
  /** Tried behind a name that does not exist as it is written. */
  readonly searchDomains: () => readonly string[];
  /** Takes note of where upstreams are, so that an agent which dials one by its address is recognised. */
  readonly learned: LearnedNames;
  readonly isDenied: (address: string, port: number) => boolean;
  readonly nowMs: () => number;
}

export interface Found {
  readonly address: string;
  readonly family: 4 | 6;
}

/** Makes what a socket resolves the name of an upstream with, to dial a port; addresses that are denied are left out. */
export function createUpstreamLookup(
  options: UpstreamLookupOptions,
): (port: number) => LookupFunction {
  return (port) =>
    (hostname, { family, all }, callback) => {
      void findAddresses(hostname, options).then((found) => {
        const wanted = found
          .filter(({ address }) => !options.isDenied(address, port))
          .filter((each) => !family || `${family}`.endsWith(`${each.family}`));
        const [first] = wanted;
        if (!first) callback(new Error(`${hostname} has no address that may be dialled`), '', 0);
        else if (all === true) callback(null, [...wanted]);
        else callback(null, first.address, first.family);
      });
    };
}

/** Finds the addresses of a name, and takes note of them. Never rejects. */
export async function findAddresses(
  hostname: string,
  { resolver, searchDomains, learned, nowMs }: Omit<UpstreamLookupOptions, 'isDenied'>,
): Promise<readonly Found[]> {
  const names = [hostname, ...searchDomains().map((domain) => `${hostname}.${domain}`)];
  for (const name of names) {
    const answers = await Promise.all([
      resolver.resolve(name, 'A'),
      resolver.resolve(name, 'AAAA'),
    ]);
    const found = answers.flatMap(({ records }) => records.flatMap(foundIn));
    for (const { address } of found) learned.learn(address, hostname.toLowerCase(), nowMs());
    if (found.length > 0) return found;
  }
  return [];
}

function foundIn(record: { readonly type: string; readonly data: unknown }): Found[] {
  if (typeof record.data !== 'string') return [];
  if (record.type === 'A') return [{ address: record.data, family: 4 }];
  return record.type === 'AAAA' ? [{ address: record.data, family: 6 }] : [];
}
