import { isObject } from '#core/policy/fields.ts';
import {
  logLevels,
  SettingsReader,
  tryParseAddress,
  tryParseLogLevel,
  tryParseNonEmpty,
  type Address,
  type Environment,
} from '../runtime/settings.ts';
import { harmlessCapabilities } from './agent-container.ts';
import type { Quantities, Resources } from './own-parts.ts';
import { serverUrl, tryParseServerUrl } from './own-service.ts';
import { tryParseQuantity } from './same-part.ts';

/** Everything that the webhook is told by its environment. */
export interface WebhookConfig {
  readonly listen: Address;
  readonly metricsListen: Address;
  readonly logLevel: string;
  /** Replaced while it runs. */
  readonly certFile: string;
  readonly keyFile: string;
  /** How long it goes on answering after it was asked to stop: until no API server asks it any more. */
  readonly drainMs: number;
  /** What injected containers are made of. */
  readonly image: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  readonly controllerUrl: URL;
  readonly controllerCaFile: string;
  readonly collectorUrl: URL;
  readonly collectorCaFile: string;
  readonly sidecarResources: Resources;
  readonly initResources: Resources;
  readonly spoolMaxBytes: number;
  readonly sidecarLogLevel: string;
  readonly allowedCapabilities: readonly string[];
}

const pullPolicies = ['Always', 'IfNotPresent', 'Never'] as const;

const sidecarResources =
  '{"requests":{"cpu":"20m","memory":"96Mi"},"limits":{"cpu":"2","memory":"256Mi"}}';
const initResources =
  '{"requests":{"cpu":"10m","memory":"16Mi"},"limits":{"cpu":"500m","memory":"128Mi"}}';

/**
 * Reads the configuration from an environment.
 * @throws ChaperoneError `config-invalid` that names every bad or unknown `CHAPERONE_*` variable at once.
 */
export function readConfig(env: Environment): WebhookConfig {
  const read = new SettingsReader(env);
  const file = (name: string, fallback?: string): string =>
    read.value(name, 'a file', tryParseNonEmpty, fallback);
  const url = (name: string): URL => read.value(name, serverUrl, tryParseServerUrl);
  const level = (name: string): string =>
    read.value(name, logLevels.join('|'), tryParseLogLevel, 'info');
  const resources = (name: string, fallback: string): Resources =>
    read.value(name, 'requests and limits of cpu and memory, as JSON', tryParseResources, fallback);
  const config: WebhookConfig = {
    listen: read.value('CHAPERONE_LISTEN', 'host:port', tryParseAddress, '127.0.0.1:15482'),
    metricsListen: read.value('CHAPERONE_METRICS_LISTEN', 'host:port', tryParseAddress, '127.0.0.1:0'), // prettier-ignore
    logLevel: level('CHAPERONE_LOG_LEVEL'),
    certFile: file('CHAPERONE_TLS_CERT_FILE', '/etc/chaperone/tls/tls.crt'),
    keyFile: file('CHAPERONE_TLS_KEY_FILE', '/etc/chaperone/tls/tls.key'),
    drainMs: 1000 * read.integer('CHAPERONE_DRAIN_SECONDS', 0, 60, 5),
    image: read.value('CHAPERONE_IMAGE', 'an image', tryParseNonEmpty),
    imagePullPolicy: read.value(
      'CHAPERONE_IMAGE_PULL_POLICY',
      pullPolicies.join('|'),
      (text) => pullPolicies.find((policy) => policy === text),
      'IfNotPresent',
    ),
    controllerUrl: url('CHAPERONE_CONTROLLER_URL'),
    controllerCaFile: file('CHAPERONE_CONTROLLER_CA_FILE'),
    collectorUrl: url('CHAPERONE_COLLECTOR_URL'),
    collectorCaFile: file('CHAPERONE_COLLECTOR_CA_FILE'),
    sidecarResources: resources('CHAPERONE_SIDECAR_RESOURCES', sidecarResources),
    initResources: resources('CHAPERONE_INIT_RESOURCES', initResources),
    spoolMaxBytes: read.integer('CHAPERONE_SPOOL_MAX_BYTES', 16 * 1024 ** 2, 2 ** 50, 1024 ** 3),
    sidecarLogLevel: level('CHAPERONE_SIDECAR_LOG_LEVEL'),
    allowedCapabilities: read.value(
      'CHAPERONE_ALLOWED_CAPABILITIES',
      'capabilities as "CHOWN,…", none that leads out of the interception',
      tryParseCapabilities,
      harmlessCapabilities.join(','),
    ),
  };
  read.finish();
  return config;
}

/** All four are set: a quota or an autoscaler of the namespace asks for them in every container. */
function tryParseResources(text: string): Resources | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // what is wanted is said by the caller
  }
  if (!isObject(value) || Object.keys(value).length !== 2) return undefined;
  const requests = tryParseQuantities(value['requests']);
  const limits = tryParseQuantities(value['limits']);
  return requests && limits && { requests, limits };
}

function tryParseQuantities(value: unknown): Quantities | undefined {
  if (!isObject(value) || !('cpu' in value && 'memory' in value)) return undefined;
  const entries = Object.entries(value).flatMap(([name, amount]): [string, string][] =>
    typeof amount === 'string' && tryParseQuantity(amount) !== undefined ? [[name, amount]] : [],
  );
  return entries.length === Object.keys(value).length ? Object.fromEntries(entries) : undefined;
}

function tryParseCapabilities(text: string): readonly string[] | undefined {
  const names = text === '' ? [] : text.split(',');
  return names.every((name) => harmlessCapabilities.includes(name)) ? names : undefined;
}
