import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildAuthenticationCleartextPassword, buildErrorResponse, buildReadyForQuery } from '#core/postgres/backend.ts'; // prettier-ignore
import { buildPassword, buildQuery, FrontendTag } from '#core/postgres/frontend.ts';
import { buildMessage } from '#core/postgres/reader.ts';
import { buildStartup } from '#core/postgres/startup.ts';
import { parseFrames } from '#core/record/frame.ts';
import type { RecordHeader } from '#core/record/kinds.ts';
import { startRawBackend, type RawBackend, type RawConnection } from '../support/raw-backend.ts';
import { startThrough, type Through } from '../support/through.ts';
import { until } from '../support/until.ts';

/** Logins that the agent makes itself, and the backend's answers, as the database that is named asks for them. */
describe('a relayed login', () => {
  let backend: RawBackend;
  let through: Through;
  const messages = new Map<string, number[]>();
  const asked = new Map<string, RawConnection>();
  before(async () => {
    backend = await startRawBackend((connection) => {
      const { database, socket } = connection;
      if (database === 'silent') return;
      if (database === 'closes') return void socket.end();
      const tags: number[] = [];
      messages.set(database, tags);
      connection.onMessage((tag) => {
        tags.push(tag);
        if (tag === FrontendTag.Password && database === 'refuses') {
          const error = { severity: 'FATAL', code: '28P01', message: 'no' } as const;
          socket.end(buildErrorResponse(error));
        }
        if (tag === FrontendTag.Query)
          socket.write(Buffer.concat([buildMessage('C', 'SELECT 0'), buildReadyForQuery('I')]));
      });
      if (database === 'honest') return connection.greet();
      asked.set(database, connection);
      socket.write(buildAuthenticationCleartextPassword());
      return undefined;
    });
    through = await startThrough(backend, { credential: 'relayed' });
    // The collector rests, so that the spool keeps every record.
    process.kill(through.instance.instance.pids.collector, 'SIGSTOP');
  });
  after(async () => {
    process.kill(through.instance.instance.pids.collector, 'SIGCONT');
    await through[Symbol.asyncDispose]();
    await backend[Symbol.asyncDispose]();
  });

  interface Dialled {
    readonly socket: Socket;
    readonly received: () => string;
  }
  const dial = async (parameters: Readonly<Record<string, string>>): Promise<Dialled> => {
    const socket = connect(through.port, through.host);
    socket.on('error', () => undefined); // 'close' follows
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    await once(socket, 'connect');
    socket.write(buildStartup(new Map(Object.entries({ user: 'agent', ...parameters }))));
    return { socket, received: () => text };
  };
  const headers = (): RecordHeader[] => {
    const spool = join(through.instance.data, 'spool');
    return readdirSync(spool, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.frames'))
      .flatMap((name) => [...parseFrames(readFileSync(join(spool, name)))])
      .map(({ header }) => header);
  };
  const ends = (): string[] =>
    headers().flatMap((header) => (header.kind === 'session.end' ? [header.reason] : []));
  const failures = (): string[] =>
    headers().flatMap((header) => (header.kind === 'auth.failed' ? [header.reason] : []));
  const metric = async (name: string): Promise<number> => {
    const text = await (await fetch(through.instance.instance.sidecar.metricsUrl)).text();
    return Number(text.split('\n').find((line) => line.startsWith(`${name} `))?.slice(name.length + 1) ?? 0); // prettier-ignore
  };
  const log = (): string => readFileSync(join(through.instance.data, 'log/sidecar.log'), 'utf8');
  const refused = 'chaperone_logins_total{outcome="refused"}';
  const refusedConnections = 'chaperone_connections_total{protocol="Postgres",outcome="refused"}';

  test('that the agent leaves to ask for a password ends as its own doing', async () => {
    const before = ends().length;
    const { socket, received } = await dial({ database: 'asks' });
    await until('it is asked for a password', () => received().startsWith('R'));
    socket.end();
    await until('the session has ended', () => ends().length > before);
    assert.equal(ends().at(-1), 'agent-closed');
    assert.equal(failures().length, 0);
  });

  test('that the backend leaves ends as the backend’s doing', async () => {
    const before = ends().length;
    const { received } = await dial({ database: 'closes' });
    await until('the session has ended', () => ends().length > before);
    assert.equal(ends().at(-1), 'backend-login-failed');
    await until('it is told', () => received().includes('C08004'));
  });

  test('that the backend refuses leaves a record of the failed login', async () => {
    const before = failures().length;
    const { socket } = await dial({ database: 'refuses' });
    socket.write(buildPassword('wrong'));
    await until('it is recorded', () => failures().length > before);
    assert.equal(failures().at(-1), 'refused by the backend');
  });

  test('holds back what the agent sends behind its password until the session is up and it is recorded', async () => {
    const { socket, received } = await dial({ database: 'held' });
    socket.write(Buffer.concat([buildPassword('right'), buildQuery('SELECT 1')]));
    await until('the password is there', () => (messages.get('held') ?? []).length > 0);
    // Another agent is served from its login to its answer meanwhile.
    const other = await dial({ database: 'honest' });
    other.socket.write(buildQuery('SELECT 2'));
    await until('the other is answered', () => other.received().includes('SELECT 0'));
    other.socket.destroy();
    assert.deepEqual(messages.get('held'), [FrontendTag.Password]);
    const requests = headers().filter(({ kind }) => kind === 'request').length;
    assert.equal(requests, 1); // the other's
    asked.get('held')?.greet();
    await until('the query is answered', () => received().includes('SELECT 0'));
    assert.deepEqual(messages.get('held'), [FrontendTag.Password, FrontendTag.Query]);
    assert.equal(headers().filter(({ kind }) => kind === 'request').length, 2);
    socket.destroy();
  });

  test('has no place for anything but the answer that was asked for', async () => {
    const before = ends().length;
    const { socket, received } = await dial({ database: 'instead' });
    socket.write(buildQuery('SELECT 1'));
    await until('the session has ended', () => ends().length > before);
    assert.equal(ends().at(-1), 'protocol-violation');
    assert.equal(failures().at(-1), 'protocol violation');
    assert.deepEqual(messages.get('instead'), []);
    await until('it is told', () => received().includes('C08P01'));
  });

  test('for replication is refused, recorded, counted and logged', async () => {
    const [logins, connections] = [await metric(refused), await metric(refusedConnections)];
    const { received } = await dial({ database: 'honest', replication: 'database' });
    await until('it is told', () => received().includes('C0A000'));
    await until('it is recorded', () => failures().at(-1) === 'replication');
    assert.equal(await metric(refused), logins + 1);
    await until(
      'the connection is counted',
      async () => (await metric(refusedConnections)) === connections + 1,
    );
    assert.match(log(), /"reason":"replication".*"a login was refused"/);
  });

  test('at a backend that stays silent ends as such, and the operator is told', async () => {
    const before = ends().length;
    const { received } = await dial({ database: 'silent' });
    await until('the session has ended', () => ends().length > before, 60_000);
    assert.equal(ends().at(-1), 'login-timeout');
    assert.equal(failures().at(-1), 'timeout');
    await until('it is told', () => received().includes('C08006'));
    assert.match(log(), /the login took too long.*"a connection to a backend failed"/);
  });
});
