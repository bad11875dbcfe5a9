import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { Identities } from './identity/identities.ts';
import type { Metrics } from './metrics.ts';
import { HttpProblem } from './problem.ts';
import type { Database } from './store/database.ts';

export interface ReaderOptions {
  readonly database: Database;
  readonly identities: Identities;
  readonly metrics: Metrics;
}

/** Keeps routes for those who may read, and counts what they ask. */
export function admitReaders(
  routes: FastifyInstance,
  { database, identities, metrics }: ReaderOptions,
): void {
  routes.addHook('onRequest', async (request) => {
    await identities.person(request.headers.authorization, 'get');
    if (!database.ready) throw new HttpProblem('store-unavailable', 'the database is not ready');
  });
  routes.addHook('onResponse', async (_request, reply) =>
    metrics.reads.inc({ status: reply.statusCode }),
  );
}

/** A body whose pieces are made as they are read: no more than one waits for a reader that is slow. */
export function inPieces(pieces: AsyncIterable<Buffer | string>): Readable {
  return Readable.from(pieces, { highWaterMark: 1 });
}
