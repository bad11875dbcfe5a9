import { execFile, spawn } from 'node:child_process';
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { ChaperoneError } from '#core/errors.ts';
import { openLog } from './child.ts';
import type { PostgresHome } from './postgres-binaries.ts';

export interface PostgresServerOptions {
  readonly home: PostgresHome;
  readonly name: string;
  readonly logFile: string;
  /** For its Unix socket: made, and removed when the server ends. Its path has to be short. */
  readonly socketDirectory: string;
  /** Port on 127.0.0.1, or undefined for a server that only its Unix socket leads to. */
  readonly tcpPort: number | undefined;
  /** Further settings; none may be a secret, since arguments can be read by everybody. */
  readonly settings: Readonly<Record<string, string>>;
}

/** A PostgreSQL server that lives no longer than this process. */
export interface PostgresServer {
  /** Directory of its Unix socket, which only its account and root can enter. */
  readonly socketDirectory: string;
  /** Port that names the Unix socket, and on TCP the port itself. */
  readonly port: number;
  /** Process id of the postmaster. */
  readonly pid: number;
  readonly exited: Promise<void>;
  /** Runs statements as superuser over the Unix socket. Nothing of them is logged. */
  administer<T>(database: string, work: (client: Client) => Promise<T>): Promise<T>;
  stop(timeoutMs: number): Promise<void>;
}

/** Settings of the audit store beyond those of every server. */
export const storeSettings: Readonly<Record<string, string>> = {
  max_connections: '30',
  log_min_error_statement: 'panic', // statements there hold content
};

const run = promisify(execFile);
const socketPort = 5432;
const startTimeoutMs = 30_000;
const superuser = 'postgres';

/**
 * Waits on the pipe that is its standard input, and stops PostgreSQL when the pipe ends: however the supervisor dies,
 * the kernel closes it. A shell costs a megabyte; a Node process for the same would cost forty.
 */
const lifeline = `
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
( read -r end <&3; kill -INT "$server" ) 2>/dev/null &
watcher=$!
exec 3<&-
wait "$server"
kill "$watcher" 2>/dev/null`;

/** The superuser comes over the Unix socket alone, whose directory keeps everybody else out; others prove a password. */
const accessRules = `local all ${superuser} trust
local all all scram-sha-256
host all ${superuser} all reject
host all all 127.0.0.1/32 scram-sha-256
`;

/** Starts a server, creating its database cluster at the first time. @throws ChaperoneError `config-invalid`. */
export async function startPostgres(options: PostgresServerOptions): Promise<PostgresServer> {
  const { home, name, logFile } = options;
  const directory = join(home.dataDirectory(name), 'data');
  if (!existsSync(join(directory, 'PG_VERSION'))) await initialize(home, directory, name);
  refuseSecond(directory, name);
  const { socketDirectory } = options;
  mkdirSync(socketDirectory, { recursive: true, mode: 0o700 });
  if (home.account) chownSync(socketDirectory, home.account.uid, home.account.gid);
  const port = options.tcpPort ?? socketPort;
  const log = openLog(logFile);
  const child = spawn(
    '/bin/sh',
    [
      '-c',
      lifeline,
      'sh',
      join(home.binaries, 'postgres'),
      ...serverArguments(options, directory, socketDirectory),
    ],
    {
      stdio: ['pipe', log, log],
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
      cwd: '/',
      detached: true,
      ...home.account,
    },
  );
  closeSync(log);
  child.stdin?.on('error', () => undefined); // the server is gone; `exited` says so
  let ended = false;
  const exited = once(child, 'exit').then(() => {
    ended = true;
    rmSync(socketDirectory, { recursive: true, force: true });
  });
  const administer = async <T>(
    database: string,
    work: (client: Client) => Promise<T>,
  ): Promise<T> => {
    const client = new Client({ host: socketDirectory, port, user: superuser, database });
    client.on('error', () => undefined); // the work under way fails with it
    await client.connect();
    try {
      await client.query('SET log_statement = none');
      await client.query('SET log_min_error_statement = panic');
      return await work(client);
    } finally {
      await client.end();
    }
  };
  await waitUntilReady(
    () => administer(superuser, async () => undefined),
    () => ended,
    { name, logFile },
  );
  const pid = Number(readFileSync(join(directory, 'postmaster.pid'), 'utf8').split('\n')[0]);
  return {
    socketDirectory,
    port,
    pid,
    exited,
    administer,
    async stop(timeoutMs) {
      child.stdin?.end(); // the lifeline: a fast shutdown
      const timer = setTimeout(() => {
        if (!ended) process.kill(pid, 'SIGQUIT');
      }, timeoutMs);
      await exited;
      clearTimeout(timer);
    },
  };
}

function serverArguments(
  options: PostgresServerOptions,
  directory: string,
  socketDirectory: string,
): string[] {
  const settings = {
    unix_socket_directories: socketDirectory,
    unix_socket_permissions: '0700',
    listen_addresses: options.tcpPort === undefined ? '' : '127.0.0.1',
    port: String(options.tcpPort ?? socketPort),
    shared_buffers: '32MB',
    ...options.settings,
  };
  return [
    '-D',
    directory,
    ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  ];
}

async function initialize(home: PostgresHome, directory: string, name: string): Promise<void> {
  rmSync(directory, { recursive: true, force: true }); // what an interrupted start left has no PG_VERSION
  const args = [
    '-D',
    directory,
    '-U',
    superuser,
    '--auth=reject',
    '--encoding=UTF8',
    '--locale=C',
    '--no-sync',
    '--no-instructions',
  ];
  try {
    await run(join(home.binaries, 'initdb'), args, {
      cwd: '/',
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
      ...home.account,
    });
  } catch (cause) {
    rmSync(directory, { recursive: true, force: true });
    const why = cause instanceof Error ? (cause.message.trim().split('\n').at(-1) ?? '') : '';
    throw new ChaperoneError(
      'config-invalid',
      `cannot create the database cluster for the ${name}: ${why}`,
      { cause },
    );
  }
  writeFileSync(join(directory, 'pg_hba.conf'), accessRules);
}

/** A postmaster that was killed leaves its pid file, which PostgreSQL recognises; one that lives must not be doubled. */
function refuseSecond(directory: string, name: string): void {
  const file = join(directory, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number(readFileSync(file, 'utf8').split('\n')[0]);
  try {
    if (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(directory)) return;
  } catch {
    return; // no such process, or not this system's way to look: PostgreSQL decides by itself
  }
  throw new ChaperoneError(
    'config-invalid',
    `the ${name} of an earlier start still runs as process ${pid}: wait for its end, or stop it`,
  );
}

interface Named {
  readonly name: string;
  readonly logFile: string;
}

async function waitUntilReady(
  tryConnect: () => Promise<void>,
  ended: () => boolean,
  { name, logFile }: Named,
): Promise<void> {
  const deadline = performance.now() + startTimeoutMs;
  for (;;) {
    try {
      return await tryConnect();
    } catch (cause) {
      if (ended() || performance.now() > deadline) {
        throw new ChaperoneError(
          'config-invalid',
          `the ${name} does not start: ${logFile} says why`,
          { cause },
        );
      }
    }
    await delay(40);
  }
}

/**
 * Gives a role a new password that only the caller knows. The server is sent the verifier that it would have made
 * itself (RFC 5803), so that the password is in none of its logs and files.
 */
export async function setPassword(client: Client, role: string, password: string): Promise<void> {
  const salt = randomBytes(16);
  const iterations = 4_096;
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const key = (label: string): Buffer => createHmac('sha256', salted).update(label).digest();
  const stored = createHash('sha256').update(key('Client Key')).digest('base64');
  const verifier = `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${key('Server Key').toString('base64')}`;
  await client.query(
    `ALTER ROLE ${client.escapeIdentifier(role)} LOGIN PASSWORD ${client.escapeLiteral(verifier)}`,
  );
}

/** Creates role and database where they do not exist yet. */
export async function ensureDatabase(
  server: PostgresServer,
  role: string,
  database: string,
  password: string,
): Promise<void> {
  await server.administer(superuser, async (client) => {
    const roles = await client.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [role]);
    if (roles.rowCount === 0) await client.query(`CREATE ROLE ${client.escapeIdentifier(role)}`);
    await setPassword(client, role, password);
    const databases = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [
      database,
    ]);
    if (databases.rowCount === 0)
      await client.query(`CREATE DATABASE ${client.escapeIdentifier(database)}`);
  });
}
