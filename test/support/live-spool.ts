import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { createMetrics, type Metrics } from '../../sidecar/metrics.ts';
import { readConfig } from '../../sidecar/config.ts';
import { openSpool, type Spool } from '../../sidecar/spool/open.ts';
import type { PeerCollector } from './peer-collector.ts';

/** One line of the log. */
export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly stream?: string;
  readonly why?: string;
  readonly [field: string]: unknown;
}

/** A spool with its worker, as the sidecar opens it. */
export interface LiveSpool {
  readonly spool: Spool;
  readonly metrics: Metrics;
  readonly log: readonly LogLine[];
  metric(name: string): Promise<number>;
}

export interface LiveSpoolOptions {
  readonly directory: string;
  /** Where it ships to; nowhere if none is given. */
  readonly collector?: PeerCollector | undefined;
  /** Check the signatures of acknowledgements with this key in place of none. */
  readonly publicKey?: string;
  readonly maxBytes?: number;
  readonly waitMs?: number;
}

export async function openLiveSpool(options: LiveSpoolOptions): Promise<LiveSpool> {
  const { directory, collector, publicKey } = options;
  const files = mkdtempSync(join(tmpdir(), 'chaperone-live-'));
  writeFileSync(join(files, 'ca.crt'), collector?.ca ?? '');
  if (publicKey !== undefined) writeFileSync(join(files, 'collector.pub'), publicKey);
  const config = readConfig({
    CHAPERONE_MODE: 'explicit',
    CHAPERONE_POD_NAME: 'p',
    CHAPERONE_POD_NAMESPACE: 'n',
    CHAPERONE_SERVICE_ACCOUNT: 's',
    CHAPERONE_CONFIG_DIR: files,
    CHAPERONE_SPOOL_DIR: directory,
    CHAPERONE_COLLECTOR_URL: collector?.url ?? 'https://127.0.0.1:9',
    CHAPERONE_COLLECTOR_CA_FILE: join(files, 'ca.crt'),
    ...(publicKey === undefined
      ? {}
      : { CHAPERONE_COLLECTOR_PUBLIC_KEY_FILE: join(files, 'collector.pub') }),
    ...(options.maxBytes === undefined
      ? {}
      : { CHAPERONE_SPOOL_MAX_BYTES: String(options.maxBytes) }),
  });
  const metrics = createMetrics({
    sessions: () => 0,
    pendingLogins: () => 0,
    spoolBytes: () => spool.writer.totalBytes,
    spoolWritable: () => spool.trouble === undefined,
    shipStalledSeconds: () => spool.stalledSeconds,
    packetsRefused: () => 0,
  });
  const log: LogLine[] = [];
  const lines = { write: (line: string) => void log.push(JSON.parse(line) as LogLine) };
  const spool: Spool = await openSpool({
    config,
    token: { value: 'a token' },
    waitMs: () => options.waitMs ?? 0,
    metrics,
    log: pino({ level: 'debug' }, lines),
  });
  rmSync(files, { recursive: true });
  return {
    spool,
    metrics,
    log,
    metric: async (name) => {
      const values = (await metrics.registry.getMetricsAsJSON()).find((one) => one.name === name);
      return values?.values.reduce((sum, { value }) => sum + value, 0) ?? Number.NaN;
    },
  };
}
