import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as dial, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  buildAuthenticationOk,
  buildErrorResponse,
  buildParameterStatus,
  buildReadyForQuery,
} from '#core/postgres/backend.ts';
import { buildExecute, buildPassword, buildQuery, buildSync } from '#core/postgres/frontend.ts';
import { buildMessage, int16, int32 } from '#core/postgres/reader.ts';
import { buildStartup } from '#core/postgres/startup.ts';
import { bind, parse } from '../support/extended-query.ts';
import { assertNothingLeft } from '../support/growth.ts';
import { pssOf } from '../support/inspector.ts';
import { allSessions } from '../support/instance.ts';
import { metricOf, untilIdle } from '../support/metrics.ts';
import { Random, scaled } from '../support/random.ts';
import { RawClient } from '../support/raw-client.ts';
import { startRawBackend, type RawBackend, type RawConnection } from '../support/raw-backend.ts';
import { recordedSession } from '../support/recorded.ts';
import { waitForSessions } from '../support/results.ts';
import { misbehaviours, ScriptedBackend } from '../support/scripted-backend.ts';
import { startThrough, type Through } from '../support/through.ts';
import { standsStill, until } from '../support/until.ts';

const linux = process.platform === 'linux' ? false : '/proc is of Linux';
const row = buildMessage('D', int16(1), int32(4), Buffer.from('cell'));
const complete = buildMessage('C', 'SELECT 1');
const ready = buildReadyForQuery('I');

describe('a hostile backend', { skip: linux }, () => {
  let backend: RawBackend;
  let through: Through;
  /** How a connection is served, by the database that its agent has named. */
  const roles = new Map<string, (connection: RawConnection) => void>();

  before(async () => {
    backend = await startRawBackend((connection) => {
      const serve = roles.get(connection.database.replace(/ .*/, '')) ?? honest;
      serve(connection);
    });
    through = await startThrough(backend);
  });
  after(async () => {
    await through[Symbol.asyncDispose]();
    await backend[Symbol.asyncDispose]();
  });

  function honest({ greet, onMessage, socket }: RawConnection): void {
    greet();
    onMessage((tag) => {
      if (tag === 0x51) socket.write(Buffer.concat([row, complete, ready]));
      else if (tag === 0x58) socket.end();
    });
  }

  const connect = async (database: string, sub?: string): Promise<RawClient> => {
    const { host, port, password, instance } = through;
    const token = sub === undefined ? password : await instance.token({ sub });
    return RawClient.connect({ host, port, password: token, user: 'postgres', database });
  };

  /** Logs in, and leaves unread and unjudged what comes then: it may be anything. */
  async function logIn(database: string): Promise<Socket> {
    const socket = dial({ host: through.host, port: through.port, allowHalfOpen: true });
    socket.on('error', () => undefined); // 'close' follows
    const parameters = new Map([['user', 'postgres'], ['database', database]]); // prettier-ignore
    socket.write(Buffer.concat([buildStartup(parameters), buildPassword(through.password)]));
    let seen = Buffer.alloc(0);
    await new Promise<void>((resolve) => {
      socket.on('close', () => resolve());
      socket.on('data', (chunk: Buffer) => {
        seen = Buffer.concat([seen.subarray(-ready.length), chunk]);
        if (seen.includes(ready)) resolve();
      });
    });
    return socket;
  }

  /** Somebody else is served. */
  async function assertServed(): Promise<void> {
    const client = await connect('honest');
    client.send(buildQuery('SELECT 1'));
    const answers = await client.read((answer) => answer.startsWith('Z'));
    assert.deepEqual(
      answers.map(([tag]) => tag),
      ['D', 'C', 'Z'],
    );
    client.destroy();
  }

  const settled = async (): Promise<void> => {
    await until('nobody is at the backend', () => backend.open.size === 0);
    await untilIdle(through.instance);
  };

  const startups: [what: string, serve: (connection: RawConnection) => void][] = [
    ['says nothing sensible', ({ socket }) => socket.write(Buffer.alloc(100, 0xff))],
    ['closes at once', ({ socket }) => socket.end()],
    ['resets at once', ({ socket }) => socket.resetAndDestroy()],
    ['asks for an unknown login', ({ socket }) => socket.write(buildMessage('R', int32(99)))],
    ['lies about the length of its login', ({ socket }) => socket.write(Buffer.from('R\x7f\xff\xff\xff', 'latin1'))],
    ['greets without end', ({ socket }) => {
      socket.write(buildAuthenticationOk());
      const filler = buildParameterStatus('x', 'y'.repeat(60_000));
      for (let times = 0; times < 20; times += 1) socket.write(filler);
    }],
    ['sends rows in place of a greeting', ({ socket }) => socket.write(Buffer.concat([buildAuthenticationOk(), row]))],
    ['refuses with an error', ({ socket }) => socket.end(buildErrorResponse({ severity: 'FATAL', code: '53300', message: 'full' }))],
    ['ends within its greeting', ({ socket }) => socket.end(Buffer.concat([buildAuthenticationOk(), Buffer.from('S\0\0')]))],
  ]; // prettier-ignore
  for (const [index, [what, serve]] of startups.entries()) {
    test(`that ${what} is a refused login with a reason`, async () => {
      const who = `startup-${index}`;
      roles.set(who, serve);
      const client = await connect(who, who);
      const [refusal = '', ...more] = await client.read(() => false);
      client.destroy();
      assert.match(refusal, /^E S\|FATAL.*\|C\|08\d{3}\|M\|chaperone: /);
      assert.deepEqual(more, []);
      assert.equal((await recordedSession(through.instance, who)).reason, 'backend-login-failed');
    });
  }

  const answers: [what: string, bytes: Buffer, status: string, reason: string][] = [
    ['a message of no known type', buildMessage('?'), 'incomplete', 'protocol-violation'],
    ['an impossible length', Buffer.from('C\0\0\0\x01', 'latin1'), 'incomplete', 'protocol-violation'],
    ['an answer that was not asked for', buildMessage('1'), 'incomplete', 'protocol-violation'],
    ['two answers to one query', Buffer.concat([complete, ready, complete, ready]), 'ok SELECT 1', 'protocol-violation'],
    ['a ReadyForQuery without a status', Buffer.concat([complete, buildMessage('Z')]), 'ok SELECT 1', 'protocol-violation'],
    ['another login', buildAuthenticationOk(), 'incomplete', 'protocol-violation'],
    ['a description of two megabytes', buildMessage('T', Buffer.alloc(2 * 1024 * 1024)), 'incomplete', 'protocol-violation'],
    ['a row and then nonsense', Buffer.concat([row, Buffer.from([0, 0, 0, 0, 0, 0])]), 'incomplete', 'protocol-violation'],
  ]; // prettier-ignore
  for (const [index, [what, bytes, status, reason]] of answers.entries()) {
    test(`that sends ${what} ends the session with a protocol error, and is recorded`, async () => {
      const who = `answer-${index}`;
      roles.set(who, ({ greet, onMessage, socket }) => {
        greet();
        onMessage(() => socket.write(bytes));
      });
      const client = await connect(who, who);
      client.send(buildQuery('SELECT 1'));
      const said = await client.read(() => false);
      client.destroy();
      assert.match(said.at(-1) ?? '', /^E S\|FATAL\|V\|FATAL\|C\|08P01\|M\|chaperone: /);
      const session = await recordedSession(through.instance, who);
      assert.deepEqual(
        session.requests.map(({ outcomes }) => outcomes.join()),
        [status],
      );
      assert.equal(session.reason, reason);
    });
  }

  const endings: [what: string, end: (socket: RawConnection['socket']) => void][] = [
    ['closes', (socket) => socket.end()],
    ['resets', (socket) => socket.resetAndDestroy()],
    ['closes within a row', (socket) => socket.end(row.subarray(0, 8))],
  ];
  for (const [index, [what, end]] of endings.entries()) {
    test(`that ${what} while a query runs leaves it incomplete`, async () => {
      const who = `ending-${index}`;
      roles.set(who, ({ greet, onMessage, socket }) => {
        greet();
        onMessage(() => end(socket));
      });
      const client = await connect(who, who);
      client.send(buildQuery('SELECT 1'), bind(''), buildExecute('', 0), buildSync());
      await client.read(() => false);
      client.destroy();
      const session = await recordedSession(through.instance, who);
      assert.deepEqual(
        session.requests.map(({ outcomes }) => outcomes.join()),
        ['incomplete', 'incomplete'],
      );
      assert.equal(session.reason, 'backend-closed');
    });
  }

  test('that never reads leaves the agent waiting, with little memory and no work, and nobody else', async () => {
    const held: RawConnection[] = [];
    roles.set('deaf', (connection) => {
      connection.greet();
      connection.socket.pause();
      held.push(connection);
    });
    const clients = await Promise.all(Array.from({ length: 5 }, () => connect('deaf', 'deaf')));
    const values = [Buffer.alloc(100_000, 'v')];
    for (const client of clients) {
      client.send(parse('s', 'SELECT $1'));
      for (let sent = 0; sent < 200; sent += 1) client.send(bind('s', { values }));
    }
    const { pids } = through.instance.instance;
    await standsStill(() => metricOf(through.instance, 'chaperone_spool_written_bytes_total'));
    assert.ok(pssOf(pids.sidecar) < 250 * 1024 * 1024, `${pssOf(pids.sidecar)} bytes`);
    await assertServed();
    for (const { socket } of held) socket.resetAndDestroy();
    for (const client of clients) await client.read(() => false);
    for (const client of clients) client.destroy();
    await settled();
    const { requests } = await recordedSession(through.instance, 'deaf');
    assert.ok(requests.length > 0);
    for (const { outcomes } of requests) assert.equal(outcomes.length, 1);
  });

  test('that floods an agent which reads nothing is not read either', async () => {
    const flood = Buffer.concat(Array.from({ length: 1_000 }, () => row));
    let sent = 0;
    roles.set('flood', ({ greet, onMessage, socket }) => {
      greet();
      const more = (): void => {
        while (!socket.destroyed && socket.write(flood)) sent += flood.length;
      };
      onMessage(more);
      socket.on('drain', more);
    });
    const client = await connect('flood', 'flood');
    client.pause();
    client.send(buildQuery('SELECT 1'));
    await standsStill(() => sent);
    const { pids } = through.instance.instance;
    assert.ok(pssOf(pids.sidecar) < 250 * 1024 * 1024, `${pssOf(pids.sidecar)} bytes`);
    await assertServed();
    client.destroy();
    await settled();
    const { requests, reason } = await recordedSession(through.instance, 'flood');
    assert.deepEqual(
      requests.map(({ outcomes }) => outcomes.join()),
      ['incomplete'],
    );
    assert.equal(reason, 'agent-vanished');
  });

  test(
    'thousands of connections that go wrong on both sides leave nothing behind',
    { timeout: 500_000 },
    async () => {
      roles.set('random', ({ greet, onMessage, socket, database }) => {
        const random = new Random(Number(database.split(' ')[1]));
        const script = new ScriptedBackend(random, random.pick(misbehaviours));
        greet();
        onMessage((tag, body) => {
          const { bytes, close } = script.answer(tag, body);
          for (let at = 0; at < bytes.length;) {
            const end = at + 1 + random.below(random.pick([3, 4_000]));
            socket.write(bytes.subarray(at, end));
            at = end;
          }
          if (close) socket.end();
        });
        socket.setTimeout(1_000, () => socket.destroy()); // it may owe answers for good
      });
      const frames = [
      buildQuery('SELECT 1'), parse('', 'SELECT 1'), bind(''), buildExecute('', 0), buildSync(), buildSync(), buildMessage('X'),
    ]; // prettier-ignore
      const one = async (seed: number): Promise<void> => {
        const random = new Random(seed);
        const socket = await logIn(`random ${seed}`);
        const bytes = Buffer.concat(Array.from({ length: 8 }, () => random.pick(frames)));
        if (random.below(2) === 0) bytes[random.below(bytes.length)] = random.below(256);
        const closed = once(socket, 'close');
        if (random.below(3) === 0) socket.end(bytes);
        else socket.write(bytes);
        await Promise.race([once(socket, 'end'), closed, delay(random.below(60))]);
        if (random.below(3) === 0) socket.resetAndDestroy();
        else socket.destroy();
        await closed;
      };
      let next = 0;
      const run = async (count: number): Promise<void> => {
        const last = next + count;
        const worker = async (): Promise<void> => {
          while (next < last) await one((next += 1));
        };
        await Promise.all(Array.from({ length: 10 }, worker));
      };
      await assertNothingLeft(through.instance, async () => {
        await run(Math.max(150, scaled(500)));
        await settled();
      });
      await assertServed();
    },
  );

  test('and every session is recorded to its end, with a result for each request', async () => {
    await settled();
    const collector = through.instance.collector();
    await waitForSessions(through.instance);
    for await (const { id } of allSessions(collector)) {
      const results: number[] = [];
      const requests: number[] = [];
      for await (const { header } of collector.frames(id)) {
        if (header.kind === 'request') requests.push(header.seq);
        if (header.kind === 'result') results.push(header.request ?? 0);
        if (header.kind === 'session.end') assert.notEqual(header.reason, 'internal-error');
      }
      assert.equal(new Set(results).size, results.length, `two results in ${id}`);
      assert.deepEqual(
        requests.filter((seq) => !results.includes(seq)),
        [],
        id,
      );
    }
  });

  test('none of that was a defect of the gateway', () => {
    const log = readFileSync(join(through.instance.data, 'log/sidecar.log'), 'utf8');
    assert.doesNotMatch(log, /a connection failed|met a defect/);
  });
});
