import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync, chownSync, chmodSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { createLocalCa } from '../../cli/dev/certificates.ts';
import { preparePostgres } from '../../cli/dev/postgres-binaries.ts';
import { until } from './until.ts';

/** How the server wants its clients to log in, as pg_hba.conf says it. */
export type Authentication = 'scram-sha-256' | 'md5' | 'password' | 'trust' | 'cert';

export interface BackendServerOptions {
  /** 18 is the one that npm brings; others are Debian's. */
  readonly version: 15 | 18;
  readonly tls?: boolean;
  readonly authentication?: Authentication;
  readonly settings?: Readonly<Record<string, string>>;
}

/** A PostgreSQL of its own, on a free port of the loopback, with a superuser whose password is known. */
export interface BackendServer extends AsyncDisposable {
  readonly host: '127.0.0.1';
  readonly port: number;
  readonly user: 'postgres';
  readonly password: string;
  /** Certificate of the CA that signed the server's, and that clients' certificates must come from; with `tls` alone. */
  readonly ca: string | undefined;
  readonly directory: string;
  /** Issues a client certificate for a role. */
  readonly clientCertificate: (role: string) => Promise<{ key: string; cert: string }>;
  /** What it has logged. */
  log(): string;
}

/** Where Debian keeps the programs of a version. */
export const debianBinaries = (version: number): string => `/usr/lib/postgresql/${version}/bin`;

/** Starts a server. Its data are gone when it is disposed of. */
export async function startBackendServer({
  version,
  tls = false,
  authentication = 'scram-sha-256',
  settings = {},
}: BackendServerOptions): Promise<BackendServer> {
  const home = mkdtempSync(join(tmpdir(), 'chaperone-backend-'));
  chmodSync(home, 0o755);
  const bundled = preparePostgres(home, () => undefined);
  const binaries = version === 18 ? bundled.binaries : debianBinaries(version);
  const { account } = bundled;
  const directory = join(bundled.dataDirectory('server'), 'data');
  const password = 'direct password';
  const passwordFile = join(home, 'password');
  writeFileSync(passwordFile, password);
  if (account) chownSync(passwordFile, account.uid, account.gid);
  const environment = { PATH: '/usr/bin:/bin', LC_ALL: 'C' };
  const encryption = authentication === 'md5' ? 'md5' : 'scram-sha-256';
  execFileSync(
    join(binaries, 'initdb'),
    [
      [
        '-D',
        directory,
        '-U',
        'postgres',
        '--pwfile',
        passwordFile,
        '--encoding=UTF8',
        '--locale=C',
      ],
      ['--no-sync', `--auth=${encryption}`],
    ].flat(),
    { cwd: '/', env: environment, stdio: 'pipe', ...account },
  );
  const ca = await createLocalCa(Date.now());
  const own = (name: string, text: string): string => {
    const file = join(directory, name);
    writeFileSync(file, text, { mode: 0o600 });
    if (account) chownSync(file, account.uid, account.gid);
    return file;
  };
  const { key, cert } = await ca.issue('backend');
  own('server.key', key);
  own('server.crt', cert);
  own('ca.crt', ca.certificate);
  const rule = authentication === 'cert' ? 'cert' : authentication;
  own(
    'pg_hba.conf',
    `${tls ? 'hostssl' : 'host'} all all 127.0.0.1/32 ${rule}\nhostnossl all all 127.0.0.1/32 ${tls ? 'reject' : rule}\nlocal all all trust\n`,
  );
  const given: Readonly<Record<string, string>> = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: directory,
    fsync: 'off',
    logging_collector: 'off',
    log_min_messages: 'warning',
    ...(tls ? { ssl: 'on', ssl_ca_file: 'ca.crt' } : {}),
    password_encryption: encryption,
    ...settings,
  };
  // The server itself picks no port: one that is taken between is tried again with another.
  for (let attempt = 1; ; attempt += 1) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const child = spawn(
      join(binaries, 'postgres'),
      [
        '-D',
        directory,
        ...Object.entries({ ...given, port: String(port) }).flatMap(([name, value]) => [
          '-c',
          `${name}=${value}`,
        ]),
      ],
      { cwd: '/', env: environment, stdio: ['ignore', 'pipe', 'pipe'], ...account },
    );
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
    const exited = once(child, 'exit');
    const up = async (): Promise<boolean> => {
      if (child.exitCode !== null) throw new Error(output);
      const client = new Client({ host: directory, port, user: 'postgres', database: 'postgres' });
      client.on('error', () => undefined);
      try {
        await client.connect();
        await client.end();
        return true;
      } catch {
        return false;
      }
    };
    try {
      await until('the backend server is ready', up);
    } catch (error) {
      if (attempt < 5 && output.includes('Address already in use')) continue;
      throw error;
    }
    return {
      host: '127.0.0.1',
      port,
      user: 'postgres',
      password,
      ca: tls ? ca.certificate : undefined,
      directory,
      clientCertificate: (role) => ca.issue(role, 'client'),
      log: () => output,
      [Symbol.asyncDispose]: async () => {
        child.kill('SIGINT');
        await exited;
        rmSync(home, { recursive: true, force: true });
        if (!existsSync(directory)) return;
        rmSync(join(directory, '..'), { recursive: true, force: true });
      },
    };
  }
}
