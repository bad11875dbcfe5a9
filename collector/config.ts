import {
  SettingsReader,
  logLevels,
  tryParseAddress,
  tryParseLogLevel,
  tryParseNonEmpty,
  type Address,
  type Environment,
} from '../runtime/settings.ts';

/** Everything that the collector is told by its environment; secrets come over the control pipe. */
export interface CollectorConfig {
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
