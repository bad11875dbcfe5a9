import { isIP } from 'node:net';
import { tryParseHttps } from '../runtime/settings.ts';

/** A Service of the cluster. */
export interface ServiceName {
  readonly namespace: string;
  readonly name: string;
}

/** Where the Services of our two servers are, as the cluster says it. */
export interface ServerAddresses {
  readonly controller: readonly string[];
  readonly collector: readonly string[];
}

/** What a URL of a server of ours has to be. */
export const serverUrl = 'an https URL of a Service, https://NAME.NAMESPACE.svc, or of an address';

const service = /^([a-z][a-z0-9-]{0,62})\.([a-z0-9][a-z0-9-]{0,62})\.svc$/;

/** Reads the URL of a server of ours: its address is known from the cluster, or stands in it. */
export function tryParseServerUrl(text: string): URL | undefined {
  const url = tryParseHttps(text);
  return url && (service.test(url.hostname) || addressIn(url) !== undefined) ? url : undefined;
}

/** The Service that a URL leads to; undefined where it leads to an address. */
export function serviceOf(url: URL): ServiceName | undefined {
  const [, name, namespace] = service.exec(url.hostname) ?? [];
  return name === undefined || namespace === undefined ? undefined : { name, namespace };
}

/** The address in a URL, where it has one in place of a name. */
export function addressIn(url: URL): string | undefined {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return isIP(host) === 0 ? undefined : host;
}

/** Addresses of a Service, by what the API shows of it; none of one that is headless or leads out of the cluster. */
export function clusterAddresses(spec: unknown): readonly string[] {
  const { clusterIPs } = typeof spec === 'object' && spec !== null && 'clusterIPs' in spec ? spec : {}; // prettier-ignore
  const listed: readonly unknown[] = Array.isArray(clusterIPs) ? clusterIPs : [];
  return listed.filter((each): each is string => typeof each === 'string' && isIP(each) !== 0);
}
