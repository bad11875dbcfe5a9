import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';

/**
 * The demo's OIDC issuer: it gives any token to who knows its token URL, which is drawn anew at each start and stands in a
 * file that only this account may read. An agent under another account cannot name itself.
 */
export interface DemoIssuer {
  readonly port: number;
  /** Holds a secret. */
  readonly tokenUrl: string;
  stop(): void;
}

/** The name in `iss`; where it really listens is the sidecar's `CHAPERONE_CONNECT_TO`. */
export const issuerName = 'http://issuer.local';
const keyId = 'demo-1';
const maxBodyBytes = 8_192;
const maxTtlSeconds = 86_400;

export async function startDemoIssuer(): Promise<DemoIssuer> {
  const tokenPath = `/token/${randomBytes(32).toString('base64url')}`;
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  const jwk = { ...(await exportJWK(publicKey)), kid: keyId, alg: 'ES256', use: 'sig' };

  async function mint(form: URLSearchParams): Promise<object> {
    const ttl = Math.min(Math.max(1, Number(form.get('ttl') ?? 3_600) || 1), maxTtlSeconds);
    const act = form.get('act');
    const token = await new SignJWT({
      groups: (form.get('groups') ?? 'analysts').split(',').filter((group) => group !== ''),
      ...(act === null ? {} : { act: { sub: act } }),
    })
      .setProtectedHeader({ alg: 'ES256', kid: keyId, typ: 'JWT' })
      .setIssuer(issuerName)
      .setAudience(form.get('aud') ?? 'chaperone')
      .setSubject(form.get('sub') ?? 'analyst@example.com')
      .setIssuedAt()
      .setExpirationTime(`${ttl}s`)
      .sign(privateKey);
    return { access_token: token, token_type: 'Bearer', expires_in: ttl };
  }

  async function answer(request: IncomingMessage): Promise<object | undefined> {
    const url = new URL(request.url ?? '/', issuerName);
    if (isSame(url.pathname, tokenPath)) {
      const form = new URLSearchParams(request.method === 'POST' ? await bodyOf(request) : '');
      for (const [name, value] of url.searchParams) form.set(name, value);
      return mint(form);
    }
    switch (url.pathname) {
      case '/.well-known/openid-configuration':
        return {
          issuer: issuerName,
          jwks_uri: `${issuerName}/jwks.json`,
        };
      case '/jwks.json':
        return { keys: [jwk] };
      default:
        return undefined;
    }
  }

  const server = createServer({ requestTimeout: 5_000 }, (request, response) => {
    if (!isLocal(request))
      return send(response, 403, { error: 'this issuer is for this machine only' });
    answer(request).then(
      (value) => (value ? send(response, 200, value) : send(response, 404, { error: 'not found' })),
      () => send(response, 400, { error: 'bad request' }),
    );
    return undefined;
  });
  return listen(server, tokenPath);
}

async function listen(server: Server, tokenPath: string): Promise<DemoIssuer> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP server's address is one
  return {
    port,
    tokenUrl: `http://127.0.0.1:${port}${tokenPath}`,
    stop: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function isSame(given: string, wanted: string): boolean {
  const [one, other] = [Buffer.from(given), Buffer.from(wanted)];
  return one.length === other.length && timingSafeEqual(one, other);
}

/** A page in a browser can make a name of its own lead here (DNS rebinding); its requests then carry that name. */
function isLocal({ headers }: IncomingMessage): boolean {
  const name = (headers.host ?? '').replace(/:\d+$/, '');
  return (
    headers.origin === undefined &&
    ['127.0.0.1', 'localhost', '[::1]', 'issuer.local'].includes(name)
  );
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = '';
  request.setEncoding('utf8');
  for await (const piece of request) {
    text += String(piece);
    if (text.length > maxBodyBytes) throw new Error('the request is too long');
  }
  return text;
}

function send(response: ServerResponse, status: number, value: object): void {
  response
    .writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
    .end(JSON.stringify(value));
}
