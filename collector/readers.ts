import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { Metrics } from './metrics.ts';
import { HttpProblem } from './problem.ts';
import type { Database } from './store/database.ts';
import type { TokenReview } from './writers.ts';

export interface ReaderOptions {
  readonly database: Database;
  readonly tokens: TokenReview;
  readonly metrics: Metrics;
}

/** Keeps routes for those who may read, and counts what they ask. */
export function admitReaders(
  routes: FastifyInstance,
  { database, tokens, metrics }: ReaderOptions,
): void {
  routes.addHook('onRequest', async (request) => {
    if (!tokens.isReader(request.headers.authorization)) {
      throw new HttpProblem('unauthorized', 'a bearer token that may read is needed');
    }
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
