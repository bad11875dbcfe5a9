import assert from 'node:assert/strict';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { connect as connectTls, TLSSocket, type ConnectionOptions } from 'node:tls';
import { parseErrorFields } from '#core/postgres/backend.ts';
import { FrameSplitter } from '#core/postgres/frames.ts';
import { buildPassword, buildQuery } from '#core/postgres/frontend.ts';
import { buildMessage, int16, int32 } from '#core/postgres/reader.ts';
import { buildCancelRequest, buildSslRequest, buildStartup } from '#core/postgres/startup.ts';
import { parseFrames } from '#core/record/frame.ts';
import type { LaneHost, Target } from '../../sidecar/lane.ts';
import { postgresLane } from '../../sidecar/postgres/lane.ts';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { psql } from '../support/psql.ts';
import { startThrough, type Through } from '../support/through.ts';
import { until } from '../support/until.ts';

const gssencRequest = buildMessage('', int32(80_877_104));
const user = ['user', 'postgres', 'database', 'postgres'];
const startup = (minor: number, ...parameters: string[]): Buffer =>
  buildMessage('', int16(3), int16(minor), ...user, ...parameters, Buffer.from([0]));

interface Message {
  readonly tag: string;
  readonly body: Buffer;
}

/** Says something, then the password when it is asked for, and returns what comes up to one of `last` or the end. */
async function converse(
  socket: Duplex,
  first: Buffer,
  password = '',
  last = 'Z',
): Promise<Message[]> {
  const messages: Message[] = [];
  const splitter = new FrameSplitter({
    streamed: new Set(),
    maxMessageBytes: 1_000_000,
    oversized: 'throw',
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  const take = (chunk: Buffer): void => {
    for (const piece of splitter.push(chunk)) {
      if (piece.kind !== 'message') continue;
      const tag = String.fromCharCode(piece.tag);
      messages.push({ tag, body: piece.body });
      if (tag === 'R' && piece.body.readInt32BE() === 3) socket.write(buildPassword(password));
      if (last.includes(tag)) resolve();
    }
  };
  socket.on('data', take).once('close', resolve).once('end', resolve);
  socket.on('error', () => undefined); // 'close' follows
  if (socket.destroyed) resolve();
  else socket.write(first);
  await promise;
  socket.off('data', take);
  return messages;
}

const tagsOf = (messages: readonly Message[]): string =>
  messages.map(({ tag }) => tag).join('').replace(/S+/, 'S'); // prettier-ignore

const refusalOf = (messages: readonly Message[]): string => {
  const body = messages.find(({ tag }) => tag === 'E')?.body;
  const fields = body ? parseErrorFields(body) : new Map<string, string>();
  return ['S', 'C', 'M'].map((field) => fields.get(field)).join(' ');
};

/** Waits for an answer of one byte. */
async function oneByte(socket: Socket, request: Buffer): Promise<string> {
  socket.write(request);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return chunk.toString('latin1');
}

describe('what an agent may begin with', () => {
  let server: BackendServer;
  let through: Through;
  before(async () => {
    server = await startBackendServer({ version: 18, authentication: 'trust' });
    through = await startThrough(server, {
      spec: { postgres: { userMapping: [{ user: 'ada', upstreamUser: 'upstream_ada' }] } },
    });
    await psql(server, 'CREATE ROLE upstream_ada LOGIN');
  });
  after(async () => {
    await through[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  async function dial(port = through.port, localAddress = '127.0.0.1'): Promise<Socket> {
    const socket = connect({ port, host: through.host, localAddress });
    socket.on('error', () => undefined); // 'close' follows
    await once(socket, 'connect');
    return socket;
  }

  async function secure(socket: Socket, options: ConnectionOptions = {}): Promise<Duplex> {
    const tls = connectTls({ socket, rejectUnauthorized: false, ...options });
    tls.on('error', () => undefined); // 'close' follows
    await new Promise<void>((resolve) => {
      tls.once('secureConnect', resolve).once('close', resolve);
    });
    return tls;
  }

  const served = /^RRN?SKZ$/; // a notice tells of a name that was cut

  test('GSSENCRequest, which is declined, and then TLS or none', async () => {
    const plain = await dial();
    assert.equal(await oneByte(plain, gssencRequest), 'N');
    assert.match(tagsOf(await converse(plain, startup(0), through.password)), served);
    plain.destroy();
    const raw = await dial();
    assert.equal(await oneByte(raw, gssencRequest), 'N');
    assert.equal(await oneByte(raw, buildSslRequest()), 'S');
    const tls = await secure(raw);
    assert.match(tagsOf(await converse(tls, startup(0), through.password)), served);
    tls.destroy();
  });

  test('TLS without asking, for those who say by ALPN that they mean PostgreSQL', async () => {
    const tls = await secure(await dial(), { ALPNProtocols: ['postgresql'] });
    assert.match(tagsOf(await converse(tls, startup(0), through.password)), served);
    tls.destroy();
    for (const ALPNProtocols of [undefined, ['http/1.1']]) {
      const other = await secure(await dial(), ALPNProtocols ? { ALPNProtocols } : {});
      const messages = await converse(other, startup(0), through.password);
      assert.doesNotMatch(tagsOf(messages), /[RKZ]/);
      other.destroy();
    }
  });

  test('no TLS within TLS, no GSSENCRequest within it, and no requests without end', async () => {
    for (const request of [buildSslRequest(), gssencRequest]) {
      const tls = await secure(await dial(), { ALPNProtocols: ['postgresql'] });
      assert.match(refusalOf(await converse(tls, request)), /FATAL 08P01 .* inside TLS/);
      tls.destroy();
    }
    const socket = await dial();
    for (let time = 0; time < 2; time += 1) assert.equal(await oneByte(socket, gssencRequest), 'N');
    socket.write(gssencRequest);
    await once(socket, 'close');
  });

  // The server itself says what is right.
  const asked: [minor: number, options: string[]][] = [
    [0, []],
    [2, []],
    [3, []],
    [9_999, []],
    [0, ['_pq_.grease', '1']],
    [2, ['_pq_.one', '1', '_pq_.two', '']],
    [9_999, ['_pq_.test_protocol_negotiation', 'x']],
  ];
  for (const [minor, options] of asked) {
    test(`protocol 3.${minor} with ${options.length / 2} options is negotiated as PostgreSQL 18 does`, async () => {
      const [direct, gated] = [await dial(server.port), await dial()];
      const expected = await converse(direct, startup(minor, ...options));
      const messages = await converse(gated, startup(minor, ...options), through.password);
      const said = (all: readonly Message[]): (string | undefined)[] => [
        all.find(({ tag }) => tag === 'v')?.body.toString('hex'),
        String(all.find(({ tag }) => tag === 'K')?.body.length),
      ];
      assert.deepEqual(said(messages), said(expected));
      assert.equal(messages.at(-1)?.tag, 'Z');
      // The key, of whatever length, cancels.
      const key = messages.find(({ tag }) => tag === 'K')?.body ?? Buffer.alloc(4);
      const cancelled = converse(gated, buildQuery('SELECT pg_sleep(60)'));
      await until('it runs', async () => {
        const asleep = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'";
        return (await psql(server, `${asleep} AND state = 'active'`, ['-At'])).out.startsWith('1');
      });
      const canceller = await dial();
      canceller.end(buildCancelRequest(key.readInt32BE(), key.subarray(4)));
      assert.match(refusalOf(await cancelled), /^ERROR 57014/);
      direct.destroy();
      gated.destroy();
    });
  }

  test('a startup packet as long as PostgreSQL takes, and none that is longer', async () => {
    const long = (length: number): Buffer => {
      const rest = length - startup(0, 'application_name', '').length;
      return startup(0, 'application_name', 'a'.repeat(rest));
    };
    const socket = await dial();
    assert.match(tagsOf(await converse(socket, long(10_000), through.password)), served);
    socket.destroy();
    const refused = await dial();
    const messages = await converse(refused, long(10_001), through.password);
    assert.match(refusalOf(messages), /FATAL 08P01 .*a startup packet of 10001 bytes/);
    // Refused by its length alone, without waiting for the rest.
    const waiting = await dial();
    assert.match(refusalOf(await converse(waiting, long(10_001).subarray(0, 4))), /08P01/);
  });

  test('a token as long as tokens become, and passwords up to the limit of PostgreSQL', async () => {
    const groups = Array.from({ length: 300 }, (_, index) => `a-group-of-many-${index}`).join(',');
    const token = await through.instance.token({ groups });
    assert.ok(token.length > 8_000, `${token.length}`);
    const socket = await dial();
    assert.match(tagsOf(await converse(socket, startup(0), token)), served);
    socket.destroy();
    const [most, more] = [await dial(), await dial()];
    const longest = 'x'.repeat(65_535 - 5);
    assert.match(refusalOf(await converse(most, startup(0), longest)), /FATAL 28P01/);
    assert.match(refusalOf(await converse(more, startup(0), `${longest}x`)), /FATAL 08P01/);
  });

  test('a user that the Backend maps to another', async () => {
    const shown = async (name: string): Promise<string> =>
      (await psql({ ...through, user: name }, 'SELECT current_user', ['-At'])).out.trim();
    assert.equal(await shown('ada'), 'upstream_ada');
    assert.equal(await shown('anybody'), 'postgres');
  });

  const linux = process.platform === 'linux' ? false : 'only Linux has all of 127.0.0.0/8';
  test(
    'failed logins are recorded up to twenty a minute, and counted beyond',
    { skip: linux },
    async () => {
      const { collector, sidecar } = through.instance.instance.pids;
      const source = '127.0.0.2'; // nobody else's: failures are counted by their source
      process.kill(collector, 'SIGSTOP'); // so that the spool keeps what is recorded
      try {
        for (let time = 0; time < 27; time += 1) {
          const socket = await dial(through.port, source);
          const messages = await converse(socket, startup(0), `wrong ${time}`);
          assert.equal(refusalOf(messages), 'FATAL 28P01 chaperone: the login was not accepted');
        }
        process.kill(sidecar, 'SIGTERM'); // what was held back is recorded now
        const log = join(through.instance.data, 'log/sidecar.log');
        await until('it has stopped', () => /"msg":"stopped;/.test(readFileSync(log, 'utf8')));
        const spool = join(through.instance.data, 'spool');
        const attempts = readdirSync(spool, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile() && entry.name.endsWith('.frames'))
          .flatMap((entry) => [...parseFrames(readFileSync(join(entry.parentPath, entry.name)))])
          .flatMap(({ header }) => (header.kind === 'auth.failed' ? [header] : []))
          .filter((failure) => failure['client.address'] === source)
          .map((failure) => failure.attempts);
        assert.deepEqual(attempts, [...Array.from({ length: 20 }, () => 1), 7]);
      } finally {
        process.kill(collector, 'SIGCONT');
      }
    },
  );
});

describe('a login', () => {
  /** Serves one connection of an address that is made up, and returns the client's end of it. */
  async function serve(host: Partial<LaneHost>, address = '127.0.0.1'): Promise<Socket> {
    const gate = createServer({ allowHalfOpen: true });
    gate.on('connection', (socket) => {
      Object.defineProperty(socket, 'remoteAddress', { value: address });
      // Of the host and the target a login needs no more than this.
      const target = { backend: { credential: {} } } as Target;
      void postgresLane.serve(socket, target, host as LaneHost, new AbortController().signal);
      gate.close();
    });
    gate.listen(0, '127.0.0.1');
    await once(gate, 'listening');
    const socket = connect((gate.address() as AddressInfo).port, '127.0.0.1');
    await once(socket, 'connect');
    return socket;
  }
  const parameters = new Map([['user', 'a'], ['database', 'b']]); // prettier-ignore

  for (const [what, bytes] of [
    ['says nothing', Buffer.alloc(0)],
    ['does not finish its startup', buildStartup(parameters).subarray(0, 9)],
    ['gives no password', buildStartup(parameters)],
    ['does not begin the TLS that it asked for', buildSslRequest()],
  ] as const) {
    test(`that ${what} ends with its time`, async () => {
      const socket = await serve({
        loginTimeoutMs: 100,
        tokenPolicy: () => 'Required',
        secure: async (agent) => new TLSSocket(agent, { isServer: true }),
      });
      let text = '';
      socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk));
      socket.write(bytes);
      await once(socket, 'close');
      if (bytes.length !== buildSslRequest().length) assert.match(text, /FATAL.*08006.*the login took too long/s); // prettier-ignore
    });
  }

  test('from another machine is not asked for its token in the clear', async () => {
    const refusal = { code: 'login-failed', message: 'refused' } as const;
    const host: Partial<LaneHost> = {
      loginTimeoutMs: 10_000,
      tokenPolicy: () => 'Required',
      identify: () => Promise.resolve(refusal),
      refused: () => undefined,
    };
    const far = await serve(host, '192.0.2.1');
    const messages = await converse(far, buildStartup(parameters), 'token');
    assert.equal(tagsOf(messages), 'E');
    assert.match(refusalOf(messages), /^FATAL 28000/);
    const own = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
    for (const near of [
      '127.0.0.1',
      '::1',
      '::ffff:127.0.0.2',
      ...own.map(({ address }) => address),
    ]) {
      const socket = await serve(host, near);
      assert.equal(tagsOf(await converse(socket, buildStartup(parameters), '', 'R')), 'R');
      socket.destroy();
    }
  });
});
