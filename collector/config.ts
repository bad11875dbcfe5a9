import {
  SettingsReader,
  logLevels,
  tryParseAddress,
  tryParseLogLevel,
  type Address,
  type Environment,
} from '../runtime/settings.ts';

/** Everything that the collector is told by its environment; secrets come over the control pipe. */
export interface CollectorConfig {
  readonly listen: Address;
  readonly metricsListen: Address;
  readonly logLevel: string;
}

/** @throws ChaperoneError `config-invalid` that names every bad or unknown `CHAPERONE_*` variable at once. */
export function readConfig(env: Environment): CollectorConfig {
  const read = new SettingsReader(env);
  const config = {
    listen: read.value('CHAPERONE_LISTEN', 'host:port', tryParseAddress, '127.0.0.1:15480'),
    metricsListen: read.value(
      'CHAPERONE_METRICS_LISTEN',
      'host:port',
      tryParseAddress,
      '127.0.0.1:0',
    ),
    logLevel: read.value('CHAPERONE_LOG_LEVEL', logLevels.join('|'), tryParseLogLevel, 'info'),
  };
  read.finish();
  return config;
}
