import { promisify } from 'node:util';
import { zstdDecompress } from 'node:zlib';
import type { FastifyInstance } from 'fastify';
import { verifyBatch } from './batch.ts';
import type { Metrics } from './metrics.ts';
import { HttpProblem } from './problem.ts';
import { appendBatch } from './store/append.ts';
import type { Database } from './store/database.ts';
import type { TokenReview } from './writers.ts';

export const maxCompressedBytes = 8 * 1024 * 1024;
const maxInflatedBytes = 64 * 1024 * 1024;
const maxConcurrent = 4; // each may hold its inflated batch

export const framesType = 'application/vnd.chaperone.frames';
const inflate = promisify(zstdDecompress);

export interface IngestOptions {
  readonly database: Database;
  readonly tokens: TokenReview;
  readonly metrics: Metrics;
}

/** `POST /v1/records`: verifies a batch, commits it, and only then acknowledges it. */
export function registerIngest(
  app: FastifyInstance,
  { database, tokens, metrics }: IngestOptions,
): void {
  let running = 0;
  app.addContentTypeParser(
    framesType,
    { parseAs: 'buffer', bodyLimit: maxCompressedBytes },
    (_request, body, done) => done(null, body),
  );
  app.post('/v1/records', {
    bodyLimit: maxCompressedBytes,
    // Before the body is read: a stranger's 8 MiB are not worth receiving.
    onRequest: async (request) => {
      if (!tokens.writer(request.headers.authorization)) {
        throw new HttpProblem('unauthorized', 'a bearer token that may write is needed');
      }
    },
    onResponse: async (_request, reply) => metrics.batches.inc({ status: reply.statusCode }),
    handler: async (request, reply) => {
      const writer = tokens.writer(request.headers.authorization);
      if (!writer) throw new HttpProblem('unauthorized', 'a bearer token that may write is needed');
      if (!database.ready) throw new HttpProblem('store-unavailable', 'the database is not ready');
      if (running >= maxConcurrent) throw new HttpProblem('busy', 'too many batches at once');
      running += 1;
      try {
        const bytes = await inflateBody(request.headers['content-encoding'], request.body);
        const batch = verifyBatch(bytes);
        const stopTimer = metrics.commitSeconds.startTimer();
        const head = await database.transaction((client) => appendBatch(client, batch, writer));
        stopTimer();
        metrics.records.inc(head.added);
        if (head.added > 0) metrics.bytes.inc(bytes.length);
        return await reply.send({
          stream: batch.stream,
          seq: head.seq,
          link: head.link.toString('hex'),
        });
      } finally {
        running -= 1;
      }
    },
  });
}

async function inflateBody(encoding: string | undefined, body: unknown): Promise<Buffer> {
  if (encoding !== 'zstd' || !Buffer.isBuffer(body)) {
    throw new HttpProblem('bad-request', `want a body of ${framesType} with content-encoding zstd`);
  }
  try {
    return await inflate(body, { maxOutputLength: maxInflatedBytes });
  } catch (error) {
    const tooLarge =
      error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE';
    if (tooLarge)
      throw new HttpProblem('too-large', `a batch inflates to at most ${maxInflatedBytes} bytes`);
    throw new HttpProblem('batch-invalid', 'the body is not zstd');
  }
}
