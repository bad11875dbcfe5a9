import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  mkdtempSync,
  chmodSync,
  readdirSync,
  readFileSync,
  rmSync,
  existsSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { projectDirectory, type Instance } from '../../cli/instance.ts';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { psql } from '../support/psql.ts';
import { findSecret } from '../support/secret-search.ts';
import { runInTerminal, type Terminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';

const run = promisify(execFile);
const main = join(projectDirectory, 'cli/main.ts');

describe('a database of one’s own behind the sidecar', () => {
  let server: BackendServer;
  let home: string;
  before(async () => {
    server = await startBackendServer({ version: 15, tls: true });
    home = mkdtempSync(join(tmpdir(), 'chaperone-own-'));
    chmodSync(home, 0o755); // root's PostgreSQL runs under an account of its own
    writeFileSync(join(home, 'ca.pem'), server.ca ?? '');
  });
  after(async () => {
    await server[Symbol.asyncDispose]();
    rmSync(home, { recursive: true });
  });

  const data = (): string => join(home, 'data');
  const ready = (): Instance =>
    JSON.parse(readFileSync(join(data(), 'ready.json'), 'utf8')) as Instance;
  const url = (): string =>
    `postgres://postgres@localhost:${server.port}/postgres?sslmode=verify-full&sslrootcert=${join(home, 'ca.pem')}`;
  const start = (env: Record<string, string> = {}): Terminal => {
    const args = ['--config', 'examples/local', '--data', data(), '--port', '0'];
    return runInTerminal([process.execPath, main, 'dev', ...args], {
      HOME: home,
      CHAPERONE_BACKEND_URL: url(),
      ...env,
    });
  };
  const chaperone = async (...args: string[]): Promise<string> =>
    (await run(process.execPath, [main, ...args, '--data', data()])).stdout;

  /** Where a text is that nobody may read. */
  function placesOf(secret: string): string[] {
    const files = readdirSync(home, { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile() && entry.name !== '.pgpass')
      .map((entry) => join(entry.parentPath, entry.name));
    const processes = Object.values(ready().pids).flatMap((pid) =>
      ['cmdline', 'environ'].map((name) => `/proc/${pid}/${name}`),
    );
    return [...files, ...processes].filter(
      (path) => existsSync(path) && findSecret(readFileSync(path), secret).length > 0,
    );
  }

  async function usesIt(): Promise<void> {
    const { host, port } = ready().backends['own'] ?? { host: '', port: 0 };
    const password = (await chaperone('token')).trim();
    const answer = await psql({ host, port, password, user: 'anybody' }, "SELECT 'mine', current_user", ['-At']); // prettier-ignore
    assert.equal(answer.out.trim(), 'mine|postgres', answer.err);
    const { database } = ready().backends['own'] ?? {};
    assert.match(
      await chaperone('sql', 'SELECT current_database()'),
      new RegExp(`^${database}$`, 'm'),
    );
    const shown = await until('it is recorded', async () => {
      const [session] = JSON.parse(
        await chaperone('sessions', '--text', "SELECT 'mine'", '--json'),
      ) as { id: string; endedAt: string | null }[];
      return session && session.endedAt !== null
        ? chaperone('sessions', 'show', session.id)
        : undefined;
    });
    assert.match(shown, /backend {2}own/);
    assert.match(shown, /mine +\| postgres/);
  }

  test('is served with the password that is typed, which is nowhere else', async () => {
    await using terminal = start();
    await terminal.see(/Password of postgres at localhost: $/);
    terminal.type(`${server.password}\r`);
    const shown = await terminal.see(/is behind the sidecar/);
    assert.doesNotMatch(shown, new RegExp(server.password));
    assert.match(shown, /starting PostgreSQL, for the audit store/); // and no demo
    await usesIt();
    assert.deepEqual(placesOf(server.password), []);
    assert.ok(placesOf('chaperone.dev').length > 0, 'the search finds what is there');
    terminal.type('\x03');
    assert.equal(await terminal.exited, 0);
  });

  test('is served with the password of the password file', async () => {
    const file = join(home, '.pgpass');
    writeFileSync(file, `localhost:*:*:postgres:${server.password}\n`, { mode: 0o600 });
    await using terminal = start();
    const shown = await terminal.see(/is behind the sidecar/);
    assert.doesNotMatch(shown, /Password of/);
    await usesIt();
    assert.deepEqual(placesOf(server.password), []);
    terminal.type('\x03');
    assert.equal(await terminal.exited, 0);
    rmSync(file);
  });

  for (const [key, name] of [['\x03', 'Ctrl-C'], ['\x04', 'Ctrl-D']] as const) {
    test(`is not served when ${name} answers the question, and a sentence says so`, async () => {
      await using terminal = start();
      await terminal.see(/Password of postgres at localhost: $/);
      terminal.type(key);
      await terminal.see(/chaperone: no password was typed/);
      assert.equal(await terminal.exited, 1);
    });
  } // prettier-ignore

  test('is not served with a password in the URL, nor without any, and a sentence says why', async () => {
    const args = ['dev', '--config', 'examples/local', '--data', data(), '--port', '0'];
    const env = { PATH: process.env['PATH'] ?? '', HOME: home };
    for (const [given, stderr] of [
      ['postgres://postgres:s3cret@localhost/postgres', /it holds a password/],
      [url(), /there is no terminal to ask for the password of postgres: add a line/],
    ] as const) {
      await assert.rejects(
        run(process.execPath, [main, ...args], { env: { ...env, CHAPERONE_BACKEND_URL: given } }),
        { code: 1, stderr, stdout: '' },
      );
    }
  });
});
