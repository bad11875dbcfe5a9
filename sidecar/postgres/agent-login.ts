import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { ChaperoneError } from '#core/errors.ts';
import { isRefusal, type Refusal } from '#core/operation.ts';
import type { Principal } from '#core/identity/principal.ts';
import {
  buildAuthenticationCleartextPassword,
  buildNegotiateProtocolVersion,
} from '#core/postgres/backend.ts';
import { FrontendTag, parsePassword } from '#core/postgres/frontend.ts';
import { tryParseStartup, type StartupRequest } from '#core/postgres/startup.ts';
import type { CancelKey } from '../cancel-registry.ts';
import type { LaneHost, Target } from '../lane.ts';
import { hasUnread, receive, type Received } from './receive.ts';

/** How an agent's connection began. */
export type AgentLogin =
  | { readonly kind: 'cancel'; readonly key: CancelKey }
  | { readonly kind: 'refused'; readonly socket: Duplex; readonly refusal: Refusal }
  | {
      readonly kind: 'accepted';
      /** The socket to go on with: TLS where the agent asked for it. */
      readonly socket: Duplex;
      readonly who: Principal;
      readonly parameters: ReadonlyMap<string, string>;
    };

const maxStartupBytes = 10_000; // MAX_STARTUP_PACKET_LENGTH of PostgreSQL
const maxPasswordBytes = 65_535; // PG_MAX_AUTH_TOKEN_LENGTH of PostgreSQL
const maxNegotiations = 3; // SSLRequest, GSSENCRequest and the startup itself, in any order

/** Reads the agent's login: encryption, startup, and the token that it presents as its password. */
export async function logInAgent(
  agent: Socket,
  target: Target,
  host: LaneHost,
  signal: AbortSignal,
): Promise<AgentLogin> {
  const { socket, startup } = await negotiate(agent, host, signal);
  if (startup.kind === 'cancel-request') return { kind: 'cancel', key: startup };
  const unsupported = unsupportedStartup(startup.parameters);
  if (unsupported) return { kind: 'refused', socket, refusal: unsupported };
  if (startup.minor > 0 || startup.options.length > 0) {
    socket.write(buildNegotiateProtocolVersion(0, startup.options));
  }
  const policy = host.tokenPolicy();
  if (typeof policy === 'object') return { kind: 'refused', socket, refusal: policy };
  const presented = policy === 'None' ? undefined : await askForPassword(socket, signal);
  const who = await host.identify(target, presented);
  if (isRefusal(who)) return { kind: 'refused', socket, refusal: who };
  return { kind: 'accepted', socket, who, parameters: startup.parameters };
}

type Startup = Extract<StartupRequest, { kind: 'startup' | 'cancel-request' }>;

async function negotiate(
  agent: Socket,
  host: LaneHost,
  signal: AbortSignal,
): Promise<{ socket: Duplex; startup: Startup }> {
  let socket: Duplex = agent;
  for (let round = 0; round < maxNegotiations; round += 1) {
    const startup = await receive(socket, tryParseStartup, { signal, maxBytes: maxStartupBytes });
    switch (startup.kind) {
      case 'startup':
      case 'cancel-request':
        return { socket, startup };
      case 'ssl-request':
        if (socket !== agent) throw violation('SSLRequest inside TLS');
        socket = await startTls(agent, host, signal);
        break;
      case 'gssenc-request':
        if (socket !== agent) throw violation('GSSENCRequest inside TLS');
        socket.write('N');
        break;
      case 'direct-tls':
        throw violation('TLS without SSLRequest');
    }
  }
  throw violation('too many negotiation requests');
}

/** Bytes that arrived before TLS began were not sent by the peer that TLS will authenticate (CVE-2021-23214). */
async function startTls(agent: Socket, host: LaneHost, signal: AbortSignal): Promise<Duplex> {
  if (hasUnread(agent)) throw violation('bytes between SSLRequest and the TLS handshake');
  agent.write('S');
  const secure = host.secure(agent);
  secure.on('error', () => secure.destroy());
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const abandoned = (): void =>
    reject(violation('the end of the connection instead of a TLS handshake'));
  const aborted = (): void => reject(signal.reason);
  secure.once('secure', resolve).once('end', abandoned).once('close', abandoned);
  signal.addEventListener('abort', aborted, { once: true });
  try {
    await promise;
    return secure;
  } catch (error) {
    secure.destroy();
    throw error;
  } finally {
    secure.off('end', abandoned).off('close', abandoned);
    signal.removeEventListener('abort', aborted);
  }
}

async function askForPassword(socket: Duplex, signal: AbortSignal): Promise<string> {
  socket.write(buildAuthenticationCleartextPassword());
  return receive(socket, tryParsePasswordMessage, { signal, maxBytes: maxPasswordBytes + 5 });
}

function tryParsePasswordMessage(bytes: Buffer): Received<string> | undefined {
  if (bytes.length < 5) return undefined;
  const length = bytes.readUInt32BE(1);
  if (bytes[0] !== FrontendTag.Password || length < 5 || length > maxPasswordBytes) {
    throw violation('something other than a password');
  }
  if (bytes.length < 1 + length) return undefined;
  return { value: parsePassword(bytes.subarray(5, 1 + length)), consumed: 1 + length };
}

function unsupportedStartup(parameters: ReadonlyMap<string, string>): Refusal | undefined {
  const replication = parameters.get('replication');
  if (replication === undefined || /^(false|off|no|0)$/i.test(replication)) return undefined;
  return {
    code: 'unsupported',
    message: 'replication connections are not supported: their stream cannot be judged',
    hint: 'Connect without the replication parameter.',
  };
}

function violation(what: string): ChaperoneError {
  return new ChaperoneError('protocol-violation', `the agent sent ${what}`);
}
