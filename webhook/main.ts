import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { KubeConfig } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import { usableAddress } from '../runtime/usable-address.ts';
import { startHealth } from '../runtime/health.ts';
import { runInPod } from '../runtime/service.ts';
import { TlsFiles } from '../runtime/tls-files.ts';
import { watchFiles } from '../runtime/watched-files.ts';
import { Cluster } from './cluster.ts';
import { readConfig, type WebhookConfig } from './config.ts';
import { Events } from './events.ts';
import { createMetrics } from './metrics.ts';
import { uidRange } from './names.ts';
import { SidecarOptions } from './sidecar-options.ts';
import { buildServer } from './server.ts';

const requestGraceMs = 5_000; // as long as the API server waits for an answer
const eventsGraceMs = 3_000;

/** Uids are drawn anew for every pod that comes in, also for one that has our parts already. */
const uids = {
  draw: () => randomInt(uidRange.first, uidRange.last + 1),
  keeps: false,
};

/** Starts the parts in the order in which they need each other, and stops them in the opposite one. */
async function run(config: WebhookConfig, log: Logger): Promise<void> {
  const asked = stopRequest();
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromDefault();
  const cluster = new Cluster(kubeConfig);
  const files = new TlsFiles(config.certFile, config.keyFile);
  const sidecarOptions = new SidecarOptions(config);
  const metrics = createMetrics(() => files.expiresMs);
  const events = new Events({ cluster, metrics, log });
  let draining = false;
  const server = buildServer({
    tls: files.pair,
    cluster,
    events,
    metrics,
    log,
    options: async () => {
      const [controller, collector] = await Promise.all([
        cluster.serverAddresses(config.controllerUrl),
        cluster.serverAddresses(config.collectorUrl),
      ]);
      return sidecarOptions.withAddresses({ controller, collector });
    },
    uids,
    draining: () => draining,
  });
  const watches = [
    { name: 'authorities', reload: () => sidecarOptions.reload(), use: () => undefined },
    {
      name: 'certificate',
      reload: () => files.reload(),
      use: () => server.server.setSecureContext(files.pair),
    },
  ];
  const endWatch = watchFiles(watches, log);
  await server.listen(await usableAddress(config.listen));
  const health = await startHealth({
    listen: config.metricsListen,
    registry: metrics.registry,
    notReady: () => {
      if (draining) return 'it is stopping';
      return files.expiresMs > Date.now() ? undefined : 'its certificate has expired';
    },
  });
  log.info({ metricsUrl: health.url, address: server.server.address() }, 'ready');

  await asked;
  log.info('stopping');
  draining = true;
  await delay(config.drainMs);
  const cut = setTimeout(() => server.server.closeAllConnections(), requestGraceMs);
  await server.close();
  clearTimeout(cut);
  endWatch();
  await Promise.race([events.close(), delay(eventsGraceMs)]);
  health.server.close();
  health.server.closeAllConnections();
}

async function stopRequest(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  return promise;
}

void runInPod({ name: 'webhook', readConfig, run }, process.env);
