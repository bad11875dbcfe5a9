import type { KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, zstdDecompress } from 'node:zlib';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import type { WriterIdentity } from '#core/control.ts';
import { signAcknowledgement } from '#core/record/acknowledgement.ts';
import { Admission } from './admission.ts';
import { readBatch } from './batch.ts';
import type { QuarantineLimits } from './config.ts';
import { announceFindings } from './findings.ts';
import { Floods } from './floods.ts';
import type { Identities } from './identity/identities.ts';
import type { Metrics } from './metrics.ts';
import { HttpProblem } from './problem.ts';
import { takeBatch } from './store/append.ts';
import type { Database } from './store/database.ts';
import { recordFindings, type Finding } from './store/findings.ts';
import type { Heads } from './store/ledger.ts';
import { KnownStatements } from './store/operations.ts';
import { setAside, TooMuchAside } from './store/quarantine.ts';
import type { Text } from './store/texts.ts';
import { inTurns } from './turns.ts';

export const maxCompressedBytes = 8 * 1024 * 1024;
// A sidecar sends 2 MiB, or one record that is longer. What is far above that is made to cost memory and time.
const maxInflatedBytes = 16 * 1024 * 1024;
// A window that a sender may make the decoder hold; those of the levels that sidecars use are smaller.
const maxWindowLog = 23;
// Each piece of the output costs a turn of the event loop; most batches are one or two.
const minChunkBytes = 64 * 1024;
const maxChunkBytes = 2 * 1024 * 1024;

export const framesType = 'application/vnd.chaperone.frames';
const inflate = promisify(zstdDecompress);

export interface IngestOptions {
  readonly database: Database;
  readonly identities: Identities;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly key: KeyObject;
  readonly limits: QuarantineLimits;
  readonly heads: Heads;
  /** Called when the ledger has grown. */
  readonly onLedgered: () => void;
  /** Called with texts that are new in the store. */
  readonly onTexts: (texts: readonly Text[]) => void;
}

/** `POST /v1/records`: verifies a batch, commits it, and only then acknowledges it. */
export function registerIngest(app: FastifyInstance, options: IngestOptions): void {
  const { database, identities, metrics } = options;
  const admission = new Admission();
  const floods = new Floods();
  const known = new KnownStatements();
  const writers = new WeakMap<FastifyRequest, WriterIdentity>();
  app.addContentTypeParser(
    framesType,
    { parseAs: 'buffer', bodyLimit: maxCompressedBytes },
    (_request, body, done) => done(null, body),
  );
  app.post('/v1/records', {
    bodyLimit: maxCompressedBytes,
    // Before the body is read: neither a stranger's 8 MiB nor those that have to wait are worth receiving.
    onRequest: async (request, reply) => {
      const writer = await identities.writer(request.headers.authorization);
      writers.set(request, writer);
      const leave = admission.enter(writer);
      if (!leave) throw new HttpProblem('busy', 'too many batches at once');
      if (reply.raw.destroyed)
        leave(); // it went while its token was looked into
      else reply.raw.once('close', leave);
    },
    onResponse: async (_request, reply) => metrics.batches.inc({ status: reply.statusCode }),
    handler: async (request, reply) => {
      const writer = writers.get(request);
      if (!writer) throw new Error('a batch of nobody was let in');
      if (!database.ready) throw new HttpProblem('store-unavailable', 'the database is not ready');
      return admission.work(writer, async () => {
        const { status, answer } = await take({ ...options, known }, writer, request).catch(
          async (error: unknown) => {
            if (error instanceof TooMuchAside)
              await noteFlood(options, floods.find(writer)).catch(() => floods.forget(writer));
            throw error;
          },
        );
        return reply.code(status).send(answer);
      });
    },
  });
}

/** Puts on record, in a transaction of its own, why a batch was refused that was rolled back. */
async function noteFlood(
  { database, metrics, log }: IngestOptions,
  finding: Finding | undefined,
): Promise<void> {
  metrics.quarantineRefused.inc();
  if (!finding) return;
  const findings = await database.transaction((client) => recordFindings(client, [finding]));
  announceFindings(findings, { log, metrics });
}

interface TakeOptions extends IngestOptions {
  readonly known: KnownStatements;
}

/** Takes one batch; what it returns is committed. */
async function take(
  { database, metrics, log, key, limits, known, heads, onLedgered, onTexts }: TakeOptions,
  writer: WriterIdentity,
  request: FastifyRequest,
): Promise<{ status: number; answer: object }> {
  const { body, bytes } = await inflateBody(request);
  const batch = await inTurns(readBatch(bytes));
  if (!batch) {
    const reason = 'nothing in it can be read';
    const findings = await database.transaction(async (client) => {
      const suspect = { stream: undefined, afterSeq: 0, body, reason, writer };
      if ((await setAside(client, suspect, limits)) === undefined) return [];
      const detail = `of pod ${writer.namespace}/${writer.pod}: ${reason}`;
      return recordFindings(client, [{ kind: 'quarantine', stream: undefined, detail }]);
    });
    announceFindings(findings, { log, metrics });
    throw new HttpProblem('batch-invalid', reason);
  }
  const stopTimer = metrics.commitSeconds.startTimer();
  const store = { key, limits, known, partitionAt: (us: number) => database.partitionAt(us) };
  const receipt = await database.transaction((client) =>
    takeBatch(client, { batch, body, writer }, store),
  );
  stopTimer();
  metrics.records.inc(receipt.added);
  if (receipt.added > 0) metrics.bytes.inc(bytes.length);
  announceFindings(receipt.findings, { log, metrics });
  if (receipt.added > 0) heads.note(receipt.head);
  if (receipt.ledgered) onLedgered();
  onTexts(receipt.texts);
  const { stream } = batch;
  const link = receipt.link?.toString('hex');
  const acknowledgement = signAcknowledgement(key, { stream, seq: receipt.seq, link });
  return receipt.quarantined
    ? { status: 202, answer: { ...acknowledgement, quarantined: true } }
    : { status: 200, answer: acknowledgement };
}

async function inflateBody({
  headers,
  body,
}: FastifyRequest): Promise<{ body: Buffer; bytes: Buffer }> {
  if (headers['content-encoding'] !== 'zstd' || !Buffer.isBuffer(body)) {
    throw new HttpProblem('bad-request', `want a body of ${framesType} with content-encoding zstd`);
  }
  const options = {
    maxOutputLength: maxInflatedBytes,
    chunkSize: Math.min(maxChunkBytes, Math.max(minChunkBytes, 2 * body.length)),
    params: { [constants.ZSTD_d_windowLogMax]: maxWindowLog },
  };
  try {
    return { body, bytes: await inflate(body, options) };
  } catch (error) {
    const tooLarge =
      error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE';
    if (tooLarge)
      throw new HttpProblem('too-large', `a batch inflates to at most ${maxInflatedBytes} bytes`);
    throw new HttpProblem('batch-invalid', 'the body is not zstd');
  }
}
