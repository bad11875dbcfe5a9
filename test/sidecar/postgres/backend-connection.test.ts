import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { UpstreamTls } from '#core/policy/resources.ts';
import type { LaneHost, Target } from '../../../sidecar/lane.ts';
import { BackendCancels } from '../../../sidecar/postgres/backend-cancels.ts';
import { connectToBackend } from '../../../sidecar/postgres/backend-connection.ts';
import type { Stop } from '../../../sidecar/ready.ts';
import { dial } from '../../../sidecar/upstream.ts';
import { until } from '../../support/until.ts';

const routes = {
  connectTo: new Map(),
  lookupFor: undefined,
  isDenied: () => false,
  trustsLoopback: true,
};

const killed: Stop = { refusal: { code: 'session-ended', message: 'killed' }, reason: 'killed' };

describe('a connection to a backend', () => {
  let server: Server;
  let port = 0;
  const open = new Set<Socket>();
  let dialled = 0;
  /** As many were dialled or open at the same time. */
  let most = 0;
  let accepted = 0;
  let serve = (_socket: Socket): void => undefined;
  const warned: Error[] = [];
  before(async () => {
    server = createServer((socket) => {
      open.add(socket);
      accepted += 1;
      socket.on('error', () => undefined).on('close', () => open.delete(socket));
      serve(socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo); // a TCP server's address is one
  });
  beforeEach(async () => {
    for (const socket of open) socket.destroy();
    await until('nobody is connected', () => open.size === 0);
    [most, accepted, warned.length] = [0, 0, 0];
    serve = () => undefined;
  });
  after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });

  // Of the target and the host a connection needs no more than this.
  const target = (mode: UpstreamTls['mode'], to = port): Target =>
    ({ backend: { upstream: { host: '127.0.0.1', port: to, tls: { mode } } } }) as Target;
  const host = {
    dial: async (backend: Target['backend'], signal: AbortSignal) => {
      dialled += 1;
      most = Math.max(most, dialled);
      const socket = await dial(backend, routes, signal).catch((error: unknown) => {
        dialled -= 1;
        throw error;
      });
      return socket.on('close', () => (dialled -= 1));
    },
    warn: (_target: Target, error: Error) => warned.push(error),
  } as unknown as LaneHost;

  test('that is given up before it is made says why', async () => {
    const signal = AbortSignal.abort(killed);
    await assert.rejects(dial(target('Disable').backend, routes, signal), (error) => {
      assert.equal(error, killed);
      return true;
    });
  });

  for (const [when, answer] of [
    ['waits for the answer to SSLRequest', ''],
    ['is in the TLS handshake', 'S'],
  ] as const) {
    test(`that is given up while it ${when} says why`, async () => {
      const giveUp = new AbortController();
      serve = (socket) =>
        void socket.once('data', () => {
          if (answer === '') giveUp.abort(killed);
          else socket.once('data', () => giveUp.abort(killed)).write(answer);
        });
      await assert.rejects(connectToBackend(target('Require'), host, giveUp.signal), (error) => {
        assert.equal(error, killed);
        return true;
      });
    });
  }

  test('that the backend closes instead of answering is the backend’s fault', async () => {
    serve = (socket) => void socket.once('data', () => socket.end());
    const { signal } = new AbortController();
    await assert.rejects(connectToBackend(target('Require'), host, signal), {
      code: 'backend-unreachable',
    });
  });

  const key = { processId: 7, secret: Buffer.from('key!') };

  test('for a cancel is one at a time, and all that are asked for meanwhile are one more', async () => {
    const cancels = new BackendCancels(target('Disable'), host, key);
    const sent = Array.from({ length: 50 }, () => cancels.send());
    await until('the first is there', () => open.size === 1);
    sent.push(...Array.from({ length: 50 }, () => cancels.send()));
    serve = (socket) => void socket.resume().on('end', () => socket.end());
    for (const socket of open) socket.end();
    await Promise.all(sent);
    assert.deepEqual([accepted, most], [2, 1]);
    await cancels.send();
    assert.equal(accepted, 3);
    assert.deepEqual(warned, []);
  });

  test('for a cancel that fails is told to the operator, once until one succeeds', async () => {
    const thief = createServer().listen(0, '127.0.0.1');
    await once(thief, 'listening');
    const closed = (thief.address() as AddressInfo).port; // a TCP server's address is one
    thief.close();
    await once(thief, 'close');
    const cancels = new BackendCancels(target('Disable', closed), host, key);
    for (let attempt = 0; attempt < 3; attempt += 1) await cancels.send();
    assert.equal(warned.length, 1);
    assert.match(warned[0]?.message ?? '', /a cancel did not reach the backend/);
  });

  test('is not made for a cancel where the backend has given no key', async () => {
    await new BackendCancels(target('Disable'), host, undefined).send();
    assert.equal(accepted, 0);
  });
});
