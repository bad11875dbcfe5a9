import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, describe, test } from 'node:test';
import type { JWK } from 'jose';
import { ChaperoneError } from '#core/errors.ts';
import type { ResolvedProvider } from '#core/policy/resolve.ts';
import { createLocalCa } from '../../cli/dev/certificates.ts';
import { fetchKeys } from '../../runtime/issuer-keys.ts';

const servers: Server[] = [];
after(() => {
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
});

async function listen<T extends Server>(server: T): Promise<number> {
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port; // a TCP server's address is one
}

const serve = (answer: RequestListener): Promise<number> => listen(createServer(answer));

const provider = (uri: string | undefined, issuer = 'http://issuer.test'): ResolvedProvider => ({
  name: 'idp',
  issuer,
  audiences: ['a'],
  jwksUri: uri,
  claims: { user: 'sub', groups: 'groups', onBehalfOf: undefined },
});

/** Fetches from a server on this machine that is known as `issuer.test`. */
function fetchFrom(
  port: number,
  uri: string | undefined = 'http://issuer.test/keys',
  signal = new AbortController().signal,
): Promise<readonly JWK[]> {
  const connectTo = new Map([
    ['issuer.test:80', { host: '127.0.0.1', port }],
    ['issuer.test:443', { host: '127.0.0.1', port }],
  ]);
  return fetchKeys(provider(uri), connectTo, signal);
}

const refusal =
  (message: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof ChaperoneError, String(error));
    assert.match(error.message, message);
    return true;
  };

const good = { kty: 'EC', kid: 'k', crv: 'P-256', x: 'eA', y: 'eQ' };

describe('fetchKeys', () => {
  test('finds an issuer by the name that leads to it on this machine, and says that name to it', async () => {
    let host: string | undefined;
    const port = await serve((request, response) => {
      host = request.headers.host;
      response.end(JSON.stringify({ keys: [good] }));
    });
    assert.deepEqual(await fetchFrom(port), [good]);
    assert.equal(host, 'issuer.test');
  });

  test('keeps what verifies signatures, without private parts', async () => {
    const keys = [
      { ...good, kid: 'private', d: 'secret' },
      { kty: 'oct', kid: 'symmetric', k: 'secret' },
      { ...good, kid: 'encrypting', use: 'enc' },
      { ...good, kid: 'deriving', key_ops: ['deriveKey'] },
      { ...good, kid: 'verifying', use: 'sig', key_ops: ['verify'], x5u: 'https://evil.example' },
      { kty: 'RSA', kid: 'rsa', n: 'bg', e: 'AQAB', p: 'secret', alg: 'RS256' },
      'not a key',
      null,
    ];
    const port = await serve((_, response) => response.end(JSON.stringify({ keys })));
    assert.deepEqual(await fetchFrom(port), [
      { ...good, kid: 'private' },
      { ...good, kid: 'verifying', use: 'sig' },
      { kty: 'RSA', kid: 'rsa', n: 'bg', e: 'AQAB', alg: 'RS256' },
    ]);
  });

  test('discovers where the keys are', async () => {
    const port = await serve((request, response) => {
      const isKeys = request.url === '/the-keys';
      const discovery = { issuer: 'http://issuer.test', jwks_uri: 'http://issuer.test/the-keys' };
      if (!isKeys) assert.equal(request.url, '/.well-known/openid-configuration');
      response.end(JSON.stringify(isKeys ? { keys: [good] } : discovery));
    });
    const connectTo = new Map([['issuer.test:80', { host: '127.0.0.1', port }]]);
    const { signal } = new AbortController();
    assert.deepEqual(await fetchKeys(provider(undefined), connectTo, signal), [good]);
  });

  const discoveries: [what: string, document: unknown, message: RegExp][] = [
    ['names another issuer', { issuer: 'http://evil.test', jwks_uri: 'http://issuer.test/' }, /another issuer/],
    ['names no place', { issuer: 'http://issuer.test' }, /no jwks_uri/],
    ['names what is no place', { issuer: 'http://issuer.test', jwks_uri: '/keys' }, /no jwks_uri/],
    ['leads to plain HTTP elsewhere', { issuer: 'http://issuer.test', jwks_uri: 'http://192.0.2.1/' }, /loopback/],
    ['leads to a file', { issuer: 'http://issuer.test', jwks_uri: 'file:///etc/passwd' }, /loopback/],
    ['is a list', [], /another issuer/],
  ]; // prettier-ignore
  for (const [what, document, message] of discoveries) {
    test(`refuses a discovery document that ${what}`, async () => {
      const port = await serve((_, response) => response.end(JSON.stringify(document)));
      const connectTo = new Map([['issuer.test:80', { host: '127.0.0.1', port }]]);
      const { signal } = new AbortController();
      await assert.rejects(fetchKeys(provider(undefined), connectTo, signal), refusal(message));
    });
  }

  const answers: [what: string, answer: RequestListener, message: RegExp][] = [
    [
      'a redirect, even to itself',
      (request, response) =>
        request.url === '/keys'
          ? response.writeHead(302, { location: '/other' }).end()
          : response.end(JSON.stringify({ keys: [good] })),
      /HTTP status 302/,
    ],
    ['a failure', (_, response) => response.writeHead(500).end('{"keys":[]}'), /HTTP status 500/],
    [
      'what is not JSON',
      (_, response) => response.end('<html>secret</html>'),
      /answer is not JSON/,
    ],
    ['JSON without keys', (_, response) => response.end('{"key":[]}'), /holds no keys/],
    ['null', (_, response) => response.end('null'), /holds no keys/],
    [
      'more than 256 KiB',
      (_, response) => response.end(`{"keys":[],"x":"${'x'.repeat(262_144)}"}`),
      /too long/,
    ],
    [
      'an endless stream',
      (_, response) => {
        const more = (): void => {
          if (response.write('x'.repeat(65_536))) more();
        };
        response.on('drain', more);
        more();
      },
      /too long/,
    ],
    [
      'more keys than anybody has',
      (_, response) =>
        response.end(JSON.stringify({ keys: Array.from({ length: 101 }, () => good) })),
      /more than 100 keys/,
    ],
    ['a connection that breaks', (request) => request.socket.destroy(), /ECONNRESET/],
  ];
  for (const [what, answer, message] of answers) {
    test(`refuses ${what}`, async () => {
      const port = await serve(answer);
      await assert.rejects(fetchFrom(port), (error: unknown) => {
        refusal(message)(error);
        assert.doesNotMatch(String(error), /secret/);
        return true;
      });
    });
  }

  test('gives up on an answer that drips, after five seconds for all of it', async () => {
    const port = await serve((request, response) => {
      if (request.url !== '/keys') {
        const document = { issuer: 'http://issuer.test', jwks_uri: 'http://issuer.test/keys' };
        setTimeout(() => response.end(JSON.stringify(document)), 1_000);
        return;
      }
      response.write('{"keys":[');
      const drip = setInterval(() => response.write(' '), 100);
      response.on('close', () => clearInterval(drip));
    });
    const connectTo = new Map([['issuer.test:80', { host: '127.0.0.1', port }]]);
    const { signal } = new AbortController();
    const started = performance.now();
    await assert.rejects(
      fetchKeys(provider(undefined), connectTo, signal),
      refusal(/no answer within 5000 ms/),
    );
    const took = performance.now() - started;
    assert.ok(took > 4_900 && took < 5_900, `took ${took} ms`);
  });

  test('stops when it is told to', async () => {
    const stop = new AbortController();
    const port = await serve(() => stop.abort());
    await assert.rejects(fetchFrom(port, undefined, stop.signal), ChaperoneError);
  });

  test('takes plain HTTP from loopback alone, whatever the name', async () => {
    const { signal } = new AbortController();
    for (const host of [
      '192.0.2.1',
      '[2001:db8::1]',
      '0.0.0.0',
      '[::ffff:192.0.2.1]',
      'issuer.test',
    ]) {
      await assert.rejects(
        fetchKeys(provider(`http://${host}/keys`), new Map(), signal),
        refusal(/plain HTTP is for loopback only/),
      );
    }
    const away = new Map([['localhost:80', { host: '192.0.2.1', port: 80 }]]);
    await assert.rejects(
      fetchKeys(provider('http://localhost/keys'), away, signal),
      refusal(/plain HTTP is for loopback only/),
    );
  });

  test('refuses a certificate that nobody vouches for', async () => {
    const ca = await createLocalCa(Date.now());
    const { key, cert } = await ca.issue('issuer.test');
    let asked = false;
    const server = createTlsServer({ key, cert }, (_, response) => {
      asked = true;
      response.end(JSON.stringify({ keys: [good] }));
    });
    const port = await listen(server);
    await assert.rejects(
      fetchFrom(port, 'https://issuer.test/keys'),
      refusal(/UNABLE_TO|SELF_SIGNED|CERT/),
    );
    assert.equal(asked, false);
  });
});
