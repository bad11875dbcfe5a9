import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { ChaperoneError } from '#core/errors.ts';
import { drainMs, shipMs } from '#core/stop-times.ts';
import { listenForOperators } from './admin-socket.ts';
import { withAnnounced } from './announced-authorities.ts';
import { followBundles, type BundleSource } from './bundle-source.ts';
import { readConfig, type SidecarConfig } from './config.ts';
import type { SidecarReport, SidecarSecrets } from '#core/control.ts';
import { stopRequest, type ControlPipe } from '../runtime/control-pipe.ts';
import { Connections } from './connections.ts';
import { Credentials } from './credentials.ts';
import { Explainer } from './explainer.ts';
import { startHealth } from '../runtime/health.ts';
import { runService } from '../runtime/service.ts';
import { Host } from './host.ts';
import { readDefaultGateways } from './interception/default-gateways.ts';
import { TransparentMode } from './interception/transparent-mode.ts';
import { Listener } from './listener.ts';
import { createMetrics } from './metrics.ts';
import { Grammar } from './postgres/grammar/grammar.ts';
import { postgresLane } from './postgres/lane.ts';
import { openSpool, type Spool } from './spool/open.ts';
import { Surroundings } from './surroundings.ts';
import { tcpLane } from './tcp/lane.ts';
import { oneCertificate, PodTls, type AgentTls } from './trust/agent-tls.ts';
import { CertificateWorker } from './trust/certificate-worker.ts';
import { providePodAuthority, writeTrust } from './trust/pod-authority.ts';
import type { Routes } from './upstream.ts';

const orphanDrainMs = 500;
const nowhere = { address: '', port: 0 }; // the ends of a connection that nobody has made

type Control = ControlPipe<SidecarSecrets, SidecarReport>;

/** Starts the parts in the order in which they need each other, and stops them in the opposite one. */
async function run(given: SidecarConfig, control: Control, log: Logger): Promise<void> {
  const config = withAnnounced(given);
  const stopped = stopRequest(control);
  const { secrets } = control;
  const credentials = new Credentials(secrets.credentials);
  const state: { started?: Started } = {};
  const metrics = createMetrics({
    sessions: () => state.started?.host.sessionCount ?? 0,
    pendingLogins: () => state.started?.connections.pendingCount ?? 0,
    spoolBytes: () => state.started?.spool.writer.totalBytes ?? 0,
    spoolWritable: () => state.started !== undefined && state.started.spool.trouble === undefined,
    shipStalledSeconds: () => state.started?.spool.stalledSeconds ?? 0,
    packetsRefused: () => state.started?.transparent?.packetsRefused ?? 0,
  });
  const notReady = (): string | undefined => whyNotReady(state.started);
  // Before all that takes a while: in a pod the kubelet goes on meanwhile.
  const health = await startHealth({
    listen: config.metricsListen,
    registry: metrics.registry,
    notReady,
  });
  const agentTls = provideAgentTls(config, secrets); // which takes a while, as the spool may
  agentTls.catch(() => undefined); // it is waited for below
  const spool = await openSpool({
    config,
    token: config.collectorTokenFile === '' ? { value: secrets.ingestToken } : { file: config.collectorTokenFile }, // prettier-ignore
    waitMs: () => host.bundle?.policy?.waitMs ?? 10_000,
    metrics,
    log,
  });
  const { writer } = spool;
  const tls = await agentTls;
  const grammar = new Grammar();
  const surroundings = isPod(config)
    ? new Surroundings(config, await readDefaultGateways())
    : undefined;
  const transparent =
    config.mode === 'transparent' && surroundings
      ? new TransparentMode(config, surroundings)
      : undefined;

  const host: Host = new Host({
    config,
    writer,
    commits: spool.committed,
    credentials,
    grammar,
    tls,
    metrics,
    log,
    routes: surroundings?.routes ?? asThisMachine(config),
    refreshKeys: (provider) => bundles.refreshKeys(provider),
  });
  const connections: Connections = new Connections({
    host,
    lanes: [postgresLane, tcpLane],
    maxPending: config.maxPending,
    metrics,
    log,
  });
  state.started = { host, connections, spool, transparent };
  await transparent?.start({ host, connections, notReady, log });
  const listener =
    transparent ??
    new Listener({
      connections,
      basePort: config.listenPort,
      ports: config.listenPorts,
      log,
      onListening: (backends) =>
        control.report({ type: 'listening', backends: Object.fromEntries(backends) }),
    });
  const explainer = new Explainer({
    asked: () => host.asked,
    grammar,
    loginUser: ({ credential }) => credential && credentials.get(credential).username,
    holdCatalogue: (backend, database) =>
      host.databases.use({ backend, client: nowhere, server: nowhere }, host, database),
  });
  const admin =
    config.adminSocket === ''
      ? undefined
      : await listenForOperators({
          path: config.adminSocket,
          kill: (prefix) => host.kill(prefix),
          explainer,
        });
  const ending = new AbortController();
  const bundles: BundleSource = followBundles({
    config,
    host,
    credentials,
    surroundings,
    spool,
    metrics,
    log,
    signal: ending.signal,
    report: (report) => control.report(report),
    onApplied: (bundle) => {
      surroundings?.apply(bundle);
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
  });

  const why = await Promise.race([stopped, spool.failed]);
  log.info({ why }, 'stopping');
  ending.abort();
  host.drain();
  await Promise.race([
    listener.close(),
    delay(why === 'asked' ? drainMs : orphanDrainMs, undefined, { ref: false }),
  ]);
  await grammar.stop();
  await spool.close(why === 'asked' ? shipMs : 0);
  admin?.close();
  health.server.close();
  health.server.closeAllConnections();
}

/** What has to be there before anything can be served. */
interface Started {
  readonly host: Host;
  readonly connections: Connections;
  readonly spool: Spool;
  readonly transparent: TransparentMode | undefined;
}

function whyNotReady(started: Started | undefined): string | undefined {
  if (!started) return 'the sidecar is starting';
  if (!started.host.bundle) return 'no policy bundle yet';
  return started.spool.trouble && 'the spool cannot be written';
}

/** Whether others than who starts the sidecar have a say in where names lead, and in who listens beside it. */
function isPod({ mode, source }: SidecarConfig): boolean {
  return mode === 'transparent' || source.kind === 'controller';
}

/** On a machine of one owner names lead where they lead for him. */
function asThisMachine({ connectTo }: SidecarConfig): Routes {
  return { connectTo, lookupFor: undefined, isDenied: () => false, trustsLoopback: true };
}

/** What agents are shown that speak TLS, and in a pod what they are to trust. @throws ChaperoneError `config-invalid`. */
async function provideAgentTls(
  { source }: SidecarConfig,
  secrets: SidecarSecrets,
): Promise<AgentTls> {
  if (source.kind === 'directory') return oneCertificate(secrets.tls);
  const worker = new CertificateWorker();
  try {
    const authority = await providePodAuthority(source.memoryDirectory, worker, Date.now());
    await writeTrust(source.trustDirectory, authority, worker);
    return new PodTls(authority, worker);
  } catch (cause) {
    const message = `what agents trust cannot be written to ${source.memoryDirectory} and ${source.trustDirectory}`;
    throw new ChaperoneError('config-invalid', message, { cause });
  }
}

/** In a pod nobody hands secrets over: the controller sends them, and what else there is comes from files. */
function readSecrets({ source }: SidecarConfig): SidecarSecrets | undefined {
  if (source.kind === 'directory') return undefined;
  return { type: 'secrets', tls: { key: '', cert: '' }, ingestToken: '', credentials: {} };
}

void runService({ name: 'sidecar', readConfig, readSecrets, run }, process.env);
