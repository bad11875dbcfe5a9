import { isIP } from 'node:net';
import type { Workload } from '#core/identity/principal.ts';
import { listenerPorts } from '#core/interception/nft-rules.ts';
import {
  SettingsReader,
  logLevels,
  tryParseAddress,
  tryParseHttps,
  tryParseLogLevel,
  tryParseNonEmpty,
  type Address,
  type Environment,
} from '../runtime/settings.ts';
import { tryParseAddresses } from './given-addresses.ts';
import { tryParseNetworks } from './interception/denied-addresses.ts';

/** Where policy comes from, and with it everything else that changes while the sidecar runs. */
export type BundleSource =
  /** Watched files; a supervisor hands over what is secret. */
  | { readonly kind: 'directory'; readonly directory: string }
  /** A pod: the controller sends all of it. */
  | {
      readonly kind: 'controller';
      readonly url: URL;
      /** Where it is; its name is looked up nowhere. */
      readonly addresses: readonly string[];
      /** Certificates of its CA, PEM. */
      readonly ca: string;
      /** Holds the pod's token for it; replaced while the sidecar runs. */
      readonly tokenFile: string;
      /** Memory that outlives this process, and no other container sees. */
      readonly memoryDirectory: string;
      /** What agents are to trust is written here. */
      readonly trustDirectory: string;
    };

/** Certificates in PEM, or a file of them. */
export type Certificates = { readonly pem: string } | { readonly file: string };

/** Everything that the sidecar is told by its environment; secrets come over the control pipe, or from the controller. */
export interface SidecarConfig {
  /** How agents reach it: they dial a port of each backend, or dial what they like and are led here. */
  readonly mode: 'explicit' | 'transparent';
  /** Of transparent mode alone, as is all that begins so. */
  readonly transparentPort: number;
  readonly transparentDnsPort: number;
  /** The only server that names are asked of; none in explicit mode, and where the controller names it. */
  readonly transparentResolver: Address | 'none';
  /** What clients put behind short names, as the cluster's own resolvers have it. */
  readonly transparentSearchDomains: readonly string[];
  /** Addresses and networks that nothing is sent to unless a Backend names them. */
  readonly deniedAddresses: readonly string[];
  readonly workload: Workload;
  readonly source: BundleSource;
  readonly spoolDirectory: string;
  readonly spoolMaxBytes: number;
  readonly collectorUrl: URL;
  /** Where it is; undefined where its name may be looked up. */
  readonly collectorAddresses: readonly string[] | undefined;
  readonly collectorCa: Certificates;
  /** Holds the pod's token for the collector; empty where a supervisor hands one over. */
  readonly collectorTokenFile: string;
  /** Key with which the collector signs its acknowledgements; empty: they are not checked. */
  readonly collectorPublicKeyFile: string;
  /** Port of the first backend's listener; further backends take the next ones. 0: free ports. */
  readonly listenPort: number;
  /** Ports that backends had before a restart, by name: their agents go on dialling them. */
  readonly listenPorts: ReadonlyMap<string, number>;
  readonly metricsListen: Address;
  /** Unix socket for the operator of this machine; empty: none. */
  readonly adminSocket: string;
  /** Where names lead that exist on this machine only, by `host:port`. */
  readonly connectTo: ReadonlyMap<string, Address>;
  readonly logLevel: string;
  /** Connections that have not logged in yet, and sessions: past the first the oldest is closed, past the second the new one is refused. */
  readonly maxPending: number;
  readonly maxSessions: number;
  readonly loginTimeoutMs: number;
}

/**
 * Reads the configuration from an environment.
 * @throws ChaperoneError `config-invalid` that names every bad or unknown `CHAPERONE_*` variable at once.
 */
export function readConfig(env: Environment): SidecarConfig {
  const read = new SettingsReader(env);
  const mode = read.value('CHAPERONE_MODE', '"explicit" or "transparent"', tryParseMode);
  const inPod = (env['CHAPERONE_CONTROLLER_URL'] ?? '') !== '';
  const file = (name: string): string => read.value(name, 'a file', tryParseNonEmpty);
  const certificates = (name: string): string =>
    read.value(name, 'certificates in PEM', tryParseCertificates);
  const config: SidecarConfig = {
    mode,
    transparentPort: read.integer('CHAPERONE_TRANSPARENT_PORT', 1, 65_535, listenerPorts.proxyPort),
    transparentDnsPort: read.integer(
      'CHAPERONE_TRANSPARENT_DNS_PORT',
      1,
      65_535,
      listenerPorts.dnsPort,
    ),
    transparentResolver: read.value(
      'CHAPERONE_TRANSPARENT_RESOLVER',
      'address:port',
      (text) => tryParseResolver(text, mode === 'transparent' && !inPod),
      '',
    ),
    transparentSearchDomains: read.value(
      'CHAPERONE_TRANSPARENT_SEARCH_DOMAINS',
      '"domain,…"',
      tryParseDomains,
      '',
    ),
    deniedAddresses: read.value(
      'CHAPERONE_DENIED_ADDRESSES',
      '"address,network/bits,…"',
      tryParseNetworks,
      metadataAddresses,
    ),
    workload: {
      pod: read.value('CHAPERONE_POD_NAME', 'a pod name', tryParseNonEmpty),
      namespace: read.value('CHAPERONE_POD_NAMESPACE', 'a namespace', tryParseNonEmpty),
      serviceAccount: read.value(
        'CHAPERONE_SERVICE_ACCOUNT',
        'a service account',
        tryParseNonEmpty,
      ),
      labels: read.value('CHAPERONE_POD_LABELS', 'labels as "key=value,…"', tryParseLabels, ''),
    },
    source: inPod
      ? readController(read)
      : {
          kind: 'directory',
          directory: read.value('CHAPERONE_CONFIG_DIR', 'a directory', tryParseNonEmpty),
        },
    spoolDirectory: read.value('CHAPERONE_SPOOL_DIR', 'a directory', tryParseNonEmpty),
    spoolMaxBytes: read.integer('CHAPERONE_SPOOL_MAX_BYTES', 16 * 1024 ** 2, 2 ** 50, 1024 ** 3),
    collectorUrl: read.value('CHAPERONE_COLLECTOR_URL', 'an https URL', tryParseHttps),
    collectorAddresses: inPod
      ? read.value('CHAPERONE_COLLECTOR_ADDRESSES', '"address,…"', tryParseAddresses)
      : undefined,
    collectorCa: inPod
      ? { pem: certificates('CHAPERONE_COLLECTOR_CA') }
      : { file: file('CHAPERONE_COLLECTOR_CA_FILE') },
    collectorTokenFile: inPod ? file('CHAPERONE_COLLECTOR_TOKEN_FILE') : '',
    collectorPublicKeyFile: read.value(
      'CHAPERONE_COLLECTOR_PUBLIC_KEY_FILE',
      'a file',
      (text) => text,
      '',
    ),
    listenPort: read.integer('CHAPERONE_LISTEN_PORT', 0, 65_535, 15_432),
    listenPorts: read.value('CHAPERONE_LISTEN_PORTS', '"backend=port,…"', tryParsePorts, ''),
    metricsListen: read.value(
      'CHAPERONE_METRICS_LISTEN',
      'host:port',
      tryParseAddress,
      '127.0.0.1:0',
    ),
    adminSocket: read.value('CHAPERONE_ADMIN_SOCKET', 'a path', (text) => text, ''),
    connectTo: read.value('CHAPERONE_CONNECT_TO', '"name:port=host:port,…"', tryParseConnectTo, ''),
    logLevel: read.value('CHAPERONE_LOG_LEVEL', logLevels.join('|'), tryParseLogLevel, 'info'),
    maxPending: read.integer('CHAPERONE_MAX_PENDING_LOGINS', 1, 100_000, 512),
    maxSessions: read.integer('CHAPERONE_MAX_SESSIONS', 1, 100_000, 1_000),
    loginTimeoutMs: 1000 * read.integer('CHAPERONE_LOGIN_TIMEOUT_SECONDS', 1, 600, 30),
  };
  read.finish();
  return config;
}

function readController(read: SettingsReader): BundleSource {
  const directory = (name: string): string => read.value(name, 'a directory', tryParseNonEmpty);
  // Which pod this is the controller knows from the token; the variable is for whoever looks at the pod.
  read.value('CHAPERONE_POD_UID', "a pod's uid", tryParseNonEmpty);
  return {
    kind: 'controller',
    url: read.value('CHAPERONE_CONTROLLER_URL', 'an https URL', tryParseHttps),
    addresses: read.value('CHAPERONE_CONTROLLER_ADDRESSES', '"address,…"', tryParseAddresses),
    ca: read.value('CHAPERONE_CONTROLLER_CA', 'certificates in PEM', tryParseCertificates),
    tokenFile: read.value('CHAPERONE_CONTROLLER_TOKEN_FILE', 'a file', tryParseNonEmpty),
    memoryDirectory: directory('CHAPERONE_MEMORY_DIR'),
    trustDirectory: directory('CHAPERONE_TRUST_DIR'),
  };
}

// Link-local addresses with the metadata of most clouds, and those of AWS, Google, Alibaba and Azure beside them.
const metadataAddresses =
  '169.254.0.0/16,fe80::/10,fd00:ec2::254,fd20:ce::254,100.100.100.200,168.63.129.16';

function tryParseMode(text: string): SidecarConfig['mode'] | undefined {
  return text === 'explicit' || text === 'transparent' ? text : undefined;
}

function tryParseResolver(text: string, isNeeded: boolean): Address | 'none' | undefined {
  if (text === '' && !isNeeded) return 'none';
  const address = tryParseAddress(text);
  return address && isIP(address.host) !== 0 && address.port > 0 ? address : undefined;
}

function tryParseCertificates(text: string): string | undefined {
  return /^\s*-----BEGIN CERTIFICATE-----\s/.test(text) ? text : undefined;
}

function tryParseDomains(text: string): readonly string[] | undefined {
  const domains = text === '' ? [] : text.split(',');
  const isDomain = (domain: string): boolean =>
    /^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?$/.test(domain);
  return domains.every(isDomain) ? domains : undefined;
}

function tryParsePairs(text: string): [string, string][] | undefined {
  if (text === '') return [];
  const pairs = text.split(',').map((pair): [string, string] => {
    const at = pair.indexOf('=');
    return [pair.slice(0, Math.max(at, 0)), pair.slice(at + 1)];
  });
  return pairs.every(([key]) => key !== '') ? pairs : undefined;
}

function tryParseLabels(text: string): ReadonlyMap<string, string> | undefined {
  const pairs = tryParsePairs(text);
  return pairs && new Map(pairs);
}

function tryParseConnectTo(text: string): ReadonlyMap<string, Address> | undefined {
  const map = new Map<string, Address>();
  for (const [name, value] of tryParsePairs(text) ?? [['', '']]) {
    const address = tryParseAddress(value);
    if (!address || !tryParseAddress(name)) return undefined;
    map.set(name, address);
  }
  return map;
}

function tryParsePorts(text: string): ReadonlyMap<string, number> | undefined {
  const pairs = tryParsePairs(text)?.map(([name, port]): [string, number] => [name, Number(port)]);
  return pairs?.every(([, port]) => port > 0 && port <= 65_535) === true
    ? new Map(pairs)
    : undefined;
}
