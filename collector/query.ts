import type { FastifyInstance } from 'fastify';
import type { SessionSummary } from '#core/session-summary.ts';
import { framesType } from './ingest.ts';
import { HttpProblem } from './problem.ts';
import { admitReaders, inPieces, type ReaderOptions } from './readers.ts';
import type { Database } from './store/database.ts';
import { findSessions, findStream, readFrames, type StreamRow } from './store/read.ts';
import { listSessions } from './store/search.ts';

const text = { type: 'string', maxLength: 1_024 } as const;
const listQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    who: text,
    backend: text,
    text: { ...text, minLength: 1 },
    since: { type: 'string', format: 'date-time' },
    limit: { type: 'integer', minimum: 1, maximum: 1_000, default: 100 },
    before: text,
  },
} as const;
interface ListQuery {
  readonly who?: string;
  readonly backend?: string;
  readonly text?: string;
  readonly since?: string;
  readonly limit: number;
  readonly before?: string;
}

/** What readers may ask: sessions, their frames, and streams. */
export function registerQueries(app: FastifyInstance, options: ReaderOptions): void {
  const { database } = options;
  app.register((routes, _options, done) => {
    admitReaders(routes, options);
    routes.get<{ Querystring: ListQuery }>(
      '/v1/sessions',
      { schema: { querystring: listQuery } },
      async (request) => {
        const { before, ...filter } = request.query;
        const sessions = await listSessions(database, { ...filter, before: parseCursor(before) });
        const last = sessions.at(-1);
        const more = sessions.length === filter.limit && last;
        return { sessions, next: more ? `${last.startedAt}_${last.id}` : null };
      },
    );
    routes.get<{ Params: { id: string } }>('/v1/sessions/:id', async (request) =>
      oneSession(database, request.params.id),
    );
    routes.get<{ Params: { id: string } }>('/v1/sessions/:id/frames', async (request, reply) => {
      const session = await oneSession(database, request.params.id);
      return reply
        .type(framesType)
        .send(inPieces(readFrames(database, { stream: session.stream, session: session.id })));
    });
    routes.get<{ Params: { stream: string } }>('/v1/streams/:stream', async (request) =>
      oneStream(database, request.params.stream),
    );
    done();
  });
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const uuidPrefix = /^(?=.{6,36}$)[0-9a-f]{1,8}(-[0-9a-f]{0,4}){0,3}(-[0-9a-f]{0,12})?$/;

/** Finds the session that an id, or its beginning, means. @throws HttpProblem `not-found`, `ambiguous`. */
export async function oneSession(database: Database, id: string): Promise<SessionSummary> {
  if (!uuidPrefix.test(id))
    throw new HttpProblem('not-found', 'want a session id, or its first 6 characters or more');
  const [session, another] = await findSessions(database, id);
  if (!session) throw new HttpProblem('not-found', 'no session has this id');
  if (another) throw new HttpProblem('ambiguous', 'more than one session has an id that begins so');
  return session;
}

/** @throws HttpProblem `not-found`. */
export async function oneStream(database: Database, id: string): Promise<StreamRow> {
  const stream = uuid.test(id) ? await findStream(database, id) : undefined;
  if (!stream) throw new HttpProblem('not-found', 'no stream has this id');
  return stream;
}

/** Reads where a list goes on: a time and an id. @throws HttpProblem `bad-request`. */
export function parseCursor(
  cursor: string | undefined,
): { startedAt: string; id: string } | undefined {
  if (cursor === undefined) return undefined;
  const [startedAt = '', id = ''] = cursor.split('_');
  if (!uuid.test(id) || Number.isNaN(Date.parse(startedAt))) {
    throw new HttpProblem('bad-request', 'want "before" as a list gave it in "next"');
  }
  return { startedAt, id };
}
