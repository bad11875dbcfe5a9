import {
  SettingsReader,
  logLevels,
  tryParseAddress,
  tryParseLogLevel,
  tryParseNonEmpty,
  type Address,
  type Environment,
} from '../runtime/settings.ts';

/** Everything that the collector is told by its environment; secrets come over the control pipe, or in a pod in files. */
export interface CollectorConfig {
  /** Undefined where a supervisor starts it. */
  readonly pod: PodFiles | undefined;
  readonly listen: Address;
  readonly metricsListen: Address;
  readonly logLevel: string;
  readonly keyFile: string;
  /** Copy of the ledger that the store's owner cannot rewrite; empty for none. */
  readonly ledgerFile: string;
  readonly ledgerSeconds: number;
  /** 0: nothing is dropped. */
  readonly retentionDays: number;
  readonly streamSilentSeconds: number;
  readonly quarantine: QuarantineLimits;
}

/** What a pod finds in files, which are replaced while it runs. */
export interface PodFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** With a `postgres://` URL. */
  readonly databaseUrlFile: string;
}

/** How much is kept of batches that did not verify. */
export interface QuarantineLimits {
  readonly maxBytes: number;
  /** Of one pod. */
  readonly maxPodBytes: number;
  /** How many batches of one pod are set aside within an hour. */
  readonly maxPodBatches: number;
}

const megabyte = 1024 * 1024;

/** @throws ChaperoneError `config-invalid` that names every bad or unknown `CHAPERONE_*` variable at once. */
export function readConfig(env: Environment): CollectorConfig {
  const read = new SettingsReader(env);
  const address = (name: string, fallback: string): Address =>
    read.value(name, 'host:port', tryParseAddress, fallback);
  const config = {
    pod: readPodFiles(read),
    listen: address('CHAPERONE_LISTEN', '127.0.0.1:15480'),
    metricsListen: address('CHAPERONE_METRICS_LISTEN', '127.0.0.1:0'),
    logLevel: read.value('CHAPERONE_LOG_LEVEL', logLevels.join('|'), tryParseLogLevel, 'info'),
    keyFile: read.value('CHAPERONE_COLLECTOR_KEY_FILE', 'a file', tryParseNonEmpty),
    ledgerFile: read.value('CHAPERONE_LEDGER_FILE', 'a file', (text) => text, ''),
    ledgerSeconds: read.integer('CHAPERONE_LEDGER_SECONDS', 1, 3_600, 60),
    retentionDays: read.integer('CHAPERONE_RETENTION_DAYS', 0, 36_500, 0),
    streamSilentSeconds: read.integer('CHAPERONE_STREAM_SILENT_SECONDS', 1, 86_400, 120),
    quarantine: {
      maxBytes: read.integer('CHAPERONE_QUARANTINE_MAX_BYTES', 0, 2 ** 40, 1024 * megabyte),
      maxPodBytes: read.integer('CHAPERONE_QUARANTINE_POD_BYTES', 0, 2 ** 40, 64 * megabyte),
      maxPodBatches: read.integer('CHAPERONE_QUARANTINE_POD_BATCHES', 1, 1_000_000, 1_000),
    },
  };
  read.finish();
  return config;
}

function readPodFiles(read: SettingsReader): PodFiles | undefined {
  const file = (name: string, fallback: string): string =>
    read.value(name, 'a file', tryParseNonEmpty, fallback);
  const files = {
    certFile: file('CHAPERONE_TLS_CERT_FILE', '/etc/chaperone/tls/tls.crt'),
    keyFile: file('CHAPERONE_TLS_KEY_FILE', '/etc/chaperone/tls/tls.key'),
    databaseUrlFile: read.value('CHAPERONE_DATABASE_URL_FILE', 'a file', (text) => text, ''),
  };
  return files.databaseUrlFile === '' ? undefined : files;
}
