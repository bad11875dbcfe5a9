import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { startBackendServer, type Authentication, type BackendServer } from '../support/backend-server.ts'; // prettier-ignore
import { allSessions } from '../support/instance.ts';
import { findSecret } from '../support/secret-search.ts';
import { startThrough, type Through } from '../support/through.ts';
import { until } from '../support/until.ts';

/** A way to a server on which all that both sides say is heard. */
async function listenIn(to: { readonly host: string; readonly port: number }) {
  let said = '';
  const server = createServer((agent) => {
    const upstream = connect(to.port, to.host);
    for (const [from, other] of [[agent, upstream], [upstream, agent]] as const) {
      from.on('error', () => other.destroy());
      from.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')));
      from.pipe(other);
    } // prettier-ignore
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP server's address is one
  return { port, said: () => said, close: () => server.close() };
}

/** What of a login would help somebody to guess the password, by the way of logging in. */
const traces: readonly [Authentication, trace: RegExp, least: number][] = [
  // Nonces, salt, proof and signature; the server's nonce begins with the client's.
  ['scram-sha-256', /(?:\br|\bs|\bp|\bv)=([A-Za-z0-9+/=]{16,})/g, 5],
  ['md5', /(md5[0-9a-f]{32})/g, 1],
  ['password', /(wrong-[0-9a-f]{32}|direct password)/g, 1],
];

for (const [authentication, trace, least] of traces) {
  describe(`a relayed login by ${authentication}`, () => {
    const wrong = `wrong-${randomBytes(16).toString('hex')}`;
    const planted = `planted-${randomBytes(16).toString('hex')}`;
    const secrets = new Set<string>();
    let server: BackendServer;
    let through: Through;

    const logIn = async (password: string): Promise<void> => {
      const { port, said, close } = await listenIn(through);
      const login = { host: '127.0.0.1', port, user: 'postgres', database: 'postgres', password };
      const client = new Client(login);
      client.on('error', () => undefined);
      try {
        await client.connect();
        await client.query(`SELECT '${planted}'`);
        await client.end();
      } finally {
        close();
        const found = Array.from(said().matchAll(trace), ([, text = '']) => text);
        assert.ok(found.length >= (password === wrong ? 1 : least), `${found.length} were found`);
        for (const text of [...found, password]) secrets.add(text);
      }
    };

    before(async () => {
      server = await startBackendServer({ version: 15, authentication });
      through = await startThrough(server, { credential: 'relayed' });
      // The collector rests, so that the spool keeps what comes now.
      process.kill(through.instance.instance.pids.collector, 'SIGSTOP');
      await logIn(server.password);
      await assert.rejects(logIn(wrong), { code: '28P01' });
    });
    after(async () => {
      process.kill(through.instance.instance.pids.collector, 'SIGCONT');
      await through[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    });

    const found = async (text: string): Promise<string[]> => {
      const { data, config, output, instance } = through.instance;
      const places: [string, Buffer][] = [
        ['output', Buffer.from(output)],
        ['metrics', Buffer.from(await (await fetch(instance.sidecar.metricsUrl)).text())],
      ];
      for (const folder of [data, config]) {
        for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
          const path = join(entry.parentPath, entry.name);
          if (entry.isFile() && existsSync(path)) places.push([path, readFileSync(path)]);
        }
      }
      return places.flatMap(([path, bytes]) =>
        findSecret(bytes, text).map((how) => `${path}: ${how}`),
      );
    };

    test('leaves nothing of itself in spool, logs and metrics', async () => {
      const spooled = await until('the query is in the spool', async () => {
        const hits = await found(planted);
        return hits.length > 0 ? hits : undefined;
      });
      assert.ok(spooled.every((hit) => hit.includes('/spool/')));
      for (const text of secrets) assert.deepEqual(await found(text), []);
    });

    test('nor in the store', async () => {
      process.kill(through.instance.instance.pids.collector, 'SIGCONT');
      const client = through.instance.collector();
      await until('both sessions are stored', async () => {
        const sessions = await client.sessions({});
        return sessions.length === 2 && sessions.every(({ endedAt }) => endedAt !== null);
      });
      const stored: Buffer[] = [];
      for await (const { id } of allSessions(client))
        for await (const { headerBytes, payload } of client.frames(id))
          stored.push(headerBytes, payload);
      const all = Buffer.concat(stored);
      assert.deepEqual(findSecret(all, planted).slice(0, 1), ['plain']);
      for (const text of secrets) {
        assert.deepEqual(findSecret(all, text), []);
        assert.deepEqual(await found(text), []);
      }
    });
  });
}
