import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { isIPv4 } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { stringify } from 'yaml';
import { ChaperoneError } from '#core/errors.ts';
import type { UpstreamTls } from '#core/policy/resources.ts';
import type { Instance, InstanceBackend } from '../instance.ts';
import { printable } from '../terminal.ts';

/** A database of the user's own, in place of the demo's. */
export interface OwnBackend {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  readonly tls: UpstreamTls;
}

type Environment = Readonly<Record<string, string | undefined>>;

const modes: ReadonlyMap<string, UpstreamTls['mode']> = new Map([
  ['disable', 'Disable'],
  ['require', 'Require'],
  ['verify-ca', 'VerifyCA'],
  ['verify-full', 'VerifyFull'],
]);

export const ownBackendName = 'own';
export const ownSecretName = 'own-credential';

/**
 * Reads `postgres://USER@HOST:PORT/DATABASE?sslmode=…&sslrootcert=FILE`, as libpq does but for what would be unsafe.
 * @throws ChaperoneError `config-invalid` with what to write instead.
 */
export function parseBackendUrl(text: string): OwnBackend {
  const url = URL.parse(text);
  if (url && url.password !== '') {
    throw wrong(
      'it holds a password, which others can read in the environment: take it out, and write it to ~/.pgpass or type it when asked',
    );
  }
  const host = url?.hostname.replace(/^\[(.*)\]$/, '$1') ?? '';
  const user = tryDecode(url?.username);
  const database = tryDecode(url?.pathname.slice(1));
  const port = Number(url?.port || 5432);
  const known = url && /^postgres(?:ql)?:$/.test(url.protocol) && url.hash === '';
  if (!known || user === undefined || user === '' || database === undefined)
    throw wrong('want postgres://USER@HOST:PORT/DATABASE');
  if (!/^[\w.:-]+$/.test(host) || port === 0)
    throw wrong('want postgres://USER@HOST:PORT/DATABASE, with one host');
  const tls = parseTls(url.searchParams, host);
  return { host, port, user, database: database || user, tls };
}

/** Undefined for what is no text, or holds what no name can hold. */
function tryDecode(part: string | undefined): string | undefined {
  try {
    const text = decodeURIComponent(part ?? '');
    return text.includes('\0') ? undefined : text;
  } catch {
    return undefined; // an escape that is none
  }
}

function parseTls(parameters: URLSearchParams, host: string): UpstreamTls {
  for (const name of parameters.keys()) {
    if (name !== 'sslmode' && name !== 'sslrootcert')
      throw wrong(`it has the parameter ${name}; sslmode and sslrootcert are understood`);
    if (parameters.getAll(name).length > 1) throw wrong(`${name} is given twice`);
  }
  const local = host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
  const asked = parameters.get('sslmode') ?? (local ? 'disable' : 'verify-full');
  const mode = modes.get(asked);
  if (!mode)
    throw wrong(
      `sslmode=${asked}: want ${[...modes.keys()].join(', ')}; the others can fall back to plain text`,
    );
  const file = parameters.get('sslrootcert');
  // Anybody can get a certificate of a public CA: only with the name checked does it say who this is.
  if (file === 'system' && mode !== 'VerifyFull')
    throw wrong(`sslrootcert=system: want sslmode=verify-full with it`);
  if (file === null && mode === 'VerifyCA')
    throw wrong('sslmode=verify-ca: want sslrootcert=FILE with it, or verify-full');
  const ca = file === null || file === 'system' ? undefined : readCa(file);
  if (mode === 'Require' && ca !== undefined) return { mode: 'VerifyCA', ca }; // as libpq: it is meant to be used
  return { mode, ca: mode === 'Disable' ? undefined : ca };
}

function readCa(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw wrong(`sslrootcert: ${file} cannot be read`, cause);
  }
}

/**
 * Finds the password as libpq does, in the password file, or asks for it. It is never taken from the environment.
 * @throws ChaperoneError `config-invalid` when there is nobody to ask.
 */
export async function findPassword(backend: OwnBackend, env: Environment): Promise<string> {
  const file = env['PGPASSFILE'] ?? join(env['HOME'] ?? homedir(), '.pgpass');
  if (statSync(file, { throwIfNoEntry: false })?.isFile() === true) {
    if ((statSync(file).mode & 0o077) !== 0)
      throw new ChaperoneError(
        'config-invalid',
        `${file} can be read by others: run "chmod 600 ${file}"`,
      );
    const found = lookUpPassword(readFileSync(file, 'utf8'), backend);
    if (found !== undefined) return found;
  }
  if (process.stdin.isTTY) return prompt(`Password of ${backend.user} at ${backend.host}: `);
  const line = [backend.host, String(backend.port), backend.database, backend.user]
    .map((field) => field.replaceAll(/[:\\]/g, String.raw`\$&`))
    .join(':');
  throw new ChaperoneError(
    'config-invalid',
    `there is no terminal to ask for the password of ${backend.user}: add a line "${line}:PASSWORD" to ${file}`,
  );
}

/** Looks a password up in the text of a password file (PostgreSQL manual, "The Password File"). */
export function lookUpPassword(text: string, backend: OwnBackend): string | undefined {
  const wanted = [backend.host, String(backend.port), backend.database, backend.user];
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue;
    const [, ...fields] = passwordLine.exec(line)?.map(withoutEscapes) ?? [];
    const [password] = fields.splice(wanted.length);
    if (password === undefined) continue;
    if (wanted.every((value, index) => fields[index] === '*' || fields[index] === value))
      return password;
  }
  return undefined;
}

/** Four fields, in which a colon is escaped, and the rest of the line, in which it may be. */
const passwordLine =
  /^((?:\\.|[^:\\])*):((?:\\.|[^:\\])*):((?:\\.|[^:\\])*):((?:\\.|[^:\\])*):(.+)$/;

function withoutEscapes(field: string): string {
  return field.replaceAll(/\\(.)/g, '$1');
}

async function prompt(question: string): Promise<string> {
  const muted = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: muted, terminal: true });
  try {
    const answer = lines.question('');
    process.stderr.write(question); // once keys are taken: what is typed before would be shown
    return await answer;
  } catch (cause) {
    throw new ChaperoneError('config-invalid', 'no password was typed', { cause }); // Ctrl-C, Ctrl-D
  } finally {
    lines.close();
    process.stderr.write('\n');
  }
}

/**
 * Writes resources for the backend beside those of `config` that are about something else, and returns their directory.
 * What is there already stays, so that edits survive; the Backend itself is written anew.
 */
export function writeOwnResources(backend: OwnBackend, config: string, data: string): string {
  const directory = join(data, 'resources');
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  for (const file of readdirSync(config).filter((name) => /\.ya?ml$/.test(name))) {
    const isBackend = /^kind:\s*Backend\s*$/m.test(readFileSync(join(config, file), 'utf8'));
    if (!isBackend && !existsSync(join(directory, file)))
      copyFileSync(join(config, file), join(directory, file));
  }
  writeFileSync(join(directory, 'backend.yaml'), stringify(resourceOf(backend)));
  return directory;
}

function resourceOf({ host, port, tls }: OwnBackend): object {
  return {
    apiVersion: 'chaperone.dev/v1alpha1',
    kind: 'Backend',
    metadata: { name: ownBackendName },
    spec: {
      protocol: 'Postgres',
      hosts: [host],
      ports: [port],
      upstream: {
        address: `${host.includes(':') ? `[${host}]` : host}:${port}`,
        tls: { mode: tls.mode, ...(tls.ca === undefined ? {} : { ca: tls.ca }) },
      },
      consumers: [{ namespace: 'local', serviceAccounts: ['local'] }],
      credential: { type: 'Password', secretRef: { name: ownSecretName } },
    },
  };
}

/** Adds to the user's own backend whom and what its URL names: what `chaperone sql` logs in as, unless told otherwise. */
export function withLogin(
  backends: Iterable<readonly [name: string, at: InstanceBackend]>,
  own: OwnBackend | undefined,
): Instance['backends'] {
  const login = own && { user: own.user, database: own.database };
  return Object.fromEntries(
    Array.from(backends, ([name, at]) => [
      name,
      name === ownBackendName ? { ...at, ...login } : at,
    ]),
  );
}

/** Says what somebody who sees this for the first time may type. */
export function nextSteps(
  { host, database, user }: OwnBackend,
  sidecar: { readonly host: string; readonly port: number },
  config: string,
): string {
  const name = printable(database);
  return `${name} on ${printable(host)} is behind the sidecar, which logs in to it as ${printable(user)}.
What to type next, in another terminal:
  PGPASSWORD=$(npx chaperone token) psql -h ${sidecar.host} -p ${sidecar.port} -U anybody ${name}
  npx chaperone sessions
Edit ${config}/*.yaml and watch what changes. Ctrl-C stops everything; the sessions stay.`;
}

function wrong(why: string, cause?: unknown): ChaperoneError {
  return new ChaperoneError('config-invalid', `CHAPERONE_BACKEND_URL: ${why}`, { cause });
}
