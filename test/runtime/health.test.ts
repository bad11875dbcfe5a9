import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { text } from 'node:stream/consumers';
import { Registry } from 'prom-client';
import { startHealth } from '../../runtime/health.ts';

describe('the port of health and metrics', () => {
  let health: Awaited<ReturnType<typeof startHealth>>;
  let reason: string | undefined;

  before(async () => {
    const listen = { host: '127.0.0.1', port: 0 };
    health = await startHealth({ listen, registry: new Registry(), notReady: () => reason });
  });

  after(() => {
    health.server.close();
    health.server.closeAllConnections();
  });

  /** Sends bytes as they are, and returns all that comes. */
  async function say(request: string): Promise<string> {
    const socket = connect(Number(new URL(health.url).port), '127.0.0.1');
    socket.on('error', () => undefined); // what it got so far is what counts
    await once(socket, 'connect');
    socket.write(request);
    return text(socket).catch(() => '');
  }

  test('says what a kubelet asks', async () => {
    const get = (path: string): Promise<string> =>
      say(`GET ${path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n`);
    assert.match(await get('/healthz'), /^HTTP\/1\.1 200 .*ok\n/s);
    assert.match(await get('/readyz'), /^HTTP\/1\.1 200 .*ready\n/s);
    reason = 'no policy bundle yet';
    assert.match(await get('/readyz'), /^HTTP\/1\.1 503 .*no policy bundle yet\n/s);
    assert.match(await get('/metrics'), /^HTTP\/1\.1 200 /);
  });

  for (const [what, request, answer] of [
    ['a proxy for a tunnel', 'CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n', /^$/],
    [
      'a proxy for a request',
      'GET http://example.com/healthz HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n',
      /^HTTP\/1\.1 404 /,
    ],
    [
      'something that takes what is sent',
      'POST /metrics HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx',
      /^HTTP\/1\.1 405 /,
    ],
    [
      'another protocol',
      'GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n',
      /^HTTP\/1\.1 200 .*ok\n/s,
    ],
  ] as const)
    // prettier-ignore
    test(`is no way out for an agent: it is not ${what}`, async () => {
      assert.match(await say(request), answer);
    });
});
