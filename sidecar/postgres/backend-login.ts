import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { ChaperoneError } from '#core/errors.ts';
import {
  BackendTag,
  parseAuthentication,
  parseBackendKeyData,
  parseErrorFields,
  type Authentication,
} from '#core/postgres/backend.ts';
import { buildSaslInitialResponse, buildSaslResponse } from '#core/postgres/frontend.ts';
import { buildStartup } from '#core/postgres/startup.ts';
import type { CancelKey } from '../cancel-registry.ts';
import { receive, type Received } from './receive.ts';
import { ScramClient } from './scram.ts';

export interface BackendLoginOptions {
  readonly username: string;
  readonly password: string;
  /** Startup parameters of the agent that are passed on; `user` is replaced. */
  readonly parameters: ReadonlyMap<string, string>;
  readonly signal: AbortSignal;
}

/** A backend that is ready for queries. */
export interface BackendLogin {
  /** What the agent is to read as well: ParameterStatus and notices, as they came. */
  readonly greeting: Buffer;
  readonly cancelKey: CancelKey | undefined;
  /** The ReadyForQuery that ended the login. */
  readonly ready: Buffer;
}

interface Message {
  readonly tag: number;
  readonly frame: Buffer;
  readonly body: Buffer;
}

const maxMessageBytes = 65_536;
const maxGreetingBytes = 262_144;

/**
 * Logs in to the backend with the credential that the agent never sees.
 * @throws ChaperoneError `backend-login-failed`; its message may name the backend's reason and is not for the agent.
 */
export async function logInToBackend(
  upstream: Duplex,
  options: BackendLoginOptions,
): Promise<BackendLogin> {
  const parameters = new Map([...options.parameters, ['user', options.username] as const]);
  upstream.write(buildStartup(parameters));
  await authenticate(upstream, options);
  const greeting: Buffer[] = [];
  let cancelKey: CancelKey | undefined;
  for (let bytes = 0; bytes <= maxGreetingBytes;) {
    const { tag, frame, body } = await next(upstream, options.signal);
    bytes += frame.length;
    switch (tag) {
      case BackendTag.BackendKeyData:
        cancelKey = parseBackendKeyData(body);
        break;
      case BackendTag.ParameterStatus:
      case BackendTag.NoticeResponse:
        greeting.push(frame);
        break;
      case BackendTag.ReadyForQuery:
        return { greeting: Buffer.concat(greeting), cancelKey, ready: frame };
      default:
        throw loginFailed(tag, body);
    }
  }
  throw new ChaperoneError('backend-login-failed', 'the backend greets without end');
}

async function authenticate(upstream: Duplex, options: BackendLoginOptions): Promise<void> {
  let scram: ScramClient | undefined;
  for (;;) {
    const { tag, body } = await next(upstream, options.signal);
    if (tag !== BackendTag.Authentication) throw loginFailed(tag, body);
    const asked: Authentication = parseAuthentication(body);
    switch (asked.kind) {
      case 'ok':
        // A server that skips its proof may be another one: only SCRAM's last message says it knows the verifier.
        if (!scram?.verified)
          throw new ChaperoneError('backend-login-failed', 'no server signature');
        return;
      case 'sasl':
        if (scram || !asked.mechanisms.includes('SCRAM-SHA-256')) throw unsupported(asked);
        scram = new ScramClient({
          password: options.password,
          nonce: randomBytes(18).toString('base64'),
        });
        upstream.write(buildSaslInitialResponse('SCRAM-SHA-256', scram.first()));
        break;
      case 'sasl-continue':
        if (!scram) throw unsupported(asked);
        upstream.write(buildSaslResponse(await scram.final(asked.data)));
        break;
      case 'sasl-final':
        if (!scram) throw unsupported(asked);
        scram.verify(asked.data);
        break;
      default:
        throw unsupported(asked);
    }
  }
}

async function next(upstream: Duplex, signal: AbortSignal): Promise<Message> {
  return receive(upstream, tryParseMessage, { signal, maxBytes: maxMessageBytes });
}

function tryParseMessage(bytes: Buffer): Received<Message> | undefined {
  const tag = bytes[0];
  if (tag === undefined || bytes.length < 5) return undefined;
  const end = 1 + bytes.readUInt32BE(1);
  if (end < 5 || end > maxMessageBytes) {
    throw new ChaperoneError('backend-login-failed', 'a login message of impossible length');
  }
  if (bytes.length < end) return undefined;
  return {
    value: { tag, frame: bytes.subarray(0, end), body: bytes.subarray(5, end) },
    consumed: end,
  };
}

function loginFailed(tag: number, body: Buffer): ChaperoneError {
  if (tag !== BackendTag.ErrorResponse) {
    return new ChaperoneError(
      'backend-login-failed',
      `an unexpected message (${tag}) during login`,
    );
  }
  const fields = parseErrorFields(body);
  const code = fields.get('C') ?? 'unknown';
  // Class 28 speaks about the credential, which is none of the agent's business; the rest about what it asked for.
  if (code.startsWith('28')) {
    return new ChaperoneError(
      'backend-login-failed',
      `the backend refused the login with SQLSTATE ${code}`,
    );
  }
  return new ChaperoneError(
    'backend-refused',
    `${fields.get('M') ?? 'no reason given'} (SQLSTATE ${code})`,
  );
}

function unsupported(asked: Authentication): ChaperoneError {
  return new ChaperoneError(
    'backend-login-failed',
    `the backend asks for ${asked.kind}, which is not supported yet`,
  );
}
