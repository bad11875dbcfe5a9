import type { JWK } from 'jose';
import type { BackendCredential } from './control.ts';
import { isObject } from './policy/fields.ts';
import type { Problem } from './policy/resources.ts';

/**
 * What a controller and a sidecar say to each other: one JSON object a line on the stream, and the bodies of what a
 * sidecar posts. Either may be one minor version older than the other.
 */

/** How far the pod is held to the sidecar: by its namespace, by a label of its own, or as far as it dials it itself. */
export const attachments = ['Namespace', 'Pod', 'Explicit'] as const;
/** One of `attachments`. */
export type Attachment = (typeof attachments)[number];

/** The pod that a bundle is for, as the API shows it. */
export interface BundleWorkload {
  readonly pod: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** A resource as its author wrote it, for `parseResource`: without status and what the API server adds. */
export type ResourceDocument = Readonly<Record<string, unknown>>;

/** What a sidecar is told of the network around it. */
export interface BundleNetwork {
  /** The only DNS server to ask, as `address:port`, an IPv6 address in brackets. */
  readonly resolver: string;
  /** What clients may put behind a name. */
  readonly searchDomains: readonly string[];
  /** Addresses, and networks as `address/bits`, to which nothing is sent unless a Backend names them. */
  readonly deniedAddresses: readonly string[];
}

/** Everything that a sidecar needs to serve its pod; always the whole of it. Holds credentials: never log it. */
export interface BundleMessage {
  readonly type: 'bundle';
  readonly version: 1;
  /** Differs where anything else in it does. Tells nothing of the credentials but that they changed. */
  readonly revision: string;
  readonly workload: BundleWorkload;
  readonly attachment: Attachment;
  readonly resources: readonly ResourceDocument[];
  /** Public signing keys by name of the IdentityProvider, as far as they could be fetched. */
  readonly keys: Readonly<Record<string, readonly JWK[]>>;
  /** By name of the Secret. */
  readonly credentials: Readonly<Record<string, BackendCredential>>;
  readonly network: BundleNetwork;
  /** Certificates in PEM by which each server is known from now on: two while one is replaced. */
  readonly authorities: { readonly controller: string; readonly collector: string };
}

/** End the one session whose id begins so. */
export interface KillMessage {
  readonly type: 'kill';
  readonly session: string;
}

/** Says that the stream is alive. */
export interface PingMessage {
  readonly type: 'ping';
}

/** One line of the stream. */
export type StreamMessage = BundleMessage | KillMessage | PingMessage;

/** How often a controller pings a stream on which nothing else passes, in milliseconds. */
export const pingMs = 10_000;
/** Silence after which a sidecar dials anew, in milliseconds. */
export const silenceMs = 45_000;
/** Longest line of the stream, in bytes: a controller sends no longer one, and a sidecar need not hold it. */
export const maxLineBytes = 8 * 1024 * 1024;

/** What a sidecar says of a bundle that it was sent. */
export interface BundleAck {
  readonly revision: string;
  /** Whether it is in force; otherwise the last one still is. */
  readonly accepted: boolean;
  /** At most 100, with at most 1024 characters each. */
  readonly problems: readonly Problem[];
}

/** What came of a line: a message, one of a kind that this version does not know, or neither. */
export type ReadLine =
  | { readonly kind: 'message'; readonly message: StreamMessage }
  /** To be passed over. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'malformed' };

/** Reads a line of the stream. What it holds is in no error. */
export function readStreamLine(line: string): ReadLine {
  const value = tryJson(line);
  if (!isObject(value) || typeof value['type'] !== 'string') return { kind: 'malformed' };
  const message = tryMessage(value);
  if (message === 'unknown') return { kind: 'unknown' };
  return message ? { kind: 'message', message } : { kind: 'malformed' };
}

function tryMessage(
  value: Readonly<Record<string, unknown>>,
): StreamMessage | 'unknown' | undefined {
  switch (value['type']) {
    case 'ping':
      return { type: 'ping' };
    case 'kill': {
      const { session } = value;
      return isSessionPrefix(session) ? { type: 'kill', session } : undefined;
    }
    case 'bundle':
      return tryBundle(value);
    default:
      return 'unknown';
  }
}

function tryBundle(value: Readonly<Record<string, unknown>>): BundleMessage | undefined {
  const { version, revision, resources } = value;
  const workload = tryWorkload(value['workload']);
  const attachment = attachments.find((known) => known === value['attachment']);
  const keys = tryRecord(value['keys'], isKeys);
  const credentials = tryRecord(value['credentials'], isCredential);
  const network = tryNetwork(value['network']);
  const authorities = value['authorities'];
  if (version !== 1 || typeof revision !== 'string' || revision === '') return undefined;
  if (!Array.isArray(resources) || !resources.every(isObject)) return undefined;
  if (!isObject(authorities)) return undefined;
  const { controller, collector } = authorities;
  if (typeof controller !== 'string' || typeof collector !== 'string') return undefined;
  if (!workload || !attachment || !keys || !credentials || !network) return undefined;
  return {
    type: 'bundle',
    version,
    revision,
    workload,
    attachment,
    resources,
    keys,
    credentials,
    network,
    authorities: { controller, collector },
  };
}

function tryWorkload(value: unknown): BundleWorkload | undefined {
  if (!isObject(value)) return undefined;
  const { pod, namespace, serviceAccount, uid } = value;
  const labels = tryRecord(value['labels'], isString);
  if (!isString(pod) || !isString(namespace) || !isString(serviceAccount)) return undefined;
  return isString(uid) && labels ? { pod, namespace, serviceAccount, uid, labels } : undefined;
}

function tryNetwork(value: unknown): BundleNetwork | undefined {
  if (!isObject(value)) return undefined;
  const { resolver, searchDomains, deniedAddresses } = value;
  if (!isString(resolver) || !isStrings(searchDomains) || !isStrings(deniedAddresses))
    return undefined;
  return { resolver, searchDomains, deniedAddresses };
}

function isKeys(value: unknown): value is readonly JWK[] {
  return Array.isArray(value) && value.every(isObject); // what is in them is checked where they are used
}

function isCredential(value: unknown): value is BackendCredential {
  if (!isObject(value) || !isString(value['username'])) return false;
  if (value['type'] === 'Password') return isString(value['password']);
  return (
    value['type'] === 'ClientCertificate' &&
    isString(value['certificate']) &&
    isString(value['key'])
  );
}

/** Reads what a sidecar posts about a bundle; undefined where it is none. */
export function tryParseAck(value: unknown): BundleAck | undefined {
  if (!isObject(value)) return undefined;
  const { revision, accepted, problems } = value;
  if (!isString(revision) || revision.length > 64 || typeof accepted !== 'boolean')
    return undefined;
  if (!Array.isArray(problems) || problems.length > 100) return undefined;
  const read = problems.map((problem: unknown): Problem | undefined => {
    const { path, message } = isObject(problem) ? problem : {};
    return isString(path) && isString(message) && path.length <= 1024 && message.length <= 1024
      ? { path, message }
      : undefined;
  });
  if (read.includes(undefined)) return undefined;
  return { revision, accepted, problems: read.filter((problem) => problem !== undefined) };
}

/** Long enough to name the moment at which a session began: many pods hear of it. */
const sessionPrefix = /^[0-9a-f]{8}-[0-9a-f]{4}[0-9a-f-]{0,23}$/;

/** Whether a value is the id of a session, or at least the first 13 characters of one. */
export function isSessionPrefix(value: unknown): value is string {
  return typeof value === 'string' && sessionPrefix.test(value);
}

function isString(value: unknown): value is string {
  return typeof value === 'string';
}

function isStrings(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(isString);
}

/** Names come from outside: `fromEntries` makes an own property of each, also of `__proto__`. */
function tryRecord<T>(
  value: unknown,
  accepts: (item: unknown) => item is T,
): Readonly<Record<string, T>> | undefined {
  if (!isObject(value)) return undefined;
  const entries = Object.entries(value).flatMap(([name, item]): [string, T][] =>
    accepts(item) ? [[name, item]] : [],
  );
  return entries.length === Object.keys(value).length ? Object.fromEntries(entries) : undefined;
}

function tryJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined; // the parser's message would quote the line, which may hold credentials
  }
}
