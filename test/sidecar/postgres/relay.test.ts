import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { duplexPair, type Duplex } from 'node:stream';
import { describe, mock, test } from 'node:test';
import { FrameSplitter } from '#core/postgres/frames.ts';
import { buildExecute, buildQuery, buildSync } from '#core/postgres/frontend.ts';
import { buildReadyForQuery } from '#core/postgres/backend.ts';
import { buildMessage, int16, int32 } from '#core/postgres/reader.ts';
import type { EndReason } from '#core/record/kinds.ts';
import { Relay } from '../../../sidecar/postgres/relay.ts';
import type { Stop } from '../../../sidecar/ready.ts';
import type { LiveSession } from '../../../sidecar/session.ts';
import { bind, ofStatement, parse } from '../../support/extended-query.ts';
import { openSession, openSpool, type TestSpool } from '../../support/sidecar-session.ts';
import { until } from '../../support/until.ts';

const draining: Stop = { refusal: { code: 'draining', message: 'ends' }, reason: 'draining' };
const killed: Stop = {
  refusal: { code: 'session-ended', message: 'killed' },
  reason: 'killed',
  urgent: true,
};
const ready = buildReadyForQuery('I');
const complete = buildMessage('C', 'SELECT 1');
const copyIn = buildMessage('G', Buffer.from([0]), int16(1), int16(0));
const data = (text: string): Buffer => buildMessage('d', Buffer.from(text));

interface Ends {
  readonly session: LiveSession;
  /** What the agent holds of its connection. */
  readonly agent: Duplex;
  /** What the backend holds of its connection; tags of what reached it. */
  readonly backend: Duplex;
  readonly arrived: string[];
  readonly ran: Promise<EndReason>;
  readonly cancels: () => number;
  /** Why the session has ended, once that is in the spool. */
  readonly ended: () => EndReason | undefined;
}

async function start(
  spool: TestSpool,
  [agent, atAgent]: readonly [Duplex, Duplex] = duplexPair(),
  spec: object = {},
): Promise<Ends> {
  const session = openSession(spool.writer, spec);
  await session.recorded();
  const [upstream, backend] = duplexPair();
  for (const [one, other] of [
    [agent, atAgent],
    [upstream, backend],
  ] as const)
    // prettier-ignore
    for (const end of [one, other]) end.on('error', () => undefined);
  upstream.on('close', () => backend.destroy());
  agent.on('close', () => atAgent.destroy());
  const arrived: string[] = [];
  const splitter = new FrameSplitter({
    streamed: new Set(),
    maxMessageBytes: 1e9,
    oversized: 'throw',
  });
  backend.on('data', (chunk: Buffer) => {
    for (const { tag } of splitter.push(chunk)) arrived.push(String.fromCharCode(tag));
  });
  let cancels = 0;
  const cancel = async (): Promise<void> => {
    cancels += 1;
  };
  const ran = new Relay({ agent: atAgent, upstream, session, cancel }).run();
  const ended = (): EndReason | undefined =>
    spool
      .frames()
      .flatMap(({ header }) => (header.kind === 'session.end' ? [header.reason] : []))[0];
  return { session, agent, backend, arrived, ran, cancels: () => cancels, ended };
}

/** The tags of what an agent reads from now on. */
function tagsAt(agent: Duplex): string[] {
  const tags: string[] = [];
  const splitter = new FrameSplitter({
    streamed: new Set(),
    maxMessageBytes: 1e9,
    oversized: 'throw',
  });
  agent.on('data', (chunk: Buffer) => {
    for (const { tag } of splitter.push(chunk)) tags.push(String.fromCharCode(tag));
  });
  return tags;
}

/** Both ends of a connection of the kernel's. */
async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const accepted = once(server, 'connection');
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const [socket] = (await accepted) as [Socket];
  server.close();
  return [client, socket];
}

describe('a session', () => {
  test('ends in the record once its agent is told, though that never closes', async () => {
    using spool = openSpool();
    const { session, agent, ran, ended } = await start(spool);
    const tags = tagsAt(agent);
    session.stop(draining);
    assert.equal(await until('it has ended', ended), 'draining');
    await until('it is told', () => tags.length > 0);
    assert.deepEqual(tags, ['E']);
    agent.destroy();
    agent.end();
    await ran;
  });

  for (const [what, bytes] of [
    ['waits for a reply', Buffer.concat([buildQuery('SELECT 1'), data('early')])],
    ['has as much outstanding as it may', Buffer.concat(Array.from({ length: 1_500 }, buildSync))],
  ] as const) {
    test(`ends when its agent vanishes while it ${what} of a backend that is silent`, async () => {
      using spool = openSpool();
      const [agent, atAgent] = await socketPair();
      const { arrived, ran, ended } = await start(spool, [agent, atAgent]);
      agent.write(bytes);
      await until('the backend has some', () => arrived.length > 0);
      agent.write(bytes.subarray(0, 5_000));
      agent.resetAndDestroy();
      assert.equal(await until('it has ended', ended), 'agent-vanished');
      assert.equal(await ran, 'agent-vanished');
    });
  }

  test('goes on after its agent has said its last, until that is answered', async () => {
    using spool = openSpool();
    const [agent, atAgent] = await socketPair();
    const { arrived, backend, ran } = await start(spool, [agent, atAgent]);
    const tags = tagsAt(agent);
    agent.end(buildQuery('SELECT 1'));
    backend.on('end', () => backend.end(Buffer.concat([complete, ready])));
    assert.equal(await ran, 'agent-closed');
    assert.deepEqual(arrived, ['Q']);
    agent.destroy();
    assert.deepEqual(tags, ['C', 'Z']);
  });
});

describe('a name that no record gave', () => {
  test('does not go up while the spool cannot be written', async () => {
    using empty = openSpool();
    await openSession(empty.writer).recorded();
    using spool = openSpool({ maxBytes: empty.writer.totalBytes + 100 });
    const { agent, arrived, ran } = await start(spool);
    const tags = tagsAt(agent);
    agent.write(Buffer.concat([ofStatement('any text'), buildSync()]));
    await until('it is refused', () => tags.includes('Z'));
    assert.deepEqual([arrived, tags], [[], ['E', 'Z']]);
    agent.destroy();
    await ran;
  });
});

describe('rows that nobody described', () => {
  for (const [responses, asks] of [
    ['Full', true],
    ['Digest', false],
    ['None', false],
  ] as const)
    // prettier-ignore
    test(`are ${asks ? '' : 'not '}asked about under responses: ${responses}`, async () => {
      using spool = openSpool();
      const { agent, arrived, ran } = await start(spool, undefined, { record: { responses } });
      agent.write(Buffer.concat([parse('', 'SELECT 1'), bind(''), buildExecute('', 0), buildSync()]));
      await until('all is there', () => arrived.includes('S'));
      assert.equal(arrived.join(''), asks ? 'PBDES' : 'PBES');
      agent.destroy();
      await ran;
    });
});

describe('an agent that reads slowly', () => {
  test('has a minute for what was said before the backend closed', async (context) => {
    using spool = openSpool();
    const { agent, backend, arrived, ran, ended } = await start(spool);
    agent.write(buildQuery('SELECT 1'));
    await until('it runs', () => arrived.length > 0);
    mock.timers.enable({ apis: ['setTimeout'] });
    context.after(() => mock.timers.reset());
    const row = buildMessage('D', int16(1), int32(100_000), Buffer.alloc(100_000));
    backend.end(Buffer.concat([row, complete, ready]));
    const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
    while (ended() === undefined) await turn();
    mock.timers.tick(30_000);
    const tags = tagsAt(agent);
    agent.on('end', () => agent.end());
    assert.equal(await ran, 'backend-closed');
    assert.deepEqual(tags, ['D', 'C', 'Z']);
  });

  test('and no longer', async (context) => {
    using spool = openSpool();
    const { agent, backend, arrived, ran } = await start(spool);
    agent.write(buildQuery('SELECT 1'));
    await until('it runs', () => arrived.length > 0);
    mock.timers.enable({ apis: ['setTimeout'] });
    context.after(() => mock.timers.reset());
    backend.end(buildMessage('D', int16(1), int32(100_000), Buffer.alloc(100_000)));
    let over = false;
    void ran.then(() => (over = true));
    const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
    for (let seconds = 0; seconds < 70 && !over; seconds += 5) {
      for (let turns = 0; turns < 10; turns += 1) await turn();
      mock.timers.tick(5_000);
    }
    assert.equal(await ran, 'backend-closed');
  });
});

describe('a session that is stopped with time to end', () => {
  test('takes the rest of a COPY, and nothing behind it', async () => {
    using spool = openSpool();
    const { session, agent, backend, arrived, ran, ended } = await start(spool);
    const tags = tagsAt(agent);
    agent.write(buildQuery('COPY t FROM STDIN'));
    await until('it runs', () => arrived.length === 1);
    backend.write(copyIn);
    await until('it takes data', () => tags.length === 1);
    agent.write(data('before'));
    await until('data are there', () => arrived.length === 2);
    session.stop(draining);
    const done = Buffer.concat([data('after'), buildMessage('c'), buildQuery('DROP TABLE t'), buildSync()]); // prettier-ignore
    agent.write(done);
    await until('the COPY is done', () => arrived.includes('c'));
    backend.write(Buffer.concat([complete, ready]));
    await until('it has ended', ended);
    assert.deepEqual(arrived, ['Q', 'd', 'd', 'c']);
    assert.deepEqual(tags, ['G', 'C', 'Z', 'E']);
    agent.destroy();
    agent.end();
    await ran;
  });

  test('takes the rest of a long message', async () => {
    using spool = openSpool();
    const { session, agent, backend, arrived, ran, ended } = await start(spool);
    const tags = tagsAt(agent);
    const argument = Buffer.alloc(1_000_000, 'x');
    const call = buildMessage('F', int32(1), int16(0), int16(1), int32(argument.length), argument, int16(0)); // prettier-ignore
    let arrivedBytes = 0;
    backend.on('data', (chunk: Buffer) => (arrivedBytes += chunk.length));
    agent.write(call.subarray(0, 500_000));
    await until('its beginning is there', () => arrivedBytes > 100_000);
    session.stop(draining);
    agent.write(call.subarray(500_000));
    await until('all of it is there', () => arrived.includes('F'));
    backend.write(Buffer.concat([buildMessage('V', int32(-1)), ready]));
    await until('it has ended', ended);
    assert.deepEqual(tags, ['V', 'Z', 'E']);
    agent.destroy();
    agent.end();
    await ran;
  });

  test('has none any more when an operator kills it', async () => {
    using spool = openSpool();
    const { session, agent, backend, arrived, ran, cancels, ended } = await start(spool);
    agent.resume();
    agent.write(buildQuery('SELECT pg_sleep(100)'));
    await until('it runs', () => arrived.length === 1);
    session.stop(draining);
    session.stop(draining);
    assert.equal(cancels(), 0);
    session.stop(killed);
    assert.equal(cancels(), 1);
    backend.write(Buffer.concat([complete, ready]));
    assert.equal(await until('it has ended', ended), 'killed');
    agent.destroy();
    agent.end();
    await ran;
  });
});

describe('a request that takes too long', () => {
  const limited = {
    mode: 'Enforce',
    defaultAction: 'Allow',
    identity: 'Workload',
    limits: { requestDuration: '1ms' },
  };

  /** Starts a session whose request the backend does not answer, up to where that is too late. */
  async function startLate(spool: TestSpool): Promise<Ends & { readonly tags: readonly string[] }> {
    mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
    const ends = await start(spool, duplexPair(), limited);
    const tags = tagsAt(ends.agent);
    ends.agent.write(buildQuery('SELECT pg_sleep(100)'));
    while (ends.arrived.length === 0 || ends.cancels() === 0) {
      await new Promise((resolve) => setImmediate(resolve));
      mock.timers.tick(1); // what is too late is told by a clock that goes on
    }
    return { ...ends, tags };
  }

  test('is cancelled again and again, and ends its session where the backend does not end it', async (context) => {
    context.after(() => mock.timers.reset());
    using spool = openSpool();
    const { agent, ran, cancels, tags } = await startLate(spool);
    assert.equal(cancels(), 1);
    mock.timers.tick(1_000);
    assert.equal(cancels(), 11);
    assert.deepEqual(tags, []);
    mock.timers.tick(4_000);
    while (tags.length === 0) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(tags, ['E']);
    agent.destroy();
    agent.end();
    assert.equal(await ran, 'limit');
  });

  test('is not cancelled any more once it has ended, whatever it ended with', async (context) => {
    context.after(() => mock.timers.reset());
    using spool = openSpool();
    const { agent, backend, ran, cancels, tags } = await startLate(spool);
    backend.write(Buffer.concat([complete, ready]));
    while (tags.length < 2) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(tags, ['C', 'Z']);
    mock.timers.tick(10_000);
    assert.equal(cancels(), 1);
    agent.destroy();
    agent.end();
    assert.equal(await ran, 'agent-closed');
  });
});
