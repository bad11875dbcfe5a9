import { hash, randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { BackendCredential } from '#core/control.ts';
import { ChaperoneError } from '#core/errors.ts';
import {
  BackendTag,
  parseAuthentication,
  parseBackendKeyData,
  parseErrorFields,
  type Authentication,
} from '#core/postgres/backend.ts';
import {
  buildPassword,
  buildSaslInitialResponse,
  buildSaslResponse,
} from '#core/postgres/frontend.ts';
import { buildStartup } from '#core/postgres/startup.ts';
import type { CancelKey } from '../cancel-registry.ts';
import type { BackendConnection } from './backend-connection.ts';
import { receive, tryParseLoginMessage, type LoginMessage } from './receive.ts';
import { ScramClient } from './scram.ts';

export interface BackendLoginOptions {
  readonly credential: BackendCredential;
  /** What the backend is told at startup: the agent's parameters, with user and database as they are there. */
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

const maxMessageBytes = 65_536;
const limits = { maxBytes: maxMessageBytes };
/** What is the backend's doing. */
const faults: ReadonlySet<string> = new Set(['protocol-violation', 'connection-closed']);
const maxGreetingBytes = 262_144;

/**
 * Logs in to the backend with the credential that the agent never sees.
 * @throws ChaperoneError `backend-login-failed`; its message may name the backend's reason and is not for the agent.
 */
export async function logInToBackend(
  connection: BackendConnection,
  options: BackendLoginOptions,
): Promise<BackendLogin> {
  connection.socket.write(buildStartup(options.parameters));
  await new Authenticator(connection, options).run();
  return readGreeting(connection.socket, options.signal);
}

/** Reads what a backend says between a login that it has accepted and its first ReadyForQuery. */
export async function readGreeting(upstream: Duplex, signal: AbortSignal): Promise<BackendLogin> {
  const greeting: Buffer[] = [];
  let cancelKey: CancelKey | undefined;
  for (let bytes = 0; bytes <= maxGreetingBytes;) {
    const { tag, frame, body } = await readLoginMessage(upstream, signal);
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

/** Reads one message. @throws ChaperoneError `backend-login-failed`. */
export async function readLoginMessage(
  upstream: Duplex,
  signal: AbortSignal,
): Promise<LoginMessage> {
  try {
    return await receive(upstream, (bytes) => tryParseLoginMessage(bytes, limits), {
      signal,
      maxBytes: maxMessageBytes + 5,
    });
  } catch (cause) {
    if (!(cause instanceof ChaperoneError) || !faults.has(cause.code)) throw cause;
    throw new ChaperoneError('backend-login-failed', `the backend: ${cause.message}`, { cause });
  }
}

/** Answers what a backend asks of a client until it is content. */
class Authenticator {
  readonly #connection: BackendConnection;
  readonly #options: BackendLoginOptions;
  #scram: ScramClient | undefined;
  #answered = false;

  constructor(connection: BackendConnection, options: BackendLoginOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  async run(): Promise<void> {
    const { socket } = this.#connection;
    for (;;) {
      const { tag, body } = await readLoginMessage(socket, this.#options.signal);
      if (tag === BackendTag.NoticeResponse) continue;
      if (tag !== BackendTag.Authentication) throw loginFailed(tag, body);
      const asked = parseAuthentication(body);
      if (asked.kind === 'ok') return this.#accepted();
      const answer = await this.#answer(asked);
      if (answer) socket.write(answer);
    }
  }

  /**
   * A server that skips its proof may be another one: after SCRAM it has to prove that it knows the verifier, and one
   * that asks for nothing at all has to be known by its certificate.
   */
  #accepted(): void {
    const { channel } = this.#connection;
    const known = channel === 'verified' || channel === 'loopback';
    if (this.#scram ? this.#scram.verified : this.#answered || known) return;
    throw new ChaperoneError('backend-login-failed', 'the server gave no proof of who it is');
  }

  async #answer(asked: Authentication): Promise<Buffer | undefined> {
    const password = this.#password();
    switch (asked.kind) {
      case 'cleartext':
        if (this.#answered || this.#connection.channel === 'plain') throw unsupported(asked);
        this.#answered = true;
        return buildPassword(password);
      case 'md5':
        if (this.#answered) throw unsupported(asked);
        this.#answered = true;
        return buildPassword(md5Answer(password, this.#user, asked.salt));
      case 'sasl':
        if (this.#answered) throw unsupported(asked);
        this.#answered = true;
        return this.#beginScram(asked);
      case 'sasl-continue':
        if (!this.#scram) throw unsupported(asked);
        return buildSaslResponse(await this.#scram.final(asked.data));
      case 'sasl-final':
        if (!this.#scram) throw unsupported(asked);
        this.#scram.verify(asked.data);
        return undefined;
      default:
        throw unsupported(asked);
    }
  }

  #beginScram(asked: Extract<Authentication, { kind: 'sasl' }>): Buffer {
    const { endPoint } = this.#connection;
    const binds = endPoint !== undefined && asked.mechanisms.includes(plus);
    if (!binds && !asked.mechanisms.includes(plain)) throw unsupported(asked);
    this.#scram = new ScramClient({
      password: this.#password(),
      nonce: randomBytes(18).toString('base64'),
      endPoint: binds ? endPoint : undefined,
    });
    return buildSaslInitialResponse(binds ? plus : plain, this.#scram.first());
  }

  get #user(): string {
    return this.#options.parameters.get('user') ?? '';
  }

  #password(): string {
    const { credential } = this.#options;
    if (credential.type === 'Password') return credential.password;
    throw new ChaperoneError(
      'backend-login-failed',
      'the backend asks for a password, and the credential is a client certificate',
    );
  }
}

const plain = 'SCRAM-SHA-256';
const plus = 'SCRAM-SHA-256-PLUS';

/** PostgreSQL manual, "Protocol Flow": `md5` and the hash of the hash of password and user, and the salt. */
function md5Answer(password: string, user: string, salt: Buffer): string {
  const inner = hash('md5', `${password}${user}`, 'hex');
  return `md5${hash('md5', Buffer.concat([Buffer.from(inner), salt]), 'hex')}`;
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
  const why =
    asked.kind === 'cleartext'
      ? 'a password in the clear over a connection that is not encrypted'
      : `${asked.kind} authentication here`;
  return new ChaperoneError('backend-login-failed', `the backend asks for ${why}`);
}
