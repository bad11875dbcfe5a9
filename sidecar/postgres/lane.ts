import type { Duplex } from 'node:stream';
import { ChaperoneError } from '#core/errors.ts';
import { isRefusal, type Refusal } from '#core/operation.ts';
import type { EndReason } from '#core/record/kinds.ts';
import { buildAuthenticationOk, buildBackendKeyData } from '#core/postgres/backend.ts';
import { buildCancelRequest } from '#core/postgres/startup.ts';
import type { CancelKey } from '../cancel-registry.ts';
import { limitSignal } from '../limited-signal.ts';
import type { Lane, LaneHost, Session, Target } from '../lane.ts';
import { logInAgent, type AgentLogin } from './agent-login.ts';
import { logInToBackend, type BackendLogin } from './backend-login.ts';
import { buildRefusal } from './refusal.ts';
import { Relay } from './relay.ts';

const cancelTimeoutMs = 5_000;

/** PostgreSQL: one connection as a story of login, relay and end. */
export const postgresLane: Lane = {
  protocol: 'Postgres',
  async serve(agent, target, host, signal) {
    agent.on('error', () => agent.destroy()); // 'close' follows, and ends the story
    using deadline = limitSignal([signal], {
      timeoutMs: host.loginTimeoutMs,
      reason: new ChaperoneError('login-timeout', 'the login took too long'),
    });
    try {
      const login = await logInAgent(agent, target, host, deadline.signal);
      if (login.kind === 'cancel') host.cancels.cancel(login.key);
      else if (login.kind === 'refused') refuse(login.socket, login.refusal);
      else await serveSession(login, target, host, deadline.signal);
    } catch (error) {
      refuse(agent, asRefusal(error));
      if (isDefect(error)) throw error; // to the log: a peer can do nothing about it
    } finally {
      agent.destroySoon();
    }
  },
};

type Accepted = Extract<AgentLogin, { kind: 'accepted' }>;

async function serveSession(
  { socket, who, parameters }: Accepted,
  target: Target,
  host: LaneHost,
  deadline: AbortSignal,
): Promise<void> {
  const login = Buffer.from(JSON.stringify(Object.fromEntries(parameters)));
  const session = await host.open(who, target, { type: 'json', bytes: login });
  if (isRefusal(session)) return refuse(socket, session);
  let reason: EndReason = 'internal-error';
  try {
    reason = await relay(session, socket, { target, host, parameters, deadline });
  } catch (error) {
    reason = endReasonOf(error);
    refuse(socket, asRefusal(error));
    if (isDefect(error)) throw error;
  } finally {
    session.end(reason);
  }
}

interface RelayContext {
  readonly target: Target;
  readonly host: LaneHost;
  readonly parameters: ReadonlyMap<string, string>;
  readonly deadline: AbortSignal;
}

async function relay(session: Session, agent: Duplex, context: RelayContext): Promise<EndReason> {
  const { target, host, parameters, deadline } = context;
  using limit = limitSignal([session.signal, deadline], {
    timeoutMs: host.loginTimeoutMs,
    reason: new ChaperoneError('login-timeout', 'the login at the backend took too long'),
  });
  const { signal } = limit;
  const upstream = await host.dial(target.backend, signal);
  upstream.on('error', () => upstream.destroy());
  try {
    const credential = host.credential(target.backend);
    const backend = await logInToBackend(upstream, { ...credential, parameters, signal });
    const carried = new Relay({ agent, upstream, session });
    const { key, withdraw } = host.cancels.register(4, () => {
      carried.cancel(() => cancelAtBackend(target, host, backend.cancelKey));
    });
    try {
      agent.write(greeting(backend, key));
      return await carried.run();
    } finally {
      withdraw();
    }
  } finally {
    upstream.destroy();
  }
}

function greeting(backend: BackendLogin, key: CancelKey): Buffer {
  return Buffer.concat([
    buildAuthenticationOk(),
    backend.greeting,
    buildBackendKeyData(key),
    backend.ready,
  ]);
}

/**
 * Cancels as a client would, on a connection of its own. Resolves when the backend has closed it, which it does once the
 * signal is sent, or after a while.
 */
async function cancelAtBackend(
  target: Target,
  host: LaneHost,
  key: CancelKey | undefined,
): Promise<void> {
  if (!key) return;
  const socket = await host.dial(target.backend, AbortSignal.timeout(cancelTimeoutMs));
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on('error', () => socket.destroy());
  socket.on('close', () => resolve());
  socket.setTimeout(cancelTimeoutMs, () => socket.destroy());
  socket.resume().end(buildCancelRequest(key.processId, key.secret));
  await promise;
}

function refuse(socket: Duplex, refusal: Refusal): void {
  if (socket.writable) socket.end(buildRefusal(refusal, 'FATAL'));
}

function asRefusal(error: unknown): Refusal {
  if (error instanceof ChaperoneError) return { code: error.code, message: error.peerMessage };
  if (isStop(error)) return error.refusal;
  return { code: 'protocol-violation', message: 'an internal error ended the connection' };
}

function endReasonOf(error: unknown): EndReason {
  if (isStop(error)) return error.reason;
  if (!(error instanceof ChaperoneError)) return 'internal-error';
  switch (error.code) {
    case 'backend-unreachable':
    case 'backend-login-failed':
    case 'protocol-violation':
      return error.code;
    case 'backend-refused':
      return 'backend-login-failed';
    default:
      return 'internal-error';
  }
}

function isDefect(error: unknown): boolean {
  return !(error instanceof ChaperoneError) && !isStop(error);
}

/** A session's signal carries the Stop that says why. */
function isStop(error: unknown): error is { refusal: Refusal; reason: EndReason } {
  return typeof error === 'object' && error !== null && 'refusal' in error && 'reason' in error;
}
