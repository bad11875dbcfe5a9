import type { Server } from 'node:https';
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply } from 'fastify';
import type { Logger } from 'pino';
import { isSessionPrefix, tryParseAck } from '#core/bundle-message.ts';
import { isObject } from '#core/policy/fields.ts';
import type { ServerKeyPair } from '#core/control.ts';
import { bearerToken } from '../runtime/bearer-token.ts';
import type { Identities, ProvenPod } from './identities.ts';
import type { Metrics } from './metrics.ts';
import type { Checked } from './pod-check.ts';
import type { Acknowledged } from './status/acknowledged.ts';
import type { Streams } from './streams.ts';

export interface ServerOptions {
  readonly tls: ServerKeyPair;
  readonly identities: Identities;
  readonly streams: Streams;
  readonly acknowledged: Acknowledged;
  /** Looks at the pod that a token proves; waits a moment for one that is newer than the watch. */
  readonly check: (pod: ProvenPod) => Promise<Checked>;
  /** Has an issuer's keys fetched anew; false where there is none of this name, or it was too soon. */
  readonly refreshKeys: (provider: string) => Promise<boolean>;
  /** Why nothing can be answered yet. */
  readonly notReady: () => string | undefined;
  readonly metrics: Metrics;
  readonly log: Logger;
}

const maxBodyBytes = 256 * 1024;
const maxProviderName = 253;
const tooMany = 'too many tokens are looked into at once: try again';

type Reason =
  | 'unauthorized'
  | 'forbidden'
  | 'not-ours'
  | 'unavailable'
  | 'bad-request'
  | 'not-here'
  | 'not-fetched';
const statuses: Readonly<Record<Reason, number>> = {
  unauthorized: 401,
  forbidden: 403,
  'not-ours': 403,
  unavailable: 503,
  'bad-request': 400,
  'not-here': 409,
  'not-fetched': 409,
};

/** A request that is not let in; goes out as `application/problem+json` (RFC 9457). */
class Refused extends Error {
  readonly reason: Reason;

  constructor(reason: Reason, detail: string) {
    super(detail);
    this.reason = reason;
  }
}

/** Builds the HTTPS API: streams for sidecars, and orders of people. */
export function buildServer(given: ServerOptions): FastifyInstance<Server> {
  const { tls, identities, streams, acknowledged, metrics, log } = given;
  const app = Fastify({
    https: { ...tls, minVersion: 'TLSv1.2' },
    bodyLimit: maxBodyBytes,
    requestTimeout: 30_000,
    connectionTimeout: 120_000,
    keepAliveTimeout: 75_000,
    forceCloseConnections: 'idle',
  });
  app.setErrorHandler((error: FastifyError | Refused, _request, reply) => {
    if (error instanceof Refused) {
      metrics.refused.inc({ reason: error.reason });
      return problem(reply, statuses[error.reason], error.message);
    }
    const status = error.statusCode ?? 500;
    if (status < 500) return problem(reply, status, 'the request cannot be read');
    // Its message could quote a token that was asked about.
    log.error({ name: error.name, code: error.code }, 'a request failed');
    metrics.refused.inc({ reason: 'unavailable' });
    return problem(reply, 503, 'the cluster did not answer: try again');
  });
  app.addHook('onRequest', async () => {
    const reason = given.notReady();
    if (reason !== undefined) throw new Refused('unavailable', reason);
  });
  const sidecarOf = async (authorization: string | undefined): Promise<ProvenPod> => {
    const pod = await identities.pod(bearer(authorization));
    if (pod === 'busy') throw new Refused('unavailable', tooMany);
    if (!pod)
      throw new Refused('unauthorized', 'a token of a pod for chaperone-controller is needed');
    const checked = await given.check(pod);
    if (checked.kind === 'other') {
      log.warn({ namespace: pod.namespace, pod: pod.name, reason: checked.reason }, 'a pod is not served'); // prettier-ignore
      throw new Refused('not-ours', checked.reason);
    }
    return pod;
  };
  app.get('/v1/bundle', async (request, reply) => {
    const { forMs, ...pod } = await sidecarOf(request.headers.authorization);
    reply.hijack();
    streams.add(pod, reply.raw, forMs);
    return reply;
  });
  app.post('/v1/bundle/ack', async (request, reply) => {
    const { namespace, name: pod, uid } = await sidecarOf(request.headers.authorization);
    const ack = tryParseAck(request.body);
    if (!ack) throw new Refused('bad-request', 'want revision, accepted and problems');
    const { accepted, revision, problems } = ack;
    // A sidecar may reach another replica than the one that it follows, and then asks again.
    if (!acknowledged.take(uid, ack))
      throw new Refused('not-here', 'this replica has sent the pod no such bundle');
    metrics.acks.inc({ outcome: accepted ? 'accepted' : 'refused' });
    if (!accepted)
      log.error({ namespace, pod, revision, problems }, 'a sidecar refused its bundle');
    return reply.code(204).send();
  });
  app.post('/v1/keys/refresh', async (request, reply) => {
    await sidecarOf(request.headers.authorization);
    const { provider } = isObject(request.body) ? request.body : {};
    if (typeof provider !== 'string' || provider.length > maxProviderName)
      throw new Refused('bad-request', 'want the name of an IdentityProvider');
    if (!(await given.refreshKeys(provider)))
      throw new Refused(
        'not-fetched',
        'there is no such provider, or its keys were fetched just now',
      );
    return reply.code(202).send();
  });
  app.post('/v1/kill', async (request, reply) => {
    const may = await identities.mayKill(bearer(request.headers.authorization));
    if (may === 'busy') throw new Refused('unavailable', tooMany);
    if (may === undefined)
      throw new Refused('unauthorized', 'a bearer token of audience chaperone-read is needed');
    if (!may)
      throw new Refused('forbidden', 'the right to delete sessions.chaperone.dev is needed');
    const { session } = isObject(request.body) ? request.body : {};
    if (!isSessionPrefix(session))
      throw new Refused('bad-request', 'want a session id, or its first 13 characters or more');
    await identities.orderKill(session);
    return reply.code(202).send();
  });
  return app;
}

function problem(reply: FastifyReply, status: number, detail: string): FastifyReply {
  return reply.code(status).type('application/problem+json').send({ status, detail });
}

function bearer(authorization: string | undefined): string {
  const token = bearerToken(authorization);
  if (token === '') throw new Refused('unauthorized', 'a bearer token is needed');
  return token;
}
