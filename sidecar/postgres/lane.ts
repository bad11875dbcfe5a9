import type { Duplex } from 'node:stream';
import { ChaperoneError, type ErrorCode } from '#core/errors.ts';
import { isRefusal, type Refusal } from '#core/operation.ts';
import type { EndReason } from '#core/record/kinds.ts';
import { settingsFor } from '#core/policy/login.ts';
import type { PostgresSettings } from '#core/policy/resources.ts';
import { buildAuthenticationOk, buildBackendKeyData } from '#core/postgres/backend.ts';
import { endReasonOf, isDefect, refusalOf } from '../endings.ts';
import type { LoginFailureReason } from '../login-failures.ts';
import { limitSignal } from '../limited-signal.ts';
import type { Lane, LaneHost, Session, Target } from '../lane.ts';
import { logInAgent, type AgentConnection, type AgentLogin } from './agent-login.ts';
import { BackendCancels } from './backend-cancels.ts';
import { connectToBackend } from './backend-connection.ts';
import { logInToBackend, readGreeting, type BackendLogin } from './backend-login.ts';
import { buildRefusal } from './refusal.ts';
import { SessionCatalogue } from './catalogue/session-catalogue.ts';
import { Reader } from './reading/reader.ts';
import { Relay } from './relay.ts';
import { relayLogin, type RelayedLoginOptions } from './relayed-login.ts';
import { startupParameters } from './startup-parameters.ts';

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
      refuse(agent.socket, refusalOf(error));
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
    refuse(agent, refusalOf(error));
    if (isDefect(error)) throw error;
    if (error instanceof ChaperoneError && forOperator.has(error.code)) host.warn(target, error);
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
    const parameters = startupParameters({
      asked: login.parameters,
      names: postgres,
      username: credential?.username,
      pinned: pinnedSettings(session, postgres),
      applicationName:
        postgres.applicationName === 'Session' ? `chaperone ${session.id}` : undefined,
    });
    let greeted: BackendLogin;
    if (credential) {
      greeted = await logInToBackend(backend, { credential, parameters, signal });
      agent.write(buildAuthenticationOk());
    } else {
      const own = await relayOwnLogin({ agent, backend, parameters, signal }, target, host);
      if (!own) return 'backend-login-failed';
      greeted = own;
    }
    const database = parameters.get('database') ?? '';
    const ends = { agent, upstream, greeted, minor: login.minor, database };
    return await relay(session, ends, target, host);
  } finally {
    upstream.destroy();
  }
}

/** Lets an agent log in to the backend itself. Undefined when the backend has refused and has said why. */
async function relayOwnLogin(
  login: RelayedLoginOptions,
  target: Target,
  host: LaneHost,
): Promise<BackendLogin | undefined> {
  try {
    const relayed = await relayLogin(login);
    if (relayed.kind === 'accepted') return await readGreeting(login.backend.socket, login.signal);
    if (relayed.login) host.refused(target, 'refused by the backend');
    return undefined;
  } catch (error) {
    const reason = error instanceof ChaperoneError ? failures[error.code] : undefined;
    if (reason !== undefined) host.refused(target, reason);
    throw error;
  }
}

const failures: Readonly<Partial<Record<ErrorCode, LoginFailureReason>>> = {
  'backend-login-failed': 'refused by the backend',
  'login-timeout': 'timeout',
  'protocol-violation': 'protocol violation',
  unsupported: 'channel binding',
};

interface Ends {
  readonly agent: Duplex;
  readonly upstream: Duplex;
  readonly greeted: BackendLogin;
  readonly minor: number;
  /** By its name at the upstream. */
  readonly database: string;
}

async function relay(
  session: Session,
  { agent, upstream, greeted, minor, database }: Ends,
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
  const cancels = new BackendCancels(target, host, cancelKey);
  using catalogue = new SessionCatalogue(target, host, database);
  const { grammar } = host;
  const reader = new Reader({ grammar, catalogue, needed: () => session.readsFacts });
  const carried = new Relay({ agent, upstream, session, cancel: () => cancels.send(), reader });
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

/** Settings that the gateway sets for whoever logs in. @throws ChaperoneError `denied` where one has no value. */
function pinnedSettings(
  session: Session,
  { settings }: PostgresSettings,
): ReadonlyMap<string, string> {
  const { settings: values, problem } = settingsFor(settings, session.who);
  if (!values) throw new ChaperoneError('denied', `a login here needs what you lack: ${problem}`);
  return values;
}

function refuse(socket: Duplex, refusal: Refusal): void {
  if (socket.writable) socket.end(buildRefusal(refusal, 'FATAL'));
}

/** Codes of what an operator can do something about: what stands between a session and its backend. */
const forOperator: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'backend-unreachable',
  'backend-login-failed',
  'login-timeout',
  'unsupported',
]);
