import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { ChaperoneError } from '#core/errors.ts';
import type { CollectorReport, CollectorSecrets } from '#core/control.ts';
import { usableAddress } from '../runtime/usable-address.ts';
import { stopRequest, type ControlPipe } from '../runtime/control-pipe.ts';
import { startHealth } from '../runtime/health.ts';
import { runService } from '../runtime/service.ts';
import { readConfig, type CollectorConfig } from './config.ts';
import { createMetrics } from './metrics.ts';
import { buildServer } from './server.ts';
import { factsOf } from './store/error-facts.ts';
import { Database } from './store/database.ts';
import { findSurroundings, type PodSecrets } from './surroundings.ts';
import { Tasks } from './tasks.ts';

const requestGraceMs = 5_000; // who stops us waits twice as long, and the last heads are still to be written

type Control = ControlPipe<CollectorSecrets | PodSecrets, CollectorReport>;

/** Starts the parts in the order in which they need each other, and stops them in the opposite one. */
async function run(config: CollectorConfig, control: Control, log: Logger): Promise<void> {
  const stopped = stopRequest(control);
  const { tls, login, identities, key, renew } = await findSurroundings(
    config,
    control.secrets,
    log,
  );
  const database: Database = new Database(login, log);
  const metrics = createMetrics(() => database.ready);
  const tasks = new Tasks({ config, database, key, metrics, log });
  const server = buildServer({
    tls,
    database,
    identities,
    metrics,
    log,
    key,
    limits: config.quarantine,
    heads: tasks.heads,
    onLedgered: tasks.onLedgered,
    onTexts: tasks.onTexts,
  });
  const endRenewal = renew(server);
  await server.listen(await usableAddress(config.listen));
  const { port } = server.server.address() as AddressInfo; // a TCP server's address is one
  const health = await startHealth({
    listen: config.metricsListen,
    registry: metrics.registry,
    notReady: () => (database.ready ? undefined : 'the database is not ready'),
  });
  control.report({
    type: 'ready',
    url: `https://${config.listen.host}:${port}`,
    metricsUrl: health.url,
  });
  log.info({ metricsUrl: health.url, address: server.server.address() }, 'ready');

  const why = await Promise.race([stopped, database.unusable]);
  if (why instanceof Error) throw new ChaperoneError('config-invalid', why.message);
  log.info({ why }, 'stopping');
  await close(server);
  endRenewal();
  await tasks.stop().catch((error: unknown) => log.error(factsOf(error), 'the last heads are not in the ledger')); // prettier-ignore
  await database.close();
  health.server.close();
  health.server.closeAllConnections();
}

/** Lets requests end that are under way, but waits for no reader that takes its time. */
async function close(server: FastifyInstance<Server>): Promise<void> {
  const timer = setTimeout(() => server.server.closeAllConnections(), requestGraceMs);
  await server.close();
  clearTimeout(timer);
}

function readSecrets({ pod }: CollectorConfig): PodSecrets | undefined {
  return pod && { type: 'secrets', pod };
}

void runService({ name: 'collector', readConfig, readSecrets, run }, process.env);
