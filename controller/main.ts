import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { KubeConfig } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import { openCluster } from '../runtime/cluster-connection.ts';
import { startHealth } from '../runtime/health.ts';
import { runInPod } from '../runtime/service.ts';
import { usableAddress } from '../runtime/usable-address.ts';
import { buildBundle, type Built } from './bundles.ts';
import { IssuedCertificates } from './certificates/issued.ts';
import { CertificateObjects } from './certificates/objects.ts';
import { rotateCertificates } from './certificates/rotate.ts';
import { ClusterState } from './cluster-state.ts';
import { readConfig, type ControllerConfig } from './config.ts';
import { Identities, type ProvenPod } from './identities.ts';
import { Leader } from './leader.ts';
import { LeaseObject } from './lease.ts';
import { createMetrics } from './metrics.ts';
import { checkInspected, type Accepted, type Checked } from './pod-check.ts';
import { ProviderKeyStore } from './provider-keys.ts';
import { buildServer } from './server.ts';
import { Acknowledged } from './status/acknowledged.ts';
import { keepStatus, type StatusSources } from './status/keep-status.ts';
import { livePods } from './status/live-pods.ts';
import { ReportWriter } from './status/report-writer.ts';
import type { Standings } from './status/standing.ts';
import { StatusObjects } from './status/status-objects.ts';
import { Streams, type PodKey } from './streams.ts';
import { KubeApi } from './watch/kube-api.ts';

const deadlineMs = 5_000;
const requestGraceMs = 5_000;
/** A sidecar can be faster than the watch that tells of its pod. */
const podMs = 5_000;
const podStepMs = 100;

/** Starts the parts in the order in which they need each other, and stops them in the opposite one. */
async function run(config: ControllerConfig, log: Logger): Promise<void> {
  const stopping = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stopping.abort());
  const { signal } = stopping;
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromDefault();
  const connection = openCluster(kubeConfig, deadlineMs);
  const { namespace, clusterDomain, podName } = config;
  const objects = new CertificateObjects(connection, { namespace, webhookConfiguration: 'chaperone' }); // prettier-ignore
  // On a new installation the leader makes what all replicas wait for below.
  const leader = Leader.start({
    lease: new LeaseObject(connection, { namespace, name: 'chaperone-controller' }),
    identity: `${podName}_${randomUUID()}`,
    lead: async (term) => {
      const rotation = rotateCertificates({ objects, clusterDomain, log }, term);
      await Promise.all([rotation, keepStatus({ sources, objects: statuses, api: new KubeApi(kubeConfig), namespace, log }, term)]); // prettier-ignore
    },
    log,
  });
  const held: { certificates?: IssuedCertificates } = {};
  const metrics = createMetrics({
    streams: () => streams.size,
    pods: () => state.podCount,
    certificateExpiresMs: () => held.certificates?.expiresMs ?? 0,
    leading: () => leader.leading,
  });
  const ending = new AbortController();
  const statuses = new StatusObjects(connection, namespace);
  const changes = new Set<() => void>();
  const noteChange = (): void => {
    for (const listener of changes) listener();
  };
  const acknowledged = new Acknowledged(() => {
    reports.changed();
    noteChange();
  });
  const changed = (of: string | undefined): void => {
    noteChange();
    if (of !== undefined) return streams.changed(of);
    keys.track(state.resources.flatMap(({ parsed }) => parsed.resource?.kind === 'IdentityProvider' ? parsed.resource : [])); // prettier-ignore
    return streams.changed();
  };
  const state: ClusterState = new ClusterState({
    kubeConfig,
    config,
    onChange: changed,
    onKill: (session) => streams.kill(session),
    log,
    signal: ending.signal,
  });
  const keys: ProviderKeyStore = new ProviderKeyStore(() => streams.changed(), log, ending.signal);
  const notReady = (): string | undefined => {
    if (signal.aborted) return 'it is stopping';
    return held.certificates ? state.missing : 'there are no certificates yet';
  };
  const accepted = (): Accepted => acceptedBy(state, held.certificates);
  const check = (pod: PodKey): Checked => checkWatched(pod, state, accepted());
  const streams: Streams = new Streams({
    bundleFor: (pod) => bundleFor(pod, check(pod), { state, keys, certificates: held.certificates }), // prettier-ignore
    metrics,
    acknowledged,
    log,
  });
  const standings = (): Standings => acknowledged.standings();
  const reports: ReportWriter = new ReportWriter({ objects: statuses, name: podName, standings, log, signal: ending.signal }); // prettier-ignore
  const sources: StatusSources = {
    resources: () => state.resources,
    pods: (known) => livePods(state, accepted(), known),
    credential: (name) => state.credential(name),
    standings,
    isReady: () => held.certificates !== undefined && state.missing === undefined,
    onChange: (listener) => {
      changes.add(listener);
      return () => void changes.delete(listener);
    },
  };
  const health = await startHealth({
    listen: config.metricsListen,
    registry: metrics.registry,
    notReady,
  });
  const issued = await IssuedCertificates.open({ objects, log }, signal).catch(() => undefined); // asked to stop
  if (!issued) return leader.stop();
  held.certificates = issued;
  const server = buildServer({
    tls: issued.pair,
    identities: new Identities(connection, namespace),
    streams,
    acknowledged,
    check: (pod) => waitForPod(pod, check, () => state.pod(pod.namespace, pod.name) !== undefined),
    refreshKeys: (provider) => keys.refresh(provider),
    notReady,
    metrics,
    log,
  });
  issued.onChange(() => {
    server.server.setSecureContext(issued.pair);
    streams.changed();
  });
  await server.listen(await usableAddress(config.listen));
  log.info({ metricsUrl: health.url, address: server.server.address() }, 'ready');

  await asked(signal);
  log.info('stopping');
  streams.close(config.drainMs);
  await delay(config.drainMs);
  const cut = setTimeout(() => server.server.closeAllConnections(), requestGraceMs);
  await server.close();
  clearTimeout(cut);
  ending.abort();
  issued.close();
  await leader.stop();
  health.server.close();
  health.server.closeAllConnections();
}

function acceptedBy(
  { serverAddresses }: ClusterState,
  certificates: IssuedCertificates | undefined,
): Accepted {
  const isIssued: Accepted['isIssued'] = (server, pem) =>
    certificates?.isIssued(server, pem) === true;
  return { addresses: serverAddresses, isIssued };
}

function checkWatched(
  { namespace, name, uid }: PodKey,
  state: ClusterState,
  accepted: Accepted,
): Checked {
  // prettier-ignore
  const watched = state.pod(namespace, name);
  if (!watched || watched.uid !== uid || watched.over)
    return { kind: 'other', reason: 'there is no such pod with a sidecar of ours' };
  return checkInspected(watched.inspected, state.namespaceLabels(namespace), accepted);
}

async function waitForPod(
  pod: ProvenPod,
  check: (pod: PodKey) => Checked,
  isThere: () => boolean,
): Promise<Checked> {
  const deadline = performance.now() + podMs;
  while (!isThere() && performance.now() < deadline) await delay(podStepMs);
  return check(pod);
}

interface Known {
  readonly state: ClusterState;
  readonly keys: ProviderKeyStore;
  readonly certificates: IssuedCertificates | undefined;
}

function bundleFor(
  key: PodKey,
  checked: Checked,
  { state, keys, certificates }: Known,
): Built | undefined {
  // prettier-ignore
  const watched = state.pod(key.namespace, key.name);
  if (checked.kind === 'other' || !watched || !certificates) return undefined;
  const { serviceAccount, labels } = watched;
  const { controller, collector } = certificates.authorities;
  return buildBundle(
    {
      pod: key.name,
      namespace: key.namespace,
      serviceAccount,
      uid: key.uid,
      labels,
      attachment: checked.attachment,
    },
    {
      resources: state.resources,
      credential: (name) => state.credential(name),
      keysOf: (provider) => keys.keysOf(provider),
      networkOf: (name) => state.networkOf(name),
      authorities: { controller, collector },
      secret: state.secret,
    },
  );
}

async function asked(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener('abort', () => resolve(), { once: true });
  await promise;
}

void runInPod({ name: 'controller', readConfig, run }, process.env);
