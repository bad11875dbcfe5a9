import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { Client } from 'pg';
import type { BackendCredential } from '#core/control.ts';
import { buildErrorResponse, buildReadyForQuery } from '#core/postgres/backend.ts';
import { FrontendTag } from '#core/postgres/frontend.ts';
import { buildMessage, int16, int32 } from '#core/postgres/reader.ts';
import type { LaneHost, Target } from '../../../../sidecar/lane.ts';
import { DatabaseCatalogue } from '../../../../sidecar/postgres/catalogue/database-catalogue.ts';
import { Databases } from '../../../../sidecar/postgres/catalogue/databases.ts';
import { dial } from '../../../../sidecar/upstream.ts';
import { startBackendServer, type BackendServer } from '../../../support/backend-server.ts';
import { startRawBackend, type RawBackend } from '../../../support/raw-backend.ts';
import { until } from '../../../support/until.ts';

const routes = {
  connectTo: new Map(),
  lookupFor: undefined,
  isDenied: () => false,
  trustsLoopback: true,
};

let dials = 0;
const warnings: string[] = [];

// Of the target and the host a catalogue needs no more than this.
function hostOf(credential: BackendCredential): LaneHost {
  return {
    dial: (backend: Target['backend'], signal: AbortSignal) => {
      dials += 1;
      return dial(backend, routes, signal);
    },
    trustsLoopback: true,
    credential: () => credential,
    warn: (_target: Target, error: Error) => warnings.push(error.message),
  } as unknown as LaneHost;
}

function targetOf(port: number, credential: object | undefined = {}): Target {
  const upstream = { host: '127.0.0.1', port, tls: { mode: 'Disable', ca: undefined } };
  return { backend: { name: 'shop', upstream, credential } } as unknown as Target;
}

afterEach(() => {
  dials = 0;
  warnings.length = 0;
});

for (const version of [18, 15] as const)
  describe(`the catalogue of a database of PostgreSQL ${version}`, () => {
    let server: BackendServer;
    let client: Client;
    let host: LaneHost;
    const databases = new Databases();
    before(async () => {
      server = await startBackendServer({ version });
      const { host: address, port, user, password } = server;
      client = new Client({ host: address, port, user, password, database: 'postgres' });
      await client.connect();
      await client.query('create role reader login password $$secret$$');
      await client.query('create table first (a int); create view seen as table first');
      host = hostOf({ type: 'Password', username: 'reader', password: 'secret' });
    });
    after(async () => {
      databases.stop();
      await client.end();
      await server[Symbol.asyncDispose]();
    });
    const connections = async (): Promise<number> => {
      const { rows } = await client.query<{ count: string }>(
        "select count(*) from pg_stat_activity where application_name = 'chaperone'",
      );
      return Number(rows[0]?.count);
    };

    test('is read by any login, for all sessions at once', async () => {
      const target = targetOf(server.port);
      const uses = Array.from({ length: 5 }, () => databases.use(target, host, 'postgres'));
      await uses[0]?.catalogue.load();
      const { current } = uses[4]?.catalogue ?? {};
      assert.equal(current?.relations('public', 'seen')[0]?.view.uses[0]?.relation.name, 'first');
      assert.equal(await connections(), 1);
      for (const use of uses) use.release();
      assert.deepEqual(warnings, []);
    });

    test('is kept for a while when the last session is gone', () => {
      const use = databases.use(targetOf(server.port), host, 'postgres');
      assert.ok(use.catalogue.current);
      use.release();
      use.release();
      assert.equal(use.catalogue.users, 0);
    });

    test('is another one in another database', async () => {
      const use = databases.use(targetOf(server.port), host, 'template1');
      await use.catalogue.load();
      assert.deepEqual(use.catalogue.current?.relations('public', 'first'), []);
      use.release();
    });

    test('is that of a load which began after it was asked for', async () => {
      const { catalogue, release } = databases.use(targetOf(server.port), host, 'postgres');
      for (let round = 0; round < 5; round += 1) {
        void catalogue.load(); // what it sees is older than the table
        await client.query(`create table later_${round} (a int)`);
        await Promise.all([catalogue.load(), catalogue.load(), catalogue.load()]);
        assert.equal(catalogue.current?.relations('public', `later_${round}`).length, 1);
      }
      release();
    });

    test('is read over a new connection when the last was ended', async () => {
      const { catalogue, release } = databases.use(targetOf(server.port), host, 'postgres');
      await catalogue.load();
      await client.query(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'chaperone'",
      );
      await client.query('create table after_all (a int)');
      await until('it is read', async () => {
        await catalogue.load();
        return catalogue.current?.relations('public', 'after_all').length === 1;
      });
      release();
    });

    test('is not there where the login is refused, and that is said once for a while', async () => {
      const wrong = hostOf({ type: 'Password', username: 'reader', password: 'wrong' });
      const catalogue = new DatabaseCatalogue({
        target: targetOf(server.port),
        host: wrong,
        database: 'postgres',
      });
      for (let attempt = 0; attempt < 20; attempt += 1) await catalogue.load();
      assert.equal(catalogue.current, undefined);
      assert.equal(warnings.length, dials);
      assert.match(warnings[0] ?? '', /could not be read/);
      assert.ok(dials < 3, `${dials} attempts`);
      catalogue.close();
    });

    test('closes its connections when it stops', async () => {
      databases.stop();
      await until('none is left', async () => (await connections()) === 0);
    });
  });

describe('a catalogue', () => {
  let backend: RawBackend | undefined;
  afterEach(async () => {
    await backend?.[Symbol.asyncDispose]();
  });
  const host = hostOf({ type: 'Password', username: 'reader', password: 'secret' });
  const cell = Buffer.alloc(500_000, 'x');
  const answers: [title: string, answer: Buffer, warning: RegExp][] = [
    [
      'of a backend that answers with an error',
      buildErrorResponse({ severity: 'ERROR', code: '42501', message: 'not for you' }),
      /not for you \(SQLSTATE 42501\)/,
    ],
    [
      'of a backend that answers without end',
      Buffer.concat(
        Array.from({ length: 100 }, () => buildMessage('D', int16(1), int32(cell.length), cell)),
      ),
      /an answer without end/,
    ],
    ['of a backend that sends huge messages', Buffer.from('447fffffff', 'hex'), /found a message/],
    ['of a backend that speaks nonsense', buildMessage('G', Buffer.from([0, 0, 0])), /unexpected/],
    ['of a backend with rows that lie', buildMessage('D', int16(7)), /does not hold/],
  ];
  for (const [title, answer, warning] of answers)
    test(`${title} is not there`, async () => {
      backend = await startRawBackend(({ socket, greet, onMessage }) => {
        onMessage((tag) => {
          if (tag === FrontendTag.Query) socket.write(answer);
        });
        greet();
      });
      const catalogue = new DatabaseCatalogue({
        target: targetOf(backend.port),
        host,
        database: 'postgres',
      });
      await catalogue.load();
      assert.equal(catalogue.current, undefined);
      assert.equal(warnings.length, 1);
      assert.match(warnings[0] ?? '', warning);
      catalogue.close();
    });

  test('of a backend that answers nothing ends with its use', async () => {
    const asked = Promise.withResolvers<void>();
    backend = await startRawBackend(({ greet, onMessage }) => {
      onMessage((tag) => {
        if (tag === FrontendTag.Query) asked.resolve();
      });
      greet();
    });
    const { open } = backend;
    const catalogue = new DatabaseCatalogue({
      target: targetOf(backend.port),
      host,
      database: 'postgres',
    });
    const loading = catalogue.load();
    await asked.promise;
    catalogue.close();
    await loading;
    await until('the connection is closed', () => open.size === 0);
    assert.deepEqual([catalogue.current, warnings], [undefined, []]);
  });

  test('without a credential is never there, and nobody is dialled', async () => {
    const databases = new Databases();
    const target = { backend: { ...targetOf(1).backend, credential: undefined } } as Target;
    const { catalogue, release } = databases.use(target, host, 'postgres');
    await catalogue.load();
    assert.deepEqual([catalogue.current, dials, warnings], [undefined, 0, []]);
    release();
    databases.stop();
  });

  test('of an empty answer knows nothing', async () => {
    backend = await startRawBackend(({ socket, greet, onMessage }) => {
      onMessage((tag) => {
        if (tag === FrontendTag.Query) socket.write(buildReadyForQuery('T'));
      });
      greet();
    });
    const target = targetOf(backend.port);
    const catalogue = new DatabaseCatalogue({ target, host, database: 'postgres' });
    await catalogue.load();
    assert.deepEqual(catalogue.current?.relations('public', 'first'), []);
    catalogue.close();
  });
});
