import type { Duplex } from 'node:stream';
import { ChaperoneError } from '#core/errors.ts';
import { isRefusal, type Refusal } from '#core/operation.ts';
import type { EndReason } from '#core/record/kinds.ts';
import type { NameMappings } from '#core/policy/resources.ts';
import { buildAuthenticationOk, buildBackendKeyData } from '#core/postgres/backend.ts';
import { buildCancelRequest } from '#core/postgres/startup.ts';
import type { CancelKey } from '../cancel-registry.ts';
import { limitSignal } from '../limited-signal.ts';
import type { Lane, LaneHost, Session, Target } from '../lane.ts';
import { logInAgent, type AgentConnection, type AgentLogin } from './agent-login.ts';
import { connectToBackend } from './backend-connection.ts';
import { logInToBackend, readGreeting, type BackendLogin } from './backend-login.ts';
import { buildRefusal } from './refusal.ts';
import { Relay } from './relay.ts';
import { relayLogin } from './relayed-login.ts';

const cancelTimeoutMs = 5_000;
const secretBytes = { old: 4, new: 32 }; // of a cancel key, before and since protocol 3.2

/** PostgreSQL: one connection as a story of login, relay and end. */
export const postgresLane: Lane = {
  protocol: 'Postgres',
  async serve(raw, target, host, signal) {
    raw.on('error', () => raw.destroy()); // 'close' follows, and ends the story
    using deadline = limitSignal([signal], {
      timeoutMs: host.loginTimeoutMs,
      reason: new ChaperoneError('login-timeout', 'the login took too long'),
    });
    const agent: AgentConnection = { raw, socket: raw };
    try {
      const login = await logInAgent(agent, target, host, deadline.signal);
      if (login.kind === 'cancel') host.cancels.cancel(login.key);
      else if (login.kind === 'refused') refuse(agent.socket, login.refusal);
      else await serveSession(agent.socket, login, { target, host, deadline: deadline.signal });
    } catch (error) {
      refuse(agent.socket, asRefusal(error));
      if (isDefect(error)) throw error; // to the log: a peer can do nothing about it
    } finally {
      if (agent.socket !== raw) agent.socket.end();
      raw.destroySoon();
    }
  },
};

interface Context {
  readonly target: Target;
  readonly host: LaneHost;
  readonly deadline: AbortSignal;
}

type Accepted = Extract<AgentLogin, { kind: 'accepted' }>;

async function serveSession(agent: Duplex, login: Accepted, context: Context): Promise<void> {
  const { host, target } = context;
  const asked = Buffer.from(JSON.stringify(Object.fromEntries(login.parameters)));
  const session = await host.open(login.who, target, { type: 'json', bytes: asked });
  if (isRefusal(session)) return refuse(agent, session);
  let reason: EndReason = 'internal-error';
  try {
    reason = await carry(session, agent, login, context);
  } catch (error) {
    reason = endReasonOf(error);
    refuse(agent, asRefusal(error));
    if (isDefect(error)) throw error;
    if (error instanceof ChaperoneError && ofBackend.has(error.code)) host.warn(target, error);
  } finally {
    session.end(reason);
  }
}

async function carry(
  session: Session,
  agent: Duplex,
  login: Accepted,
  { target, host, deadline }: Context,
): Promise<EndReason> {
  using limit = limitSignal([session.signal, deadline], {
    timeoutMs: host.loginTimeoutMs,
    reason: new ChaperoneError('login-timeout', 'the login at the backend took too long'),
  });
  const { signal } = limit;
  const backend = await connectToBackend(target, host, signal);
  const upstream = backend.socket;
  try {
    const { credential: ref, postgres } = target.backend;
    const credential = ref && host.credential(ref);
    const parameters = startupParameters(login.parameters, postgres, credential?.username);
    let greeted: BackendLogin;
    if (credential) {
      greeted = await logInToBackend(backend, { credential, parameters, signal });
      agent.write(buildAuthenticationOk());
    } else {
      const relayed = await relayLogin({ agent, backend, parameters, signal });
      if (relayed.kind === 'refused') {
        if (relayed.login) host.refusedAtBackend(target);
        return 'backend-login-failed';
      }
      greeted = await readGreeting(upstream, signal);
    }
    return await relay(session, { agent, upstream, greeted, minor: login.minor }, target, host);
  } finally {
    upstream.destroy();
  }
}

interface Ends {
  readonly agent: Duplex;
  readonly upstream: Duplex;
  readonly greeted: BackendLogin;
  readonly minor: number;
}

async function relay(
  session: Session,
  { agent, upstream, greeted, minor }: Ends,
  target: Target,
  host: LaneHost,
): Promise<EndReason> {
  const { greeting, cancelKey, ready } = greeted;
  session.connected(cancelKey?.processId, { type: 'postgres.messages', bytes: greeting });
  const unrecorded = await session.recorded();
  if (unrecorded) {
    refuse(agent, unrecorded.refusal);
    return unrecorded.reason;
  }
  const cancel = (): Promise<void> => cancelAtBackend(target, host, cancelKey);
  const carried = new Relay({ agent, upstream, session, cancel });
  const { key, withdraw } = host.cancels.register(
    minor >= 2 ? secretBytes.new : secretBytes.old,
    () => carried.cancel(),
  );
  try {
    agent.write(Buffer.concat([greeting, buildBackendKeyData(key), ready]));
    return await carried.run();
  } finally {
    withdraw();
  }
}

/** What the backend is told: the agent's own wishes, under the names that the Backend maps them to. */
function startupParameters(
  asked: ReadonlyMap<string, string>,
  { users, databases }: NameMappings,
  username: string | undefined,
): ReadonlyMap<string, string> {
  const user = asked.get('user') ?? '';
  const database = asked.get('database') ?? user; // PostgreSQL's default, which must not become another user's
  return new Map([
    ...asked,
    ['user', users.get(user) ?? username ?? user],
    ['database', databases.get(database) ?? database],
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
  const timeout = AbortSignal.timeout(cancelTimeoutMs);
  const { socket } = await connectToBackend(target, host, timeout);
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on('close', () => resolve());
  timeout.addEventListener('abort', () => socket.destroy(), { once: true });
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

/** Codes of what stands between a session and its backend. */
const ofBackend: ReadonlySet<string> = new Set(['backend-unreachable', 'backend-login-failed']);

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
