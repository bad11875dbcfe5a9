import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { UpstreamTls } from '#core/policy/resources.ts';
import { createLocalCa } from '../../cli/dev/certificates.ts';
import type { LaneHost, Target } from '../../sidecar/lane.ts';
import { connectToBackend } from '../../sidecar/postgres/backend-connection.ts';
import { logInToBackend } from '../../sidecar/postgres/backend-login.ts';
import { startBackendServer, type Authentication } from '../support/backend-server.ts';
import { metricOf } from '../support/metrics.ts';
import { psql } from '../support/psql.ts';
import { waitForSessions } from '../support/results.ts';
import { startThrough } from '../support/through.ts';

const who =
  'SELECT current_user, current_database(), (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())';
const quiet = ['-At'];

describe('logins at a backend', () => {
  const ways: [version: 15 | 18, authentication: Authentication, tls: UpstreamTls['mode']][] = [
    [15, 'scram-sha-256', 'Disable'],
    [15, 'scram-sha-256', 'Require'],
    [18, 'scram-sha-256', 'VerifyFull'],
    [15, 'md5', 'Disable'],
    [18, 'md5', 'VerifyCA'],
    [15, 'password', 'VerifyFull'],
    [18, 'password', 'Disable'],
    [18, 'trust', 'VerifyFull'],
  ];
  for (const [version, authentication, tls] of ways) {
    test(`by ${authentication}, TLS ${tls}, PostgreSQL ${version}`, async () => {
      await using server = await startBackendServer({
        version,
        authentication,
        tls: tls !== 'Disable',
      });
      await using through = await startThrough(server, { tls });
      const answer = await psql({ ...through, user: 'anybody' }, who, quiet);
      assert.equal(
        answer.out.trim(),
        `postgres|postgres|${tls === 'Disable' ? 'f' : 't'}`,
        answer.err,
      );
    });
  }

  test('by a client certificate, mapped to the role and database that the Backend names', async () => {
    await using server = await startBackendServer({
      version: 18,
      authentication: 'cert',
      tls: true,
    });
    const { key, cert } = await server.clientCertificate('postgres');
    const credential = {
      type: 'ClientCertificate',
      username: 'postgres',
      certificate: cert,
      key,
    } as const;
    const databaseMapping = [{ database: 'shop', upstreamDatabase: 'template1' }];
    await using through = await startThrough(server, {
      credential,
      spec: { postgres: { databaseMapping } },
    });
    const answer = await psql({ ...through, user: 'anybody', database: 'shop' }, who, quiet);
    assert.equal(answer.out.trim(), 'postgres|template1|t', answer.err);
  });

  test('are bound to the TLS connection where SCRAM-SHA-256-PLUS is offered', async () => {
    await using server = await startBackendServer({ version: 15, tls: true });
    const signal = AbortSignal.timeout(10_000);
    const logIn = async (change: (endPoint: Buffer) => Buffer): Promise<void> => {
      const target = { backend: { upstream: { host: 'localhost', tls: { mode: 'Require' } } } };
      const dial = async (): Promise<Socket> => {
        const socket = connect(server.port, server.host);
        await once(socket, 'connect');
        return socket;
      };
      // Of the host and the target the connection needs no more than this.
      const connection = await connectToBackend(
        target as Target,
        { dial } as unknown as LaneHost,
        signal,
      );
      const endPoint = change(connection.endPoint ?? Buffer.alloc(0));
      const { user: username, password } = server;
      const credential = { type: 'Password', username, password } as const;
      const parameters = new Map([['user', username], ['database', username]]); // prettier-ignore
      try {
        await logInToBackend({ ...connection, endPoint }, { credential, parameters, signal });
      } finally {
        connection.socket.destroy();
      }
    };
    await logIn((endPoint) => endPoint);
    await assert.rejects(
      logIn((endPoint) => Buffer.alloc(endPoint.length, 1)),
      {
        code: 'backend-login-failed',
      },
    );
    assert.match(server.log(), /channel binding check failed/);
  });

  test('are not made where the certificate is not the one that the resource asks for', async () => {
    await using server = await startBackendServer({ version: 18, tls: true });
    const { certificate: ca } = await createLocalCa(Date.now());
    await using through = await startThrough(server, { tls: 'VerifyCA', ca });
    const answer = await psql(through, 'SELECT 1', quiet);
    assert.equal(answer.code, 2);
    assert.match(answer.err, /could not be reached/);
    assert.doesNotMatch(answer.err, /certificate/); // none of the agent's business
  });

  test('are not made in plain text with a server that has no TLS', async () => {
    await using server = await startBackendServer({ version: 15 });
    await using through = await startThrough(server, { tls: 'Require' });
    assert.equal((await psql(through, 'SELECT 1', quiet)).code, 2);
    assert.doesNotMatch(server.log(), /connection authorized/);
  });
});

describe('logins of agents', () => {
  test('by TLS and without, up to verify-full with the CA of the start', async () => {
    await using server = await startBackendServer({ version: 18 });
    await using through = await startThrough(server);
    const { caFile } = through.instance.instance.sidecar;
    for (const settings of [
      'sslmode=disable',
      'sslmode=require',
      `sslmode=verify-full sslrootcert=${caFile}`,
    ]) {
      const answer = await psql({ ...through, settings }, 'SELECT 1', quiet);
      assert.equal(answer.out.trim(), '1', `${settings}: ${answer.err}`);
    }
    const { certificate } = await createLocalCa(Date.now());
    const otherCa = join(through.instance.config, 'other-ca.crt');
    writeFileSync(otherCa, certificate);
    const settings = `sslmode=verify-full sslrootcert=${otherCa}`;
    const wrong = await psql({ ...through, settings }, 'SELECT 1', quiet);
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /SSL error: certificate verify failed/);
  });

  test('say why they were refused inside the TLS that the agent asked for', async () => {
    await using server = await startBackendServer({ version: 18 });
    await using through = await startThrough(server);
    const answer = await psql(
      { ...through, password: 'wrong', settings: 'sslmode=require' },
      'SELECT 1',
      quiet,
    );
    assert.match(answer.err, /FATAL: {2}chaperone: the login was not accepted/);
  });

  const relayed: [version: 15 | 18, authentication: Authentication, tls: boolean][] = [
    [15, 'scram-sha-256', false],
    [18, 'scram-sha-256', true],
    [15, 'md5', false],
    [18, 'password', true],
  ];
  for (const [version, authentication, tls] of relayed) {
    test(`are relayed where Chaperone holds none: ${authentication}, TLS ${tls ? 'on' : 'off'}, PostgreSQL ${version}`, async () => {
      await using server = await startBackendServer({ version, authentication, tls });
      await using through = await startThrough(server, { credential: 'relayed' });
      const right = await psql(through, who, quiet);
      assert.equal(right.out.trim(), `postgres|postgres|${tls ? 't' : 'f'}`, right.err);
      const settings = 'sslmode=require channel_binding=disable';
      assert.equal((await psql({ ...through, settings }, 'SELECT 1', quiet)).out.trim(), '1');
      const wrong = await psql({ ...through, password: 'wrong' }, who, quiet);
      assert.match(wrong.err, /password authentication failed for user "postgres"/);
      const refused = await metricOf(through.instance, 'chaperone_logins_total', 'refused');
      // By default libpq tries with TLS first, and again without when that is refused: here by the backend, or by
      // Chaperone where the login would have been bound to a TLS connection.
      const bound = authentication === 'scram-sha-256' && tls;
      assert.equal(refused, bound ? 3 : 2);
      await waitForSessions(through.instance);
      const sessions = await through.instance.collector().sessions({});
      assert.equal(sessions.length, bound ? 5 : 4);
    });
  }
});
