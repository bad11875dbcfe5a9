import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Identities, Person } from './identity/identities.ts';
import type { Metrics } from './metrics.ts';
import { HttpProblem } from './problem.ts';
import type { Database } from './store/database.ts';
import { recordRead } from './store/reads.ts';
import { searchable } from './store/summary.ts';

export interface ReaderOptions {
  readonly database: Database;
  readonly identities: Identities;
  readonly metrics: Metrics;
}

/** Keeps routes for those who may read, and puts on record what they ask before it is answered. */
export function admitReaders(
  routes: FastifyInstance,
  { database, identities, metrics }: ReaderOptions,
): void {
  const people = new WeakMap<FastifyRequest, Person>();
  routes.addHook('onRequest', async (request) => {
    people.set(request, await identities.person(request.headers.authorization, 'get'));
    if (!database.ready) throw new HttpProblem('store-unavailable', 'the database is not ready');
  });
  routes.addHook('preHandler', async (request) => {
    const person = people.get(request);
    if (!person) throw new Error('a reader whom nobody knows was let in');
    await recordRead(database, { who: searchable(person.name), what: whatIsRead(request.url) });
  });
  routes.addHook('onResponse', async (_request, reply) =>
    metrics.reads.inc({ status: reply.statusCode }),
  );
}

/** Where to begin is left out: who follows a stream asks the same every second, and reads one thing. */
const telling = ['who', 'backend', 'session', 'text'];

function whatIsRead(url: string): string {
  const { pathname, searchParams } = new URL(url, 'https://collector');
  if (searchParams.has('text')) searchParams.set('text', '(not recorded)'); // it may be content
  const query = [...searchParams]
    .filter(([name]) => telling.includes(name))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
  return searchable(query === '' ? pathname : `${pathname}?${query}`);
}

/** A body whose pieces are made as they are read: no more than one waits for a reader that is slow. */
export function inPieces(pieces: AsyncIterable<Buffer | string>): Readable {
  return Readable.from(pieces, { highWaterMark: 1 });
}
