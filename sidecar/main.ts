import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { listenForOperators } from './admin-socket.ts';
import { BundleDirectory } from './bundle-directory.ts';
import { readConfig, type SidecarConfig } from './config.ts';
import type { SidecarReport, SidecarSecrets } from '#core/control.ts';
import { stopRequest, type ControlPipe } from '../runtime/control-pipe.ts';
import { Credentials } from './credentials.ts';
import { startHealth } from '../runtime/health.ts';
import { runService } from '../runtime/service.ts';
import { Host } from './host.ts';
import { Listener } from './listener.ts';
import { createMetrics } from './metrics.ts';
import { postgresLane } from './postgres/lane.ts';
import { createSessionId } from './session.ts';
import { createClock } from './spool/clock.ts';
import { createSpoolDirectory, recoverLeftovers } from './spool/recover.ts';
import { Shipper } from './spool/shipper.ts';
import { SpoolWriter } from './spool/writer.ts';
import { tcpLane } from './tcp/lane.ts';

const version = '0.1.0';
const reserveBytes = 4 * 1024 * 1024; // for the endings of operations that a full spool stops
const drainMs = 7_000; // running statements have 5 s of it, and their cancels 1.5 s
const shipMs = 10_000;
const orphanDrainMs = 500;

type Control = ControlPipe<SidecarSecrets, SidecarReport>;

/** Starts the parts in the order in which they need each other, and stops them in the opposite one. */
async function run(config: SidecarConfig, control: Control, log: Logger): Promise<void> {
  const stopped = stopRequest(control);
  const { secrets } = control;
  const spool = await openSpool(config, log);
  const credentials = new Credentials(secrets.credentials);
  let trouble: Error | undefined;
  const metrics = createMetrics({
    sessions: () => host.sessionCount,
    pendingLogins: () => listener.pendingCount,
    spoolBytes: () => writer.totalBytes,
    spoolWritable: () => trouble === undefined,
  });
  const writer = new SpoolWriter({
    ...spool,
    waitMs: () => host.bundle?.policy?.waitMs ?? 10_000,
    onWritten: (records, bytes) => {
      metrics.totals.records += records;
      metrics.totals.bytes += bytes;
      shipper.nudge();
    },
    onTrouble: (error) => {
      trouble = error;
      if (error) log.error({ err: error }, 'the spool cannot be written');
      else log.info('the spool can be written again');
    },
  });
  for (const { segments } of spool.leftovers) writer.adopt(segments);
  const shipper: Shipper = new Shipper({
    writer,
    leftovers: spool.leftovers,
    collector: { url: config.collectorUrl, ca: spool.ca },
    token: secrets.ingestToken,
    log,
    onShipped: (records) => metrics.recordsShipped.inc(records),
    onFailure: () => metrics.shipFailures.inc(),
  });
  recordStreamStart(writer, config);

  const host: Host = new Host({
    config,
    writer,
    credentials,
    tls: secrets.tls,
    metrics,
    log,
    refreshKeys: (provider) => bundles.refreshKeys(provider),
  });
  const listener: Listener = new Listener({
    host,
    lanes: [postgresLane, tcpLane],
    basePort: config.listenPort,
    ports: config.listenPorts,
    maxPending: config.maxPending,
    metrics,
    log,
    onListening: (backends) =>
      control.report({ type: 'listening', backends: Object.fromEntries(backends) }),
  });
  const health = await startHealth({
    listen: config.metricsListen,
    registry: metrics.registry,
    notReady: () =>
      host.bundle ? trouble && 'the spool cannot be written' : 'no policy bundle yet',
  });
  const admin =
    config.adminSocket === ''
      ? undefined
      : await listenForOperators({ path: config.adminSocket, kill: (prefix) => host.kill(prefix) });
  const ending = new AbortController();
  const bundles: BundleDirectory = new BundleDirectory({
    directory: config.configDirectory,
    workload: config.workload,
    connectTo: config.connectTo,
    credentials: credentials.types,
    signal: ending.signal,
    onBundle: (bundle) => {
      metrics.bundles.inc({ outcome: 'accepted' });
      host.apply(bundle);
      control.report({ type: 'bundle-accepted', revision: bundle.revision });
      listener.apply(bundle).then(
        () => control.report({ type: 'ready', metricsUrl: health.url }),
        (error: unknown) => {
          log.error({ err: error }, 'a listener cannot be opened');
          control.report({
            type: 'failed',
            message: error instanceof Error ? error.message : 'unknown',
          });
        },
      );
    },
    onKeysFailed: (provider, err) =>
      log.warn({ provider, err }, "an issuer's keys cannot be fetched"),
    onRefused: (problems) => {
      metrics.bundles.inc({ outcome: 'refused' });
      control.report({ type: 'bundle-refused', problems });
    },
  });

  const why = await stopped;
  log.info({ why }, 'stopping');
  ending.abort();
  host.drain();
  await Promise.race([
    listener.close(),
    delay(why === 'asked' ? drainMs : orphanDrainMs, undefined, { ref: false }),
  ]);
  writer.append({
    ending: true,
    seal: () => ({ fields: { kind: 'stream.end', reason: 'stopped' } }),
  });
  if (!writer.close()) log.error('records were lost: the spool could not be written');
  const left = await shipper.stop(why === 'asked' ? shipMs : 0);
  if (left.length === 0) log.info('stopped; the spool is shipped');
  else log.warn({ streams: left }, 'stopped; part of the spool is kept for the next start');
  admin?.close();
  health.server.close();
  health.server.closeAllConnections();
}

async function openSpool(config: SidecarConfig, log: Logger) {
  const directory = config.spoolDirectory;
  createSpoolDirectory(directory);
  const leftovers = await recoverLeftovers(directory, (damage) =>
    log.error(damage, 'a segment of the spool is damaged; it is kept as it was beside it'),
  );
  if (leftovers.length > 0)
    log.info({ streams: leftovers.length }, 'shipping what an earlier process left');
  return {
    directory,
    leftovers,
    ca: await readFile(config.collectorCaFile, 'utf8'),
    stream: createSessionId(Date.now()),
    now: createClock(Date.now, () => performance.now()),
    maxBytes: config.spoolMaxBytes,
    reserveBytes,
  };
}

function recordStreamStart(writer: SpoolWriter, { workload }: SidecarConfig): void {
  writer.append({
    ending: true,
    seal: () => ({
      fields: {
        kind: 'stream.start',
        'service.version': version,
        'k8s.pod.name': workload.pod,
        'k8s.namespace.name': workload.namespace,
        'service.account': workload.serviceAccount,
        publicKey: '0'.repeat(64),
      },
    }),
  });
}

void runService({ name: 'sidecar', readConfig, run }, process.env);
