import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { ChaperoneError } from '#core/errors.ts';
import type { CollectorReport, CollectorSecrets } from '#core/control.ts';
import { openControlPipe, stopRequest, type ControlPipe } from '../runtime/control-pipe.ts';
import { startHealth } from '../runtime/health.ts';
import { createLog } from '../runtime/log.ts';
import { readConfig, type CollectorConfig } from './config.ts';
import { createMetrics } from './metrics.ts';
import { buildServer } from './server.ts';
import { Database } from './store/database.ts';
import { createTokenReview } from './writers.ts';

type Control = ControlPipe<CollectorSecrets, CollectorReport>;

async function main(): Promise<void> {
  const config = readConfig(process.env);
  const log = createLog('collector', config.logLevel);
  const control: Control = await openControlPipe();
  try {
    await run(config, control, log);
    control.close();
  } catch (error) {
    control.report({ type: 'failed', message: error instanceof Error ? error.message : 'unknown' });
    throw error;
  }
}

/** Starts the parts in the order in which they need each other, and stops them in the opposite one. */
async function run(config: CollectorConfig, control: Control, log: Logger): Promise<void> {
  const stopped = stopRequest(control);
  const { secrets } = control;
  const database: Database = new Database(secrets.store, log);
  const metrics = createMetrics(() => database.ready);
  const server = buildServer({
    tls: secrets.tls,
    database,
    tokens: createTokenReview(secrets),
    metrics,
    log,
  });
  await server.listen(config.listen);
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

  log.info({ why: await stopped }, 'stopping');
  await server.close();
  await database.close();
  health.server.close();
  health.server.closeAllConnections();
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    const text =
      error instanceof ChaperoneError
        ? error.message
        : error instanceof Error
          ? error.stack
          : 'unknown';
    process.stderr.write(`chaperone collector: ${text}\n`);
    process.exit(1);
  },
);
