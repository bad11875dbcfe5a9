import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { ChaperoneError } from '#core/errors.ts';

const derive = promisify(pbkdf2);

/**
 * PostgreSQL's default is 4 096 iterations. A server that asks for far more would hold a thread of the pool for seconds
 * at each login.
 */
const maxIterations = 1_000_000;

const gs2Header = 'n,,'; // no channel binding

export interface ScramOptions {
  readonly password: string;
  /** Printable ASCII without a comma, new for each login. */
  readonly nonce: string;
}

/** The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), which proves the password without sending it. */
export class ScramClient {
  readonly #password: string;
  readonly #nonce: string;
  #serverSignature: Buffer | undefined;
  #verified = false;

  constructor({ password, nonce }: ScramOptions) {
    this.#password = password;
    this.#nonce = nonce;
  }

  /** Whether the server has proved that it knows the verifier. */
  get verified(): boolean {
    return this.#verified;
  }

  /** Returns client-first-message. PostgreSQL takes the user from the startup message. */
  first(): string {
    return `${gs2Header}${this.#firstBare()}`;
  }

  /** Answers server-first-message with client-final-message. @throws ChaperoneError `backend-login-failed`. */
  async final(serverFirst: string): Promise<string> {
    const { nonce, salt, iterations } = parseServerFirst(serverFirst);
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length) {
      throw failed('its nonce does not continue ours');
    }
    const normalized = saslPrep(this.#password);
    const salted = await derive(normalized, salt, iterations, 32, 'sha256');
    const clientKey = hmac(salted, 'Client Key');
    const storedKey = createHash('sha256').update(clientKey).digest();
    const withoutProof = `c=${Buffer.from(gs2Header).toString('base64')},r=${nonce}`;
    const authMessage = `${this.#firstBare()},${serverFirst},${withoutProof}`;
    const signature = hmac(storedKey, authMessage);
    const proof = Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] ?? 0)));
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), authMessage);
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  /** Checks server-final-message. @throws ChaperoneError `backend-login-failed` when the server is not the one. */
  verify(serverFinal: string): void {
    const given = Buffer.from(/^v=([^,]+)/.exec(serverFinal)?.[1] ?? '', 'base64');
    const want = this.#serverSignature;
    if (!want || given.length !== want.length || !timingSafeEqual(given, want)) {
      throw failed('its signature is wrong');
    }
    this.#verified = true;
  }

  #firstBare(): string {
    return `n=,r=${this.#nonce}`;
  }
}

function parseServerFirst(text: string): { nonce: string; salt: Buffer; iterations: number } {
  const match = /^r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/]+=*),i=(\d{1,10})(?:,|$)/.exec(text);
  const [, nonce, salt, count] = match ?? [];
  if (nonce === undefined || salt === undefined) throw failed('its first message is malformed');
  const iterations = Number(count);
  if (iterations < 1 || iterations > maxIterations) {
    throw failed(`it asks for ${iterations} iterations`);
  }
  return { nonce, salt: Buffer.from(salt, 'base64'), iterations };
}

/**
 * Normalises as PostgreSQL does: NFKC with the mappings of RFC 4013, and the password as it is when it cannot be
 * prepared, for example because it holds a prohibited character.
 */
function saslPrep(password: string): string {
  const mapped = password
    .replaceAll(/[^\S\t\n\v\f\r]/gu, ' ')
    .replaceAll(ignorable, '')
    .normalize('NFKC');
  return mapped === '' || prohibited.test(mapped) ? password : mapped;
}

// RFC 3454 tables B.1 (mapped to nothing) and C.2 to C.5 (prohibited), by the classes that cover them.
const ignorable = new RegExp(
  '\\u00AD|\\u034F|\\u1806|[\\u180B-\\u180D]|\\u2060|[\\uFE00-\\uFE0F]|\\uFEFF|[\\u200B-\\u200D]',
  'gu',
);
const prohibited = /\p{Cc}|\p{Cs}|\p{Co}|[\uFFF9-\uFFFD]/u;

function hmac(key: Buffer, data: string): Buffer {
  return createHmac('sha256', key).update(data, 'utf8').digest();
}

function failed(why: string): ChaperoneError {
  return new ChaperoneError('backend-login-failed', `the backend's SCRAM exchange failed: ${why}`);
}
