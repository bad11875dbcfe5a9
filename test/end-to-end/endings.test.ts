import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { Client, DatabaseError } from 'pg';
import { buildQuery } from '#core/postgres/frontend.ts';
import type { RecordHeader } from '#core/record/kinds.ts';
import { projectDirectory } from '../../cli/instance.ts';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { startInstance, verifyAll } from '../support/instance.ts';
import { RawClient } from '../support/raw-client.ts';
import { startThrough, type Through } from '../support/through.ts';
import { until } from '../support/until.ts';

const run = promisify(execFile);

describe('a session that is stopped', () => {
  let server: BackendServer;
  let through: Through;
  let direct: Client;
  before(async () => {
    server = await startBackendServer({ version: 15 });
    through = await startThrough(server);
    direct = new Client({ ...server, database: 'postgres' });
    await direct.connect();
    await direct.query('CREATE TABLE effects (what text)');
  });
  after(async () => {
    await direct.end();
    await through[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  interface Agent {
    readonly client: Client;
    /** Backend process, as the server says. */
    readonly pid: number;
    /** Settles with the error that ended the connection. */
    readonly ended: Promise<DatabaseError>;
  }

  async function open(password = through.password): Promise<Agent> {
    const { host, port } = through;
    const client = new Client({ host, port, user: 'agent', database: 'postgres', password });
    const ended = new Promise<DatabaseError>((resolve) => {
      client.on('error', (error) => {
        if (error instanceof DatabaseError) resolve(error); // what follows is the closed connection
      });
    });
    await client.connect();
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    return { client, pid: rows[0]?.pid ?? 0, ended };
  }

  const runs = async (pid: number): Promise<boolean> => {
    const { rows } = await direct.query<{ state: string }>(
      'SELECT state FROM pg_stat_activity WHERE pid = $1',
      [pid],
    );
    return rows[0]?.state === 'active';
  };

  /** Starts a statement, says that nothing further comes, as an agent's process does that is killed, and returns its pid. */
  async function leave(text: string): Promise<number> {
    const { host, port, password } = through;
    const agent = await RawClient.connect({ host, port, user: 'agent', database: 'postgres', password }); // prettier-ignore
    agent.send(buildQuery(text));
    agent.end().catch(() => undefined); // what is answered does not matter
    return until('it runs', async () => {
      const { rows } = await direct.query<{ pid: number }>(
        "SELECT pid FROM pg_stat_activity WHERE query = $1 AND state = 'active'",
        [text],
      );
      return rows[0]?.pid;
    });
  }

  /** The records of the session that a backend process has served, once they are all stored. */
  const recordsOf = (pid: number, whole = true): Promise<RecordHeader[]> =>
    until(`the session of backend process ${pid} is stored`, async () => {
      const client = through.instance.collector();
      for (const { id, endedAt } of await client.sessions({})) {
        if (whole && endedAt === null) continue;
        const headers: RecordHeader[] = [];
        for await (const { header } of client.frames(id)) headers.push(header);
        if (headers.some((header) => 'backendPid' in header && header.backendPid === pid))
          return headers;
      }
      return undefined;
    });

  const sessionOf = async (pid: number): Promise<string> =>
    (await recordsOf(pid, false))[0]?.session ?? '';

  const endOf = (headers: readonly RecordHeader[]): string | undefined =>
    headers.flatMap((header) => (header.kind === 'session.end' ? [header.reason] : []))[0];

  const resultsOf = (headers: readonly RecordHeader[]): (string | undefined)[] =>
    headers.flatMap((header) =>
      header.kind === 'result'
        ? [`${header.status} ${header['db.response.status_code'] ?? ''}`.trim()]
        : [],
    );

  const kill = (
    id: string,
    data = through.instance.data,
  ): Promise<{ stdout: string; stderr: string }> => {
    const main = join(projectDirectory, 'cli/main.ts');
    return run(process.execPath, [main, 'sessions', 'kill', id, '--data', data]);
  };

  describe('because its token expires', () => {
    test('while it is idle, is told so', async () => {
      const { pid, ended } = await open(await through.instance.token({ ttl: '2' }));
      const { severity, code, message } = await ended;
      assert.deepEqual([severity, code], ['FATAL', '57P01']);
      assert.match(message, /the token of this session has expired/);
      assert.equal(endOf(await recordsOf(pid)), 'token-expired');
    });

    test('has a while for the statement that runs, whose answer comes', async () => {
      const { client, pid, ended } = await open(await through.instance.token({ ttl: '2' }));
      const { rows } = await client.query("SELECT 'answered' AS what FROM pg_sleep(4)");
      assert.deepEqual(rows, [{ what: 'answered' }]);
      assert.equal((await ended).code, '57P01');
      assert.deepEqual(resultsOf(await recordsOf(pid)), ['ok', 'ok']);
    });

    test('does not leave a statement running that takes longer', async () => {
      const { client, pid, ended } = await open(await through.instance.token({ ttl: '2' }));
      await assert.rejects(client.query('SELECT pg_sleep(120)'), { code: '57014' });
      assert.equal((await ended).code, '57P01');
      assert.equal(await runs(pid), false);
      assert.deepEqual(resultsOf(await recordsOf(pid)), ['ok', 'error 57014']);
    });
  });

  describe('by an operator', () => {
    test('while it is idle, is told so', async () => {
      const { pid, ended } = await open();
      const session = await sessionOf(pid);
      assert.equal((await kill(session)).stdout, `session ${session} is being ended; what it runs is cancelled\n`); // prettier-ignore
      const { severity, code, message } = await ended;
      assert.deepEqual([severity, code], ['FATAL', '57P01']);
      assert.match(message, /an operator has ended this session/);
      assert.equal(endOf(await recordsOf(pid)), 'killed');
    });

    test('runs nothing any more, of all that was sent', async () => {
      const { host, port, password } = through;
      const raw = await RawClient.connect({
        host,
        port,
        password,
        user: 'agent',
        database: 'postgres',
      });
      raw.send(
        buildQuery('SELECT pg_backend_pid()'),
        buildQuery('SELECT pg_sleep(120)'),
        ...Array.from({ length: 5 }, () =>
          buildQuery("INSERT INTO effects SELECT 'after the kill' FROM pg_sleep(20)"),
        ),
      );
      const shown = await raw.read((answer) => answer.startsWith('D'));
      const pid = Number(/\d+$/.exec(shown.at(-1) ?? '')?.[0]);
      await until('it runs', () => runs(pid));
      await kill(await sessionOf(pid));
      const answers = await raw.end();
      assert.match(answers.at(-1) ?? '', /FATAL.*57P01/);
      await until('the process is gone', async () => !(await runs(pid)));
      const { rows } = await direct.query("SELECT FROM effects WHERE what = 'after the kill'");
      assert.equal(rows.length, 0);
      const headers = await recordsOf(pid);
      assert.equal(endOf(headers), 'killed');
      assert.equal(resultsOf(headers)[0], 'ok');
      assert.equal(resultsOf(headers)[1], 'error 57014');
    });

    test('does not finish a COPY', async () => {
      const { host, port, password } = through;
      const raw = await RawClient.connect({
        host,
        port,
        password,
        user: 'agent',
        database: 'postgres',
      });
      raw.send(buildQuery('SELECT pg_backend_pid()'));
      const shown = await raw.read((answer) => answer.startsWith('Z'));
      const pid = Number(/\d+$/.exec(shown.find((answer) => answer.startsWith('D')) ?? '')?.[0]);
      raw.send(buildQuery('COPY effects FROM STDIN'));
      await raw.read((answer) => answer.startsWith('G'));
      raw.send(Buffer.from('d\0\0\0\x09copy\n', 'latin1'));
      await kill(await sessionOf(pid));
      assert.match((await raw.end()).at(-1) ?? '', /FATAL.*57P01/);
      await until('the process is gone', async () => !(await runs(pid)));
      const { rows } = await direct.query("SELECT FROM effects WHERE what = 'copy'");
      assert.equal(rows.length, 0);
      assert.deepEqual(resultsOf(await recordsOf(pid)), ['ok', 'incomplete']);
    });

    test('is found by the beginning of its id, when that is of no other', async () => {
      const first = await open();
      const second = await open();
      const ids = [await sessionOf(first.pid), await sessionOf(second.pid)];
      // Ids that are made within a minute begin alike.
      const common = ids[0]?.slice(0, 8) ?? '';
      if (ids[1]?.startsWith(common) === true)
        await assert.rejects(kill(common), { code: 1, stderr: /more than one open session/ });
      const [mine = '', other = ''] = ids;
      const length = 1 + Array.from(mine).findIndex((digit, index) => digit !== other[index]);
      await kill(mine.slice(0, Math.max(8, length)));
      assert.equal((await first.ended).code, '57P01');
      assert.equal((await second.client.query('SELECT 1')).rowCount, 1);
      await second.client.end();
    });

    const wrong: [id: string, code: number, stderr: RegExp][] = [
      ['00000000-0000-7000-8000-000000000000', 1, /no open session has an id that begins with/],
      ['0', 2, /want the id of a session/],
      ['../../etc/passwd', 2, /want the id of a session/],
    ];
    for (const [id, code, stderr] of wrong) {
      test(`is not what "${id}" means`, async () => {
        await assert.rejects(kill(id), { code, stderr });
      });
    }
  });

  describe('over a socket', () => {
    test('that is for its owner alone', () => {
      const { adminSocket } = through.instance.instance.sidecar;
      const { mode } = statSync(adminSocket);
      assert.equal((mode & 0o777).toString(8), '600');
      assert.equal(statSync(dirname(adminSocket)).mode & 0o022, 0);
    });

    test('that has a place when the data are deep in the file system', async () => {
      const data = mkdtempSync(join(tmpdir(), `chaperone-${'deep-'.repeat(25)}`));
      chmodSync(data, 0o755); // root's PostgreSQL runs under an account of its own
      await using instance = await startInstance({ data });
      const { adminSocket } = instance.instance.sidecar;
      assert.equal((statSync(adminSocket).mode & 0o777).toString(8), '600');
      const nobody = '00000000-0000-7000-8000-000000000000';
      const asked = kill(nobody, data);
      await assert.rejects(asked, { code: 1, stderr: /no open session has an id/ });
      await instance.stop();
      rmSync(data, { recursive: true });
    });

    const hostile: [what: string, bytes: Buffer | string][] = [
      ['nothing', ''],
      ['an empty line', '\n'],
      ['no JSON', 'kill everything\n'],
      ['JSON that is no object', '[1]\n'],
      ['null', 'null\n'],
      ['another command', '{"command":"drain","session":"00000000"}\n'],
      ['an id that is no text', '{"command":"kill","session":{"startsWith":1}}\n'],
      ['an empty id, with which every id begins', '{"command":"kill","session":""}\n'],
      ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x00, 0x0a])],
      ['a request without end', 'x'.repeat(1_000_000)],
      ['two requests', '{"command":"kill","session":""}\n{"command":"kill","session":""}\n'],
    ];
    for (const [what, bytes] of hostile) {
      test(`is not stopped by ${what}`, async () => {
        const { client } = await open();
        const { adminSocket } = through.instance.instance.sidecar;
        const { sidecar } = through.instance.instance.pids;
        const socket = connect(adminSocket);
        socket.on('error', () => undefined); // being reset is an answer too
        const closed = new Promise((resolve) => socket.once('close', resolve));
        let answer = '';
        socket.setEncoding('utf8').on('data', (text: string) => (answer += text));
        socket.end(bytes);
        await closed;
        assert.equal(answer, '');
        assert.equal((await client.query('SELECT 1')).rowCount, 1);
        assert.equal(through.instance.instance.pids.sidecar, sidecar);
        await client.end();
      });
    }
  });

  test('because the sidecar stops, has a while; all of it is recorded and shipped', async () => {
    const [short, long, idle] = [await open(), await open(), await open()];
    const answered = short.client.query("SELECT 'answered' AS what FROM pg_sleep(2)");
    const cancelled = assert.rejects(long.client.query('SELECT pg_sleep(120)'), { code: '57014' });
    const left = await leave("SELECT 'of one who left', pg_sleep(3)");
    await until('both run', async () => (await runs(short.pid)) && (await runs(long.pid)));
    const { stream } = await until('a session is stored', async () => {
      const [session] = await through.instance.collector().sessions({});
      return session;
    });
    const { sidecar } = through.instance.instance.pids;
    process.kill(sidecar, 'SIGTERM');
    assert.match((await idle.ended).message, /the gateway is shutting down/);
    assert.deepEqual((await answered).rows, [{ what: 'answered' }]);
    await cancelled;
    for (const { ended } of [short, long, idle]) assert.equal((await ended).code, '57P01');
    assert.equal(await runs(long.pid), false);
    await until('the sidecar is started again', () => {
      const now = through.instance.instance.pids.sidecar;
      return now !== sidecar;
    });
    assert.deepEqual(resultsOf(await recordsOf(short.pid)), ['ok', 'ok']);
    assert.deepEqual(resultsOf(await recordsOf(long.pid)), ['ok', 'error 57014']);
    for (const { pid } of [short, long, idle])
      assert.equal(endOf(await recordsOf(pid)), 'draining');
    // Nobody waits for this one, and in a pod there may be two seconds left for all that is to be recorded.
    assert.deepEqual(resultsOf(await recordsOf(left)), ['error 57014']);
    // Nothing comes behind the sessions but the end of the stream, with what signs it.
    const client = through.instance.collector();
    const last = Math.max(...(await recordsOf(long.pid)).map(({ seq }) => seq));
    const behind: string[] = [];
    for await (const { header } of client.framesOf(`/v1/streams/${stream}/frames?from=${last + 1}`))
      if (header.kind !== 'checkpoint') behind.push(header.kind);
    assert.deepEqual(behind, ['stream.end']);
    const log = readFileSync(join(through.instance.data, 'log/sidecar.log'), 'utf8');
    assert.match(log, /stopped; the spool is shipped/);
    assert.deepEqual(await verifyAll(through.instance), ['consistent']);
  });
});
