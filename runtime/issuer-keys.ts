import { isIP } from 'node:net';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { JWK } from 'jose';
import type { ResolvedProvider } from '#core/policy/resolve.ts';
import { ChaperoneError } from '#core/errors.ts';
import type { Address } from './settings.ts';

const timeoutMs = 5_000;
const maxBytes = 262_144;
const maxKeys = 100;
const publicMembers = new Set(['kty', 'kid', 'use', 'alg', 'crv', 'x', 'y', 'n', 'e']);

/** Where names lead that exist on this machine only, and when to give up. */
interface Way {
  readonly connectTo: ReadonlyMap<string, Address>;
  readonly signal: AbortSignal;
}

/**
 * Fetches an issuer's public signing keys, by discovery where no `jwksUri` is given; 5 s for all of it. Plain HTTP is
 * taken from loopback alone: whoever could change the keys on the way could sign any token.
 * @throws ChaperoneError `config-invalid`.
 */
export async function fetchKeys(
  provider: ResolvedProvider,
  connectTo: ReadonlyMap<string, Address>,
  signal: AbortSignal,
): Promise<readonly JWK[]> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const way: Way = { connectTo, signal: AbortSignal.any([signal, deadline]) };
  try {
    return await fetchInTime(provider, way);
  } catch (cause) {
    if (cause instanceof ChaperoneError) throw cause;
    throw failed(deadline.aborted ? `no answer within ${timeoutMs} ms` : reasonOf(cause), cause);
  }
}

async function fetchInTime(provider: ResolvedProvider, way: Way): Promise<readonly JWK[]> {
  const uri = provider.jwksUri ?? (await discover(provider, way));
  const document = await fetchJson(new URL(uri), way);
  const keys: unknown = isObject(document) ? document['keys'] : undefined;
  if (!Array.isArray(keys)) throw failed('the answer holds no keys');
  if (keys.length > maxKeys) throw failed(`the answer holds more than ${maxKeys} keys`);
  return keys.filter(isObject).filter(isSigningKey).map(publicPart);
}

async function discover(provider: ResolvedProvider, way: Way): Promise<string> {
  const base = provider.issuer.replace(/\/$/, '');
  const document = await fetchJson(new URL(`${base}/.well-known/openid-configuration`), way);
  if (!isObject(document) || document['issuer'] !== provider.issuer)
    throw failed('the discovery document names another issuer');
  const uri = document['jwks_uri'];
  if (typeof uri !== 'string' || !URL.canParse(uri))
    throw failed('the discovery document has no jwks_uri');
  return uri;
}

async function fetchJson(url: URL, { connectTo, signal }: Way): Promise<unknown> {
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const address = connectTo.get(`${host}:${port}`) ?? { host, port };
  if (url.protocol !== 'https:' && !isLoopback(address.host))
    throw failed('plain HTTP is for loopback only');
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    send({
      host: address.host,
      port: address.port,
      servername: isIP(host) ? '' : host,
      path: `${url.pathname}${url.search}`,
      headers: { host: url.host, accept: 'application/json' },
      signal,
      agent: false,
    })
      .on('response', resolve)
      .on('error', reject)
      .end();
  });
  // A redirect would lead to an address that nobody has checked.
  if (response.statusCode !== 200) {
    response.destroy();
    throw failed(`HTTP status ${response.statusCode ?? 0}`);
  }
  let text = '';
  response.setEncoding('utf8');
  for await (const piece of response) {
    text += String(piece);
    if (text.length > maxBytes) {
      response.destroy();
      throw failed('the answer is too long');
    }
  }
  return JSON.parse(text) as unknown;
}

function isLoopback(host: string): boolean {
  return host === '::1' || host === 'localhost' || (isIP(host) === 4 && host.startsWith('127.'));
}

function isSigningKey(key: Readonly<Record<string, unknown>>): boolean {
  const { kty, use, key_ops: operations } = key;
  const verifies = !Array.isArray(operations) || operations.includes('verify');
  const isAsymmetric = kty === 'RSA' || kty === 'EC' || kty === 'OKP';
  return isAsymmetric && (use === undefined || use === 'sig') && verifies;
}

/** Keeps what verifying needs: a private part that an issuer publishes by mistake goes no further. */
function publicPart(key: Readonly<Record<string, unknown>>): JWK {
  return Object.fromEntries(Object.entries(key).filter(([name]) => publicMembers.has(name))) as JWK; // members were filtered
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What a system or a parser says, without the answer's content: an error page may hold anything. */
function reasonOf(cause: unknown): string {
  if (cause instanceof SyntaxError) return 'the answer is not JSON';
  if (cause instanceof Error && 'code' in cause) return String(cause.code);
  return 'the connection failed';
}

function failed(why: string, cause?: unknown): ChaperoneError {
  return new ChaperoneError('config-invalid', `cannot fetch the issuer's keys: ${why}`, { cause });
}
