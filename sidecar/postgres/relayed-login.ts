import type { Duplex } from 'node:stream';
import { ChaperoneError } from '#core/errors.ts';
import {
  BackendTag,
  buildAuthenticationSasl,
  parseAuthentication,
  tryParseErrorCode,
  type Authentication,
} from '#core/postgres/backend.ts';
import { FrontendTag, parseSaslInitialResponse } from '#core/postgres/frontend.ts';
import { buildStartup } from '#core/postgres/startup.ts';
import { readLoginMessage } from './backend-login.ts';
import type { BackendConnection } from './backend-connection.ts';
import { receive, tryParseLoginMessage, type LoginMessage } from './receive.ts';

export interface RelayedLoginOptions {
  readonly agent: Duplex;
  readonly backend: BackendConnection;
  readonly parameters: ReadonlyMap<string, string>;
  readonly signal: AbortSignal;
}

/** How an agent's own login went. */
export type RelayedLogin =
  | { readonly kind: 'accepted' }
  /** The backend has said why, to the agent as well. `login`: it was the login itself that was refused. */
  | { readonly kind: 'refused'; readonly login: boolean };

const maxMessageBytes = 65_535; // PG_MAX_AUTH_TOKEN_LENGTH of PostgreSQL
const answers = { tag: FrontendTag.Password, maxBytes: maxMessageBytes };
const maxRounds = 16; // SCRAM takes three

/**
 * Passes an agent's own login on to the backend and the backend's answers back. Nothing of it is kept or recorded. What
 * binds a login to one TLS connection cannot pass through two, so SCRAM-SHA-256-PLUS is not offered.
 */
export async function relayLogin(options: RelayedLoginOptions): Promise<RelayedLogin> {
  const { agent, backend, parameters, signal } = options;
  backend.socket.write(buildStartup(parameters));
  let binds = false;
  for (let round = 0; round < maxRounds; round += 1) {
    const message = await readLoginMessage(backend.socket, signal);
    if (message.tag === BackendTag.NoticeResponse) {
      agent.write(message.frame);
      continue;
    }
    if (message.tag === BackendTag.ErrorResponse) {
      agent.end(message.frame);
      const code = tryParseErrorCode(message.body) ?? '';
      return { kind: 'refused', login: code.startsWith('28') };
    }
    const asked = askedBy(message);
    if (asked.kind === 'sasl') binds = asked.mechanisms.includes(plus);
    agent.write(withoutBinding(asked) ?? message.frame);
    if (asked.kind === 'ok') return { kind: 'accepted' };
    if (asked.kind === 'sasl-final') continue;
    const { frame: answer } = await receive(
      agent,
      (bytes) => tryParseLoginMessage(bytes, answers),
      { signal, maxBytes: maxMessageBytes + 5 },
    );
    if (asked.kind === 'sasl') refuseMissedBinding(answer, binds);
    backend.socket.write(answer);
  }
  throw new ChaperoneError('backend-login-failed', 'the backend asks without end');
}

const plus = 'SCRAM-SHA-256-PLUS';

function askedBy({ tag, body }: LoginMessage): Authentication {
  const asked = tag === BackendTag.Authentication ? parseAuthentication(body) : undefined;
  if (asked && asked.kind !== 'other') return asked;
  throw new ChaperoneError('backend-login-failed', 'the backend asks for what cannot be relayed');
}

function withoutBinding(asked: Authentication): Buffer | undefined {
  if (asked.kind !== 'sasl' || !asked.mechanisms.includes(plus)) return undefined;
  const others = asked.mechanisms.filter((mechanism) => mechanism !== plus);
  if (others.length > 0) return buildAuthenticationSasl(others);
  throw new ChaperoneError('backend-login-failed', `the backend takes ${plus} alone`);
}

/**
 * A client that speaks TLS and is not offered channel binding says so, and the backend, which did offer it, must take
 * that for an attack (RFC 5802 section 6). Said here, the reason is the true one; libpq's default then tries without TLS.
 */
function refuseMissedBinding(answer: Buffer, binds: boolean): void {
  if (!binds || !parseSaslInitialResponse(answer.subarray(5)).data.startsWith('y')) return;
  throw new ChaperoneError(
    'unsupported',
    'channel binding cannot pass a gateway: connect with channel_binding=disable, or over loopback with sslmode=disable',
  );
}
