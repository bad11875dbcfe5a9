import type { FastifyInstance } from 'fastify';
import { parseCursor } from './query.ts';
import { admitReaders, inPieces, type ReaderOptions } from './readers.ts';
import { readLedger } from './store/ledger.ts';
import { lastHold } from './store/legal-hold.ts';
import { listFindings, listStreams } from './store/read.ts';
import { listReads } from './store/reads.ts';

const limit = { type: 'integer', minimum: 1, maximum: 1_000, default: 1_000 } as const;
const number = { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER } as const;
const queryOf = (properties: object) => ({
  querystring: { type: 'object', additionalProperties: false, properties },
});

/** What readers may ask about the log as a whole: streams, findings, who read what, the ledger, and whether a legal hold is on. */
export function registerEvidence(app: FastifyInstance, options: ReaderOptions): void {
  const { database } = options;
  app.register((routes, _options, done) => {
    admitReaders(routes, options);
    routes.get<{ Querystring: { limit: number; before?: string } }>(
      '/v1/streams',
      { schema: queryOf({ limit, before: { type: 'string', maxLength: 1_024 } }) },
      async ({ query }) => {
        const cursor = parseCursor(query.before);
        const before = cursor && { firstSeen: cursor.startedAt, stream: cursor.id };
        const streams = await listStreams(database, { limit: query.limit, before });
        const last = streams.at(-1);
        const more = streams.length === query.limit && last;
        return { streams, next: more ? `${last.firstSeen}_${last.stream}` : null };
      },
    );
    routes.get<{ Querystring: { limit: number; before?: number } }>(
      '/v1/findings',
      { schema: queryOf({ limit, before: number }) },
      async ({ query }) => {
        const findings = await listFindings(database, query);
        const last = findings.at(-1);
        return { findings, next: findings.length === query.limit && last ? last.id : null };
      },
    );
    routes.get<{ Querystring: { limit: number; before?: number } }>(
      '/v1/reads',
      { schema: queryOf({ limit, before: number }) },
      async ({ query }) => {
        const reads = await listReads(database, query);
        const last = reads.at(-1);
        return { reads, next: reads.length === query.limit && last ? last.id : null };
      },
    );
    routes.get<{ Querystring: { from: number } }>(
      '/v1/ledger',
      { schema: queryOf({ from: { ...number, default: 1 } }) },
      async ({ query }, reply) =>
        reply.type('text/plain; charset=utf-8').send(inPieces(readLedger(database, query.from))),
    );
    routes.get('/v1/legal-hold', async () => {
      const hold = await database.transaction((client) => lastHold(client));
      return hold ?? { held: false };
    });
    done();
  });
}
