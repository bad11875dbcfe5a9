import Fastify, { type FastifyError, type FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { ServerKeyPair } from '#core/control.ts';
import { registerIngest } from './ingest.ts';
import type { Metrics } from './metrics.ts';
import { HttpProblem, sendProblem } from './problem.ts';
import { registerQueries } from './query.ts';
import type { Database } from './store/database.ts';
import type { TokenReview } from './writers.ts';

export interface ServerOptions {
  readonly tls: ServerKeyPair;
  readonly database: Database;
  readonly tokens: TokenReview;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** Builds the HTTPS API: writing for sidecars, reading for people and their tools. */
export function buildServer({
  tls,
  database,
  tokens,
  metrics,
  log,
}: ServerOptions): FastifyInstance {
  const app = Fastify({
    https: { ...tls, minVersion: 'TLSv1.2' },
    requestTimeout: 60_000,
    connectionTimeout: 120_000,
    keepAliveTimeout: 75_000,
    forceCloseConnections: 'idle',
    return503OnClosing: true,
    ajv: { customOptions: { removeAdditional: false } }, // what is not known is refused, never dropped
  });
  app.setErrorHandler((error: FastifyError | HttpProblem, _request, reply) => {
    if (error instanceof HttpProblem) return sendProblem(reply, error);
    const { statusCode } = error;
    if (statusCode === 413)
      return sendProblem(reply, new HttpProblem('too-large', 'the body is too large'));
    if (statusCode !== undefined && statusCode < 500) {
      return sendProblem(reply, new HttpProblem('bad-request', error.message));
    }
    // What is left are errors of the store. Only the code is logged: a message of the database may quote content.
    log.error({ code: error.code, name: error.name }, 'a request failed');
    return sendProblem(
      reply,
      new HttpProblem('store-unavailable', 'the store did not answer as it should'),
    );
  });
  app.setNotFoundHandler((_request, reply) =>
    sendProblem(reply, new HttpProblem('not-found', 'no such path')),
  );
  registerIngest(app, { database, tokens, metrics });
  registerQueries(app, { database, tokens, metrics });
  return app;
}
