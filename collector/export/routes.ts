import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { buildExport, type ExportWanted } from '#core/record/export-build.ts';
import { uuidPattern } from '#core/uuid.ts';
import { framesType } from '../ingest.ts';
import { oneSession, oneStream } from '../query.ts';
import { admitReaders, type ReaderOptions } from '../readers.ts';
import type { Database } from '../store/database.ts';
import { readFrames } from '../store/read.ts';
import { StoreSource } from './source.ts';

const exportType = 'application/vnd.chaperone.export';

const seq = { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER } as const;
const framesQuery = {
  type: 'object',
  additionalProperties: false,
  required: ['from'],
  properties: { from: seq, session: { type: 'string', pattern: uuidPattern } },
} as const;
const activityQuery = {
  type: 'object',
  additionalProperties: false,
  properties: { since: { type: 'string', format: 'date-time' } },
} as const;

/** Exports, and what it takes to follow streams as they grow. */
export function registerExports(app: FastifyInstance, options: ReaderOptions): void {
  const { database } = options;
  app.register((routes, _options, done) => {
    admitReaders(routes, options);
    routes.get<{ Params: { id: string } }>('/v1/sessions/:id/export', async (request, reply) => {
      const { id: session, stream } = await oneSession(database, request.params.id);
      return reply
        .type(exportType)
        .send(Readable.from(exportOf(database, { stream, session }), { objectMode: false }));
    });
    routes.get<{ Params: { stream: string } }>(
      '/v1/streams/:stream/export',
      async (request, reply) => {
        const { stream } = await oneStream(database, request.params.stream);
        return reply
          .type(exportType)
          .send(Readable.from(exportOf(database, { stream }), { objectMode: false }));
      },
    );
    routes.get<{ Params: { stream: string }; Querystring: { from: number; session?: string } }>(
      '/v1/streams/:stream/frames',
      { schema: { querystring: framesQuery } },
      async (request, reply) => {
        const { stream, ackedSeq } = await oneStream(database, request.params.stream);
        const range = { stream, ...request.query, to: ackedSeq };
        return reply.type(framesType).send(Readable.from(readFrames(database, range)));
      },
    );
    routes.get<{ Querystring: { since?: string } }>(
      '/v1/activity',
      { schema: { querystring: activityQuery } },
      async (request) => activity(database, request.query.since),
    );
    done();
  });
}

/** Builds an export, and breaks it off where retention drops records meanwhile: what is missing would look like tampering. */
async function* exportOf(database: Database, wanted: ExportWanted): AsyncGenerator<Buffer> {
  const source = new StoreSource(database);
  const before = await source.cut(wanted.stream);
  let held: Buffer | undefined;
  for await (const piece of buildExport(source, wanted)) {
    if (held) yield held;
    held = piece;
  }
  const after = await source.cut(wanted.stream);
  if (before?.seq !== after?.seq) throw new Error('retention dropped records that were exported');
  if (held) yield held;
}

interface Activity {
  /** Now, by the store's clock: what to ask with the next time. */
  readonly time: string;
  readonly streams: readonly { readonly stream: string; readonly ackedSeq: number }[];
}

/**
 * Says how far streams have come that received something; a batch may be committed a little after its time. Without a time
 * it is those that may go on: what has ended will not.
 */
async function activity(database: Database, since: string | undefined): Promise<Activity> {
  const rows = await database.query<{ activity: Activity }>(
    `SELECT json_build_object(
       'time', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       'streams', coalesce(json_agg(json_build_object('stream', stream, 'ackedSeq', acked_seq)), '[]')) AS activity
     FROM streams WHERE last_received_at >= coalesce($1::timestamptz, clock_timestamp()) - interval '1 minute' OR ($1::timestamptz IS NULL AND NOT ended)`,
    [since ?? null],
  );
  const [row] = rows;
  if (!row) throw new Error('the store says nothing of its streams');
  return row.activity;
}
