import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { ChaperoneError } from '#core/errors.ts';
import { isRefusal, type Refusal } from '#core/operation.ts';
import type { Principal } from '#core/identity/principal.ts';
import {
  buildAuthenticationCleartextPassword,
  buildNegotiateProtocolVersion,
} from '#core/postgres/backend.ts';
import { FrontendTag, parsePassword } from '#core/postgres/frontend.ts';
import {
  maxStartupBytes,
  newestMinor,
  tryParseStartup,
  type StartupRequest,
} from '#core/postgres/startup.ts';
import type { CancelKey } from '../cancel-registry.ts';
import type { LaneHost, Target } from '../lane.ts';
import { isLoopback, isOwnAddress } from '../loopback.ts';
import type { LoginFailureReason } from '../login-failures.ts';
import { hasUnread, receive, tryParseLoginMessage } from './receive.ts';

/** An agent's connection: what is said to it goes to `socket`, which becomes another one when TLS begins. */
export interface AgentConnection {
  readonly raw: Socket;
  socket: Duplex;
}

/** How an agent's connection began. */
export type AgentLogin =
  | { readonly kind: 'cancel'; readonly key: CancelKey }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  | {
      readonly kind: 'accepted';
      readonly who: Principal;
      readonly parameters: ReadonlyMap<string, string>;
      /** The minor version of protocol 3 that both sides speak now. */
      readonly minor: number;
    };

const maxPasswordBytes = 65_535; // PG_MAX_AUTH_TOKEN_LENGTH of PostgreSQL
const maxNegotiations = 3; // SSLRequest, GSSENCRequest and the startup itself, in any order
const tlsTrouble = 'the end of the connection instead of a TLS handshake';

/** Reads the agent's login: encryption, startup, and the token that it presents as its password. */
export async function logInAgent(
  agent: AgentConnection,
  target: Target,
  host: LaneHost,
  signal: AbortSignal,
): Promise<AgentLogin> {
  const startup = await negotiate(agent, target, host, signal);
  if (startup.kind === 'cancel-request') return { kind: 'cancel', key: startup };
  const { parameters } = startup;
  const refuse = (refusal: Refusal, reason: LoginFailureReason): AgentLogin => {
    host.refused(target, reason);
    return { kind: 'refused', refusal };
  };
  if (asksForReplication(parameters)) return refuse(noReplication, 'replication');
  const minor = Math.min(startup.minor, newestMinor);
  if (startup.minor > newestMinor || startup.options.length > 0)
    agent.socket.write(buildNegotiateProtocolVersion(minor, startup.options));
  const policy = host.tokenPolicy();
  if (typeof policy === 'object') return refuse(policy, 'no policy');
  // Without a credential of ours the agent logs in to the backend itself, and has no place for a token.
  const asks = policy !== 'None' && target.backend.credential !== undefined;
  if (asks && !isPrivate(agent)) return refuse(inTheClear, 'not encrypted');
  const presented = asks ? await askForPassword(agent.socket, signal) : undefined;
  const who = await host.identify(target, presented);
  if (isRefusal(who)) return { kind: 'refused', refusal: who };
  return { kind: 'accepted', who, parameters, minor };
}

type Startup = Extract<StartupRequest, { kind: 'startup' | 'cancel-request' }>;

async function negotiate(
  agent: AgentConnection,
  target: Target,
  host: LaneHost,
  signal: AbortSignal,
): Promise<Startup> {
  const encrypted = (): boolean => agent.socket !== agent.raw;
  for (let round = 0; round < maxNegotiations; round += 1) {
    const limits = { signal, maxBytes: maxStartupBytes };
    const startup = await receive(agent.socket, tryParseStartup, limits);
    switch (startup.kind) {
      case 'startup':
      case 'cancel-request':
        return startup;
      case 'ssl-request':
        if (encrypted()) throw violation('SSLRequest inside TLS');
        // Bytes that came before TLS were not sent by the peer that TLS will authenticate (CVE-2021-23214).
        if (hasUnread(agent.raw)) throw violation('bytes between SSLRequest and the TLS handshake');
        agent.raw.write('S');
        await startTls(agent, target, host, signal);
        break;
      case 'direct-tls': {
        if (round > 0) throw violation('a TLS handshake out of its turn');
        const secure = await startTls(agent, target, host, signal);
        // What would make a peer of another protocol speak to us is stopped by ALPN (PostgreSQL 17, "SSL Session Encryption").
        if (secure.alpnProtocol !== 'postgresql')
          throw violation('a direct TLS handshake without ALPN');
        break;
      }
      case 'gssenc-request':
        if (encrypted()) throw violation('GSSENCRequest inside TLS');
        agent.raw.write('N');
        break;
    }
  }
  throw violation('too many negotiation requests');
}

async function startTls(
  agent: AgentConnection,
  { backend }: Target,
  host: LaneHost,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const secure = await host.secure(agent.raw, backend);
  secure.on('error', () => secure.destroy());
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const abandoned = (): void => reject(violation(tlsTrouble));
  const aborted = (): void => reject(signal.reason);
  secure.once('secure', resolve).once('end', abandoned).once('close', abandoned);
  signal.addEventListener('abort', aborted, { once: true });
  try {
    await promise;
    agent.socket = secure;
    return secure;
  } catch (error) {
    secure.destroy();
    throw error;
  } finally {
    secure.off('end', abandoned).off('close', abandoned);
    signal.removeEventListener('abort', aborted);
  }
}

/** Whether nobody on a network can read what the agent sends: TLS, or a connection that stays on this machine. */
function isPrivate({ raw, socket }: AgentConnection): boolean {
  const { localAddress, remoteAddress } = raw;
  if (socket !== raw || remoteAddress === localAddress || isLoopback(remoteAddress)) return true;
  // A pod's own traffic, redirected, has the pod's address and arrives at a loopback one.
  return isLoopback(localAddress) && isOwnAddress(remoteAddress);
}

async function askForPassword(socket: Duplex, signal: AbortSignal): Promise<string> {
  socket.write(buildAuthenticationCleartextPassword());
  const { body } = await receive(
    socket,
    (bytes) =>
      tryParseLoginMessage(bytes, { tag: FrontendTag.Password, maxBytes: maxPasswordBytes }),
    { signal, maxBytes: maxPasswordBytes + 5 },
  );
  return parsePassword(body);
}

function asksForReplication(parameters: ReadonlyMap<string, string>): boolean {
  const replication = parameters.get('replication') ?? 'off';
  return !/^(?:f|fa|fal|fals|false|of|off|n|no|0)$/i.test(replication);
}

const noReplication: Refusal = {
  code: 'unsupported',
  message: 'replication connections are not supported: their stream cannot be judged',
  hint: 'Connect without the replication parameter.',
};

const inTheClear: Refusal = {
  code: 'encryption-required',
  message: 'a token is not taken over a connection that others can read',
  hint: 'Connect with sslmode=require, or better with verify-full and the CA of the gateway.',
};

function violation(what: string): ChaperoneError {
  return new ChaperoneError('protocol-violation', `the agent sent ${what}`);
}
