import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildExecute, buildQuery, buildSync } from '#core/postgres/frontend.ts';
import { bind, parse } from '../support/extended-query.ts';
import { denialsOf, endOf, resultsOf, startLimited, type Limited } from '../support/limited.ts';
import { until } from '../support/until.ts';

const isReady = (answer: string): boolean => answer.startsWith('Z');
const policy = 'AuditPolicy/local/limits-0';
const run = (text: string): readonly Buffer[] => [parse('', text), bind(''), buildExecute('', 0)];

describe('a Backend', () => {
  let limited: Limited;
  let stream: Server;
  const accepted: Socket[] = [];
  before(async () => {
    stream = createServer((socket) => {
      accepted.push(socket.on('error', () => undefined));
      socket.write('greeting');
    });
    stream.listen(0, '127.0.0.1');
    await once(stream, 'listening');
    const { port } = stream.address() as AddressInfo; // a TCP server's address is one
    limited = await startLimited((config) => {
      const backend = {
        apiVersion: 'chaperone.dev/v1alpha1',
        kind: 'Backend',
        metadata: { name: 'stream' },
        spec: {
          protocol: 'TCP',
          hosts: ['stream'],
          ports: [7],
          upstream: { address: `127.0.0.1:${port}`, tls: { mode: 'Disable' } },
          consumers: [{ namespace: 'local' }],
        },
      };
      writeFileSync(join(config, 'stream.yaml'), JSON.stringify(backend));
    });
  });
  after(async () => {
    await limited[Symbol.asyncDispose]();
    for (const socket of accepted) socket.destroy();
    stream.close();
  });

  /** Waits until so many statements wait for the lock that the test holds. */
  const waiting = (count: number): Promise<boolean> =>
    until(`${count} statements wait`, async () => {
      const { rows } = await limited.admin.query<{ count: string }>(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
      );
      return Number(rows[0]?.count) === count;
    });
  const locking = 'SELECT pg_advisory_xact_lock_shared(7)';
  const lock = (): Promise<unknown> => limited.admin.query('SELECT pg_advisory_lock(7)');
  const unlock = (): Promise<unknown> => limited.admin.query('SELECT pg_advisory_unlock(7)');

  // First: nothing else has been counted yet.
  test('takes so many statements a minute, and says when it takes more', async () => {
    await limited.limit({ limits: { statementsPerMinute: 5 } });
    const client = await limited.connect('statements');
    for (let count = 0; count < 3; count += 1) await client.query('SELECT 1');
    for (let count = 0; count < 2; count += 1) await client.query('SELECT $1::int', [count]);
    for (const values of [[], [1]])
      await assert.rejects(
        client.query(values.length > 0 ? 'SELECT $1::int' : 'SELECT 1', values),
        (error) => {
          assert.ok(error instanceof Error && 'code' in error && 'hint' in error);
          assert.equal(error.code, '53400');
          assert.match(error.message, /no more than 5 statements may begin here in a minute/);
          assert.match(String(error.hint), /^Try again in \d+ s\.$/);
          return true;
        },
      );
    await limited.limit({ limits: { statementsPerMinute: 100_000 } });
    assert.equal((await client.query('SELECT 1')).rows.length, 1);
    await client.end();
    const records = await limited.recordsOf('statements');
    assert.deepEqual(denialsOf(records), [`limit ${policy}`, `limit ${policy}`]);
    assert.deepEqual(
      resultsOf(records),
      Array.from({ length: 6 }, () => 'ok - - 1'),
    );
  });

  test('gives so many rows and bytes an hour, over all sessions', async () => {
    await limited.limit({ limits: { rowsPerHour: 100 } });
    const client = await limited.connect('hour');
    const other = await limited.connect('other hour');
    assert.equal((await client.query('SELECT generate_series(1, 60)')).rows.length, 60);
    await assert.rejects(other.query('SELECT generate_series(1, 60)'), { code: '53400' });
    for (const each of [client, other])
      await assert.rejects(each.query('SELECT 1'), { code: '53400', hint: /^Try again in \d+ s\.$/ }); // prettier-ignore
    await limited.limit({ limits: { bytesPerHour: 200_000 } });
    await assert.rejects(client.query("SELECT repeat('x', 300000)"), { code: '53400' });
    assert.equal((await client.query('SELECT 1')).rows.length, 1);
    await Promise.all([client.end(), other.end()]);
    const [result] = resultsOf(await limited.recordsOf('other hour'));
    assert.match(result ?? '', /^(error|incomplete) 53400 rowsPerHour 40$/);
  });

  test('has so many sessions at a time; one more is refused as a login is', async () => {
    await limited.limit({ limits: { sessions: 2 } });
    const open = [await limited.connect('first'), await limited.connect('second')];
    await assert.rejects(limited.connect('third'), (error) => {
      assert.ok(error instanceof Error && 'code' in error && 'severity' in error);
      assert.deepEqual([error.severity, error.code], ['FATAL', '53300']);
      assert.match(error.message, /no more than 2 sessions .*\(limit sessions of AuditPolicy\/local\/limits-0\)/); // prettier-ignore
      return true;
    });
    await open.pop()?.end();
    const again = await until('there is room', () => limited.connect('fourth').catch(() => undefined)); // prettier-ignore
    await Promise.all([again.end(), ...open.map((each) => each.end())]);
  });

  test('runs so many requests at a time, over all sessions', async () => {
    await limited.limit({ limits: { concurrentRequests: 2 } });
    const [one, two, three] = [
      await limited.connect('one'),
      await limited.connect('two'),
      await limited.connect('three'),
    ];
    await lock();
    const running = [one.query(locking), two.query(locking)];
    await waiting(2);
    await assert.rejects(three.query('SELECT 1'), {
      code: '53400',
      hint: 'Try again when another request has ended.',
    });
    await unlock();
    await Promise.all(running);
    assert.equal((await three.query('SELECT 1')).rows.length, 1);
    await Promise.all([one.end(), two.end(), three.end()]);
    assert.deepEqual(denialsOf(await limited.recordsOf('three')), [`limit ${policy}`]);
  });

  test('runs so many requests at a time of one that sends a hundred at once', async () => {
    await limited.limit({ limits: { concurrentRequests: 2 } });
    const client = await limited.connectRaw('hundred');
    await lock();
    client.send(...Array.from({ length: 100 }, () => buildQuery(locking)));
    await waiting(1);
    await unlock();
    let refused = 0;
    for (let count = 0; count < 100; count += 1) {
      const answers = await client.read(isReady);
      const errors = answers.filter((answer) => answer.startsWith('E'));
      refused += errors.length;
      for (const error of errors) assert.match(error, /C\|53400\|.*no more than 2 requests/);
      assert.equal(errors.length, count < 2 ? 0 : 1);
    }
    assert.equal(refused, 98);
    client.send(...run('SELECT 1'), ...run('SELECT 2'), ...run('SELECT 3'), buildSync());
    const piped = await client.read(isReady);
    assert.equal(piped.filter((answer) => answer.startsWith('D')).length, 2);
    assert.equal(piped.filter((answer) => answer.startsWith('E')).length, 1);
    client.send(buildQuery('SELECT 1'));
    assert.equal((await client.read(isReady)).filter((answer) => answer.startsWith('D')).length, 1);
    await client.end();
    assert.equal(denialsOf(await limited.recordsOf('hundred')).length, 99);
  });

  test('holds no place for a portal that waits for its agent, which has to find one to go on', async () => {
    await limited.limit({ limits: { concurrentRequests: 1 } });
    const portal = await limited.connectRaw('portal');
    const other = await limited.connect('beside a portal');
    portal.send(buildQuery('BEGIN'));
    await portal.read(isReady);
    portal.send(parse('', 'SELECT generate_series(1, 9)'), bind('', { portal: 'p' }), buildExecute('p', 2), buildSync()); // prettier-ignore
    await portal.read(isReady);
    await lock();
    const running = other.query(locking);
    await waiting(1);
    portal.send(buildExecute('p', 2), buildSync());
    const refused = await portal.read(isReady);
    assert.match(refused.join('\n'), /^E .*C\|53400\|.*no more than 1 requests.*\nZ E$/s);
    await unlock();
    await running;
    portal.send(buildQuery('ROLLBACK'));
    assert.equal((await portal.read(isReady)).at(-1), 'Z I');
    await Promise.all([portal.end(), other.end()]);
    const records = await limited.recordsOf('portal');
    assert.deepEqual(records.flatMap((each) => (each.kind === 'violation' ? [each.code] : [])), ['limit']); // prettier-ignore
  });

  const sleeping: readonly [name: string, frames: readonly Buffer[], end: string][] = [
    ['a query', [buildQuery('SELECT pg_sleep(60)')], 'Z I'],
    ['the extended protocol', [...run('SELECT pg_sleep(60)'), buildSync()], 'Z I'],
    ['a transaction', [buildQuery('BEGIN; SELECT pg_sleep(60)')], 'Z E'],
    ['a pipeline', [...run('SELECT 1'), ...run('SELECT pg_sleep(60)'), ...run('SELECT 3'), buildSync()], 'Z I'], // prettier-ignore
    ['a COPY that nobody sends data for', [buildQuery('COPY taken FROM STDIN')], 'Z I'],
  ];
  for (const [name, frames, end] of sleeping) {
    test(`cancels what takes too long, and the connection is usable: ${name}`, async () => {
      await limited.admin.query('CREATE TABLE IF NOT EXISTS taken (id int)');
      await limited.limit({ limits: { requestDuration: '300ms' } });
      const who = `slow ${name}`;
      const client = await limited.connectRaw(who);
      client.send(...frames);
      const answers = await client.read(isReady);
      assert.match(answers.join('\n'), /E S\|ERROR\|V\|ERROR\|C\|57014\|.*no longer than 300 ms \(limit requestDuration of AuditPolicy\/local\/limits-0\); this one was cancelled/); // prettier-ignore
      assert.equal(answers.at(-1), end);
      client.send(buildQuery('ROLLBACK'), buildQuery('SELECT 2'));
      await client.read(isReady);
      assert.equal((await client.read(isReady)).filter((answer) => answer.startsWith('D')).length, 1); // prettier-ignore
      await client.end();
      const results = resultsOf(await limited.recordsOf(who));
      assert.equal(results.filter((each) => each.startsWith('error 57014 requestDuration')).length, 1, results.join()); // prettier-ignore
    });
  }

  test('ends a session that lasts too long, with its open transaction', async () => {
    await limited.limit({ limits: { sessionDuration: '300ms' } });
    const client = await limited.connect('lasting');
    const ended = once(client, 'error');
    await client.query('BEGIN');
    const [error] = (await ended) as [Error & { code?: string; hint?: string }];
    assert.deepEqual([error.code, error.hint], ['57P01', 'Connect again.']);
    assert.match(error.message, /a session may last no longer than 300 ms/);
    assert.equal(endOf(await limited.recordsOf('lasting')), 'limit');
  });

  test('ends a session that is idle for too long, and not one that works', async () => {
    await limited.limit({ limits: { idle: '300ms' } });
    const client = await limited.connect('idle');
    const ended = once(client, 'error');
    await client.query('SELECT pg_sleep(1)');
    const [error] = (await ended) as [Error & { code?: string }];
    assert.equal(error.code, '57P01');
    assert.match(error.message, /a session may be idle no longer than 300 ms/);
    const records = await limited.recordsOf('idle');
    assert.deepEqual([endOf(records), ...resultsOf(records)], ['limit', 'ok - - 1']);
  });

  test('ends a session that is open already when its limit comes to hold', async () => {
    await limited.limit({ limits: { sessionDuration: '1h' } });
    const client = await limited.connect('open already');
    await client.query('SELECT 1');
    const ended = once(client, 'error');
    await limited.limit({ limits: { sessionDuration: '10ms' } });
    assert.match(String((await ended)[0]), /no longer than 10 ms/);
  });

  describe('of which only bytes are known', () => {
    const dial = async (): Promise<Socket> => {
      const { instance } = limited.through;
      const socket = connect(instance.instance.backends['stream']?.port ?? 0, '127.0.0.1');
      return socket.on('error', () => undefined).resume();
    };
    /** Ends of its sessions, the newest first. */
    const endsOf = async (count: number): Promise<(string | undefined)[]> => {
      const client = limited.through.instance.collector();
      const sessions = await until('its sessions are stored', async () => {
        const found = await client.sessions({ backend: 'stream' });
        return found.length >= count && found.every(({ endedAt }) => endedAt !== null) ? found : undefined; // prettier-ignore
      });
      return Promise.all(
        sessions.map(async ({ id }) => {
          const headers = [];
          for await (const { header } of client.frames(id)) headers.push(header);
          return [endOf(headers), ...resultsOf(headers)].join(', ');
        }),
      );
    };

    /** A connection that is cut is reset, so that nobody takes what came for all there was. */
    const ended = async (socket: Socket): Promise<void> => {
      await assert.rejects(once(socket, 'close'), { code: 'ECONNRESET' });
    };

    test('has sessions, durations and bytes all the same', async () => {
      // The policies of the example ask for a token, which a stream has no place for.
      writeFileSync(join(limited.through.instance.config, 'policies.yaml'), '');
      await limited.limit({ identity: 'Workload', limits: { sessions: 1, idle: '300ms' } });
      const first = await dial();
      await once(first, 'data');
      const second = await dial();
      await ended(second);
      await ended(first);
      await limited.limit({ identity: 'Workload', limits: { bytesPerSession: 100_000, requestDuration: '1ms', concurrentRequests: 1, sessionDuration: '10s' } }); // prettier-ignore
      const long = await dial();
      let received = 0;
      long.on('data', (chunk: Buffer) => (received += chunk.length));
      await once(long, 'data');
      accepted.at(-1)?.write(Buffer.alloc(1_000_000));
      await ended(long);
      assert.ok(received <= 100_000, String(received));
      assert.deepEqual(await endsOf(2), ['limit, incomplete - bytesPerSession 0', 'limit, incomplete - - 0']); // prettier-ignore
    });
  });
});
