import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { ChaperoneError } from '#core/errors.ts';

const derive = promisify(pbkdf2);

/**
 * PostgreSQL's default is 4 096 iterations. A server that asks for far more would hold a thread of the pool for seconds
 * at each login.
 */
const maxIterations = 1_000_000;

export interface ScramOptions {
  readonly password: string;
  /** Printable ASCII without a comma, new for each login. */
  readonly nonce: string;
  /** Binds the proof to a TLS connection (SCRAM-SHA-256-PLUS, `tls-server-end-point`). */
  readonly endPoint?: Buffer | undefined;
}

/** How far the exchange has come; a message out of its turn ends it. */
type State =
  | { readonly kind: 'begun' | 'answering' | 'verified' | 'failed' }
  | { readonly kind: 'answered'; readonly serverSignature: Buffer };

/** The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), which proves the password without sending it. */
export class ScramClient {
  readonly #password: string;
  readonly #nonce: string;
  readonly #gs2Header: string;
  readonly #endPoint: Buffer;
  #state: State = { kind: 'begun' };

  constructor({ password, nonce, endPoint }: ScramOptions) {
    this.#password = password;
    this.#nonce = nonce;
    this.#gs2Header = endPoint ? 'p=tls-server-end-point,,' : 'n,,'; // n: without channel binding
    this.#endPoint = endPoint ?? Buffer.alloc(0);
  }

  /** Whether the server has proved that it knows the verifier. */
  get verified(): boolean {
    return this.#state.kind === 'verified';
  }

  /** Returns client-first-message. PostgreSQL takes the user from the startup message. */
  first(): string {
    return `${this.#gs2Header}${this.#firstBare()}`;
  }

  /**
   * Answers server-first-message with client-final-message, once: a second answer would give away a second proof.
   * @throws ChaperoneError `backend-login-failed`.
   */
  async final(serverFirst: string): Promise<string> {
    if (this.#state.kind !== 'begun') throw failed('it asks for a second proof');
    this.#state = { kind: 'answering' };
    const { nonce, salt, iterations } = parseServerFirst(serverFirst);
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length) {
      throw failed('its nonce does not continue ours');
    }
    const salted = await derive(prepare(this.#password), salt, iterations, 32, 'sha256');
    const clientKey = hmac(salted, 'Client Key');
    const storedKey = createHash('sha256').update(clientKey).digest();
    const binding = Buffer.concat([Buffer.from(this.#gs2Header), this.#endPoint]);
    const withoutProof = `c=${binding.toString('base64')},r=${nonce}`;
    const authMessage = `${this.#firstBare()},${serverFirst},${withoutProof}`;
    const signature = hmac(storedKey, authMessage);
    const proof = Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] ?? 0)));
    const serverSignature = hmac(hmac(salted, 'Server Key'), authMessage);
    this.#state = { kind: 'answered', serverSignature };
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  /** Checks server-final-message. @throws ChaperoneError `backend-login-failed` when the server is not the one. */
  verify(serverFinal: string): void {
    const state = this.#state;
    this.#state = { kind: 'failed' };
    if (state.kind !== 'answered') throw failed('its signature comes out of turn');
    const [, error] = /^e=([\w-]{1,64})/.exec(serverFinal) ?? [];
    if (error !== undefined) throw failed(`it says ${error}`);
    const given = Buffer.from(/^v=([^,]+)/.exec(serverFinal)?.[1] ?? '', 'base64');
    const want = state.serverSignature;
    if (given.length !== want.length || !timingSafeEqual(given, want)) {
      throw failed('its signature is wrong');
    }
    this.#state = { kind: 'verified' };
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
 * Prepares a password as PostgreSQL does (RFC 4013, `pg_saslprep`): it is mapped and normalised, or taken as it is when
 * what was mapped holds something prohibited. (The RFC looks for that after normalising; PostgreSQL, before.)
 * @throws ChaperoneError `backend-login-failed` when PostgreSQL's answer depends on tables that are not kept here.
 */
export function prepare(password: string): string {
  const mapped = password.replaceAll(spaces, ' ').replaceAll(ignored, '');
  const prepared = mapped.normalize('NFKC');
  // Where nothing changes it does not matter what the tables say.
  if (prepared === password || mapped === '' || prohibited.test(mapped)) return password;
  if (certain.test(mapped)) return prepared;
  throw new ChaperoneError(
    'backend-login-failed',
    'the password of the backend holds characters whose preparation is uncertain: choose one of ASCII',
  );
}

const spaces = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu; // RFC 3454 table C.1.2
const ignored = new RegExp(
  '\\u00ad|\\u034f|\\u1806|[\\u180b-\\u180d]|[\\u200c\\u200d]|\\u2060|[\\ufe00-\\ufe0f]|\\ufeff', // table B.1
  'gu',
);
/** Tables C.2 to C.9: controls, private use, noncharacters, surrogates, changes of direction, tags. */
const prohibited =
  /[\p{Cc}\p{Co}\p{Cs}\p{Noncharacter_Code_Point}\u0340\u0341\u06dd\u070f\u180e\u200e\u200f\u2028-\u202e\u2061-\u2063\u206a-\u206f\u2ff0-\u2ffb\ufff9-\ufffd\u{1d173}-\u{1d17a}\u{e0001}\u{e0020}-\u{e007f}]/u;
/**
 * Latin, Greek, Cyrillic, kana, Han and Hangul, their ligatures and widths, so far as Unicode 3.2 has them: table A.1
 * (unassigned) and section 6 (right to left) say nothing about them.
 */
const certain =
  // oxlint-disable-next-line no-misleading-character-class -- code points, combining ones among them
  /^[\x20-\x7e\u00a1-\u021f\u0222-\u0233\u0250-\u02ad\u{300}-\u{33f}\u0388-\u038a\u038e-\u03a1\u03a3-\u03ce\u0400-\u0482\u048a-\u04ce\u1e00-\u1e9b\u1ea0-\u1ef9\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3\ufb00-\ufb06\uff01-\uff5e\uff66-\uff9d]*$/u;

function hmac(key: Buffer, data: string): Buffer {
  return createHmac('sha256', key).update(data, 'utf8').digest();
}

function failed(why: string): ChaperoneError {
  return new ChaperoneError('backend-login-failed', `the backend's SCRAM exchange failed: ${why}`);
}
