import type { Server } from 'node:https';
import Fastify, { type FastifyError, type FastifyInstance, type FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { deny, tryParseReview, type AdmissionRequest } from './admission.ts';
import type { Cluster } from './cluster.ts';
import type { Events } from './events.ts';
import { readFacts } from './facts.ts';
import type { InjectOptions, Uids } from './inject.ts';
import type { Metrics, Question } from './metrics.ts';
import {
  podToInject,
  refuseUnreadable,
  reviewPod,
  reviewResource,
  type Reviewed,
} from './review.ts';
import { Room } from './room.ts';
import type { ServerKeyPair } from '#core/control.ts';

export interface ServerOptions {
  readonly tls: ServerKeyPair;
  readonly cluster: Cluster;
  readonly events: Events;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Asked for at each pod: authorities and addresses of our servers change while the process runs. */
  readonly options: () => Promise<InjectOptions>;
  readonly uids: Uids;
  /** Whether the process is about to end: the API server is then to connect to another. */
  readonly draining: () => boolean;
}

/** The API server takes requests of 3 MiB and keeps objects of 1.5, and an update comes with what it changes. */
const maxBodyBytes = 4 * 1024 * 1024;
/** A question takes memory beside its body. */
const leastBytes = 16 * 1024;
/** Bytes of bodies that come or wait: anybody in the cluster may send some, so nobody gets all the room. */
const arriving = { size: 32 * 1024 * 1024, sizeOfOne: 8 * 1024 * 1024, waitMs: 1_000, maxWaiting: 1_024 }; // prettier-ignore
/** Bytes of bodies that are read. JSON can take thirty times its length: the longest one alone, 120 MiB. */
const reading = { size: maxBodyBytes, waitMs: 2_000, maxWaiting: 1_024 };

/** Builds the HTTPS server that the API server asks. */
export function buildServer(given: ServerOptions): FastifyInstance<Server> {
  const { tls, log, metrics } = given;
  const app = Fastify({
    https: { ...tls, minVersion: 'TLSv1.2' },
    bodyLimit: maxBodyBytes,
    requestTimeout: 5_000, // nobody waits longer for the answer
    connectionTimeout: 30_000,
    keepAliveTimeout: 75_000,
    forceCloseConnections: 'idle',
    return503OnClosing: false, // what has arrived is answered
  });
  app.setErrorHandler((error: FastifyError | typeof busy, request, reply) => {
    const status = error.statusCode ?? 500;
    if (error === busy) metrics.requests.inc({ about: request.url === '/v1/resources' ? 'resources' : 'pods', outcome: 'busy' }); // prettier-ignore
    if (status >= 500 && status !== busy.statusCode)
      log.error({ name: error.name, code: error.code }, 'a question failed');
    const text = status >= 500 && status !== busy.statusCode ? 'internal error' : error.message;
    return reply.code(status).type('text/plain').send(`${text}\n`);
  });
  app.addHook('onSend', async (_request, reply) => {
    if (given.draining()) reply.header('connection', 'close');
  });
  const bodies = new Room(arriving);
  const readers = new Room(reading);
  app.addHook('onRequest', async (request, reply) => {
    const leave = await bodies.enter(request.ip, announcedBytes(request));
    if (!leave) throw busy;
    if (reply.raw.destroyed) leave();
    else reply.raw.once('close', leave);
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => done(null, body)); // prettier-ignore
  const parseJson = app.getDefaultJsonParser('error', 'error');
  const ask = (about: Question, answer: (request: AdmissionRequest) => Promise<Reviewed>): void => {
    app.post<{ Body: Buffer | undefined }>(`/v1/${about}`, async (request, reply) => {
      const { body = Buffer.alloc(0) } = request;
      const leave = await readers.enter('all', Math.max(leastBytes, body.length));
      if (!leave) throw busy;
      const stop = metrics.seconds.startTimer({ about });
      try {
        const { promise, resolve, reject } = Promise.withResolvers<unknown>();
        void parseJson(request, body.toString('utf8'), (error, value) => error ? reject(error) : resolve(value)); // prettier-ignore
        const question = tryParseReview(await promise);
        if (!question) return await reply.code(400).type('text/plain').send('want an AdmissionReview v1\n'); // prettier-ignore
        return await settle(about, question, answer, given);
      } finally {
        stop();
        leave();
      }
    });
  };
  ask('pods', async (request) => answerPod(request, given));
  ask('resources', async (request) => reviewResource(request));
  return app;
}

/** The API server shows whoever asked it what stands here, and controllers try again. */
const busy = Object.assign(new Error('too many questions at once: try again'), {
  statusCode: 503,
  code: 'busy',
});

/** How much is to come; as much as may, where nobody says. */
function announcedBytes({ headers }: FastifyRequest): number {
  const announced = Number(headers['content-length'] ?? maxBodyBytes);
  return Math.min(maxBodyBytes, Math.max(leastBytes, announced || 0));
}

async function settle(
  about: Question,
  question: AdmissionRequest,
  answer: (request: AdmissionRequest) => Promise<Reviewed>,
  { metrics, events, log }: ServerOptions,
): Promise<Reviewed['review']> {
  try {
    const { review, outcome, notice } = await answer(question);
    metrics.requests.inc({ about, outcome: outcome.kind });
    if (outcome.kind === 'refused')
      for (const reason of outcome.reasons) metrics.refused.inc({ reason });
    if (notice) events.push(notice);
    return review;
  } catch (error) {
    metrics.requests.inc({ about, outcome: 'failed' });
    log.error({ name: error instanceof Error ? error.name : 'unknown' }, 'the cluster did not answer'); // prettier-ignore
    const message = 'what applies to this pod could not be read from the cluster: try again';
    return deny(question, 'ServiceUnavailable', message);
  }
}

async function answerPod(request: AdmissionRequest, given: ServerOptions): Promise<Reviewed> {
  const pod = podToInject(request);
  if (!pod) return refuseUnreadable(request);
  const [facts, options] = await Promise.all([
    readFacts(given.cluster, request.namespace, pod),
    given.options(),
  ]);
  const reviewed = reviewPod(request, pod, facts, { options, uids: given.uids });
  if (reviewed.outcome.kind === 'injected') given.metrics.injected.inc({ mode: facts.mode });
  return reviewed;
}
