import type { Server } from 'node:https';
import Fastify, { type FastifyError, type FastifyInstance } from 'fastify';
import type { ServerKeyPair } from '#core/control.ts';
import { registerAdmin } from './admin.ts';
import { registerEvidence } from './evidence.ts';
import { registerExports } from './export/routes.ts';
import { registerIngest, type IngestOptions } from './ingest.ts';
import { HttpProblem, sendProblem } from './problem.ts';
import { registerQueries } from './query.ts';

export interface ServerOptions extends IngestOptions {
  readonly tls: ServerKeyPair;
}

/** Builds the HTTPS API: writing for sidecars, reading for people and their tools, orders for operators. */
export function buildServer({ tls, ...options }: ServerOptions): FastifyInstance<Server> {
  const { log } = options;
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
  registerIngest(app, options);
  registerQueries(app, options);
  registerEvidence(app, options);
  registerExports(app, options);
  registerAdmin(app, options);
  return app;
}
