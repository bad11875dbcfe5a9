import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import {
  logLevels,
  SettingsReader,
  tryParseAddress,
  tryParseLogLevel,
  tryParseNonEmpty,
  type Address,
  type Environment,
} from '../runtime/settings.ts';
import { serverUrl, tryParseServerUrl } from '../webhook/own-service.ts';

/** Everything that the controller is told by its environment. */
export interface ControllerConfig {
  readonly listen: Address;
  readonly metricsListen: Address;
  readonly logLevel: string;
  /** Over how long it hands its sidecars to the other replicas when it is asked to stop. */
  readonly drainMs: number;
  readonly podName: string;
  /** Where it runs itself. */
  readonly namespace: string;
  readonly credentialsNamespace: string;
  readonly clusterDomain: string;
  /** The DNS server that sidecars ask, as `address:port`. */
  readonly resolver: string;
  /** Addresses and networks to which sidecars send nothing, beside those of nodes and of the API server. */
  readonly deniedAddresses: readonly string[];
  /** Of injected containers: images that they may have, and where they are to turn to. */
  readonly images: readonly string[];
  readonly controllerUrl: URL;
  readonly collectorUrl: URL;
}

/**
 * Reads the configuration from an environment.
 * @throws ChaperoneError `config-invalid` that names every bad or unknown `CHAPERONE_*` variable at once.
 */
export function readConfig(env: Environment): ControllerConfig {
  const read = new SettingsReader(env);
  const text = (name: string, want: string, fallback?: string): string =>
    read.value(name, want, tryParseNonEmpty, fallback);
  const list = (name: string, want: string): readonly string[] =>
    read.value(name, want, (given) => (given === '' ? [] : given.split(',')), '');
  const url = (name: string): URL => read.value(name, serverUrl, tryParseServerUrl);
  const config = {
    listen: read.value('CHAPERONE_LISTEN', 'host:port', tryParseAddress, '127.0.0.1:15481'),
    metricsListen: read.value('CHAPERONE_METRICS_LISTEN', 'host:port', tryParseAddress, '127.0.0.1:0'), // prettier-ignore
    logLevel: read.value('CHAPERONE_LOG_LEVEL', logLevels.join('|'), tryParseLogLevel, 'info'),
    drainMs: 1000 * read.integer('CHAPERONE_DRAIN_SECONDS', 0, 60, 5),
    podName: text('CHAPERONE_POD_NAME', 'a pod name'),
    namespace: text('CHAPERONE_POD_NAMESPACE', 'a namespace'),
    credentialsNamespace: text('CHAPERONE_CREDENTIALS_NAMESPACE', 'a namespace', 'chaperone-credentials'), // prettier-ignore
    clusterDomain: text('CHAPERONE_CLUSTER_DOMAIN', 'a domain', 'cluster.local'),
    resolver: read.value('CHAPERONE_RESOLVER', 'address:port, or nothing', tryParseResolver, ''),
    deniedAddresses: [
      ...list('CHAPERONE_DENIED_ADDRESSES', '"address,network/bits,…"'),
      ...ownApiServer(env),
    ],
    images: [
      text('CHAPERONE_IMAGE', 'an image'),
      ...list('CHAPERONE_ACCEPTED_IMAGES', '"image,image,…"'),
    ],
    controllerUrl: url('CHAPERONE_CONTROLLER_URL'),
    collectorUrl: url('CHAPERONE_COLLECTOR_URL'),
  };
  // What injected containers are given beside these may differ from pod to pod, and is for the webhook alone.
  for (const name of ofWebhook) read.value(name, 'anything', (given) => given, '');
  read.finish();
  return config;
}

/** The address by which pods reach the API server: every pod is told, and this one by the kubelet rather than by an agent. */
function ownApiServer(env: Environment): readonly string[] {
  const host = env['KUBERNETES_SERVICE_HOST'] ?? '';
  return isIP(host) === 0 ? [] : [host];
}

const ofWebhook = [
  'CHAPERONE_IMAGE_PULL_POLICY',
  'CHAPERONE_SIDECAR_RESOURCES',
  'CHAPERONE_INIT_RESOURCES',
  'CHAPERONE_SPOOL_MAX_BYTES',
  'CHAPERONE_SIDECAR_LOG_LEVEL',
] as const;

/** The cluster's own resolver is the one that this pod was given: unlike an agent's pod, its author is the platform. */
function tryParseResolver(text: string): string | undefined {
  if (text === '') return resolverOfThisPod();
  const address = tryParseAddress(text);
  return address && isIP(address.host) !== 0 && address.port > 0 ? text : undefined;
}

function resolverOfThisPod(): string | undefined {
  try {
    const text = readFileSync('/etc/resolv.conf', 'utf8');
    const [, address = ''] = /^nameserver\s+(\S+)/m.exec(text) ?? [];
    if (isIP(address) === 0) return undefined;
    return address.includes(':') ? `[${address}]:53` : `${address}:53`;
  } catch {
    return undefined; // what is wanted is said by the caller
  }
}
