import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { describe, test } from 'node:test';
import { writeSentinelAnswer } from '#core/interception/sentinel.ts';
import { meetSidecar } from '../../../sidecar/network/meet-sidecar.ts';

const host = '127.0.0.1';
const atOnce = { meetMs: 0, listenMs: 0, readyMs: 0 };
const long = 60_000;

/** Says what `answer` gives to whoever dials. */
async function listen(answer: () => string, port = 0): Promise<Server> {
  const server = createServer((socket) => socket.end(answer()));
  server.listen(port, host);
  await once(server, 'listening');
  return server;
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port; // it listens by TCP

/** A port at which nobody listens, for now. */
async function freePort(): Promise<number> {
  const server = await listen(() => '');
  const port = portOf(server);
  server.close();
  await once(server, 'close');
  return port;
}

describe('whoever waits for the sidecar', () => {
  test('waits until it listens, and until it is ready', async () => {
    const port = await freePort();
    const met = meetSidecar({ host, port }, { ...atOnce, listenMs: long, readyMs: long });
    assert.equal((await meetSidecar({ host, port }, atOnce)).kind, 'refused');
    let asked = 0;
    const server = await listen(() => {
      asked += 1;
      return writeSentinelAnswer(asked > 2 ? undefined : 'no policy yet');
    }, port);
    assert.deepEqual(await met, { kind: 'ready' });
    assert.equal(asked, 3);
    server.close();
  });

  test('waits for one that starts again', async () => {
    const server = await listen(() => writeSentinelAnswer('no policy yet'));
    const port = portOf(server);
    const told = once(server, 'connection');
    const met = meetSidecar({ host, port }, { ...atOnce, readyMs: long });
    await told;
    server.close();
    await once(server, 'close');
    assert.equal((await meetSidecar({ host, port }, atOnce)).kind, 'refused');
    const next = await listen(() => writeSentinelAnswer(undefined), port);
    assert.deepEqual(await met, { kind: 'ready' });
    next.close();
  });

  test('does not wait for somebody else, and says why one is not ready', async () => {
    let answer = 'HTTP/1.1 400 Bad Request\r\n\r\n';
    const server = await listen(() => answer);
    const dial = () => meetSidecar({ host, port: portOf(server) }, atOnce);
    assert.deepEqual(await dial(), { kind: 'nobody', reason: 'somebody else answered' });
    answer = writeSentinelAnswer('no policy yet');
    assert.deepEqual(await dial(), { kind: 'starting', reason: 'no policy yet' });
    server.close();
  });
});
