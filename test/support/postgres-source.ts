import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { cacheDirectory } from '../../tools/cache.ts';
import { debianBinaries } from './backend-server.ts';

/** What PostgreSQL tests itself with, built from the source package of Debian's version. */
export interface PostgresTests {
  /** Version of the source package. */
  readonly version: string;
  /** `src/test/regress` with the program `pg_regress` and the libraries that its tests load into the server. */
  readonly regress: string;
  /** `src/test/modules/libpq_pipeline` with the program of that name. */
  readonly pipeline: string;
  /** Holds the libpq of the same source. */
  readonly libraries: string;
}

const aptSettings = '/etc/apt';
/** What the programs are made of, each by what it needs of the ones before. */
const targets = [
  ['src/backend', 'generated-headers'],
  ['src/interfaces/libpq', 'all'],
  ['src/test/regress', 'all'],
  ['contrib/spi', 'refint.so', 'autoinc.so'],
  ['src/test/modules/libpq_pipeline', 'all'],
] as const;

/**
 * Provides PostgreSQL's tests of version 15: from earlier, or from the newest source package that downloads, which takes
 * a minute. They are kept in the user's cache, for this release of the server and this way of building.
 */
export function providePostgresTests(): PostgresTests {
  const server = run('/', join(debianBinaries(15), 'postgres'), '--version');
  const key = createHash('sha256')
    .update(server)
    .update(readFileSync(import.meta.filename));
  const cache = join(cacheDirectory, 'postgres-tests');
  const home = join(cache, key.digest('hex').slice(0, 16));
  if (!existsSync(home)) {
    mkdirSync(cache, { recursive: true });
    const unfinished = mkdtempSync(join(cache, 'unfinished-'));
    const scratch = mkdtempSync(join(tmpdir(), 'chaperone-postgres-source-'));
    try {
      build(scratch, unfinished);
      // Another run may have been faster.
      if (!existsSync(home)) renameSync(unfinished, home);
    } finally {
      for (const directory of [scratch, unfinished])
        rmSync(directory, { recursive: true, force: true });
    }
  }
  return {
    version: readFileSync(join(home, 'version'), 'utf8'),
    regress: join(home, 'regress'),
    pipeline: join(home, 'libpq_pipeline'),
    libraries: join(home, 'libraries'),
  };
}

function build(scratch: string, home: string): void {
  const { version, archive } = downloadSource(scratch, 'postgresql-15');
  const source = join(scratch, 'source');
  mkdirSync(source);
  run(source, 'tar', '--extract', '--strip-components=1', `--file=${archive}`);
  run(source, './configure', '--without-readline', '--without-zlib', 'CFLAGS=-O1');
  for (const [directory, ...names] of targets) run(source, 'make', '-C', directory, ...names);
  cpSync(join(source, 'src/test/regress'), join(home, 'regress'), { recursive: true });
  // Tests look for these two beside their own library.
  for (const name of ['refint.so', 'autoinc.so'])
    copyFileSync(join(source, 'contrib/spi', name), join(home, 'regress', name));
  const pipeline = 'src/test/modules/libpq_pipeline';
  cpSync(join(source, pipeline), join(home, 'libpq_pipeline'), { recursive: true });
  mkdirSync(join(home, 'libraries'));
  const library = 'libpq.so.5';
  copyFileSync(join(source, 'src/interfaces/libpq', library), join(home, 'libraries', library));
  writeFileSync(join(home, 'version'), version);
  chmodSync(home, 0o755); // tests may run under several accounts
}

/**
 * Downloads a package's source as the publisher packed it. The machine's own settings of apt name no sources as a rule,
 * so a private copy of them does, and nothing on the machine changes.
 */
function downloadSource(scratch: string, name: string): { version: string; archive: string } {
  const lists = join(scratch, 'lists');
  const parts = join(scratch, 'sources.list.d');
  for (const directory of [join(lists, 'partial'), parts, join(scratch, 'cache')])
    mkdirSync(directory, { recursive: true });
  chmodSync(scratch, 0o755); // apt reads and writes as an account of its own
  for (const [file, text] of sourceLists()) writeFileSync(join(parts, file), text);
  const settings = {
    'Dir::Etc::SourceList': '/dev/null',
    'Dir::Etc::SourceParts': parts,
    'Dir::State::Lists': lists,
    'Dir::Cache': join(scratch, 'cache'),
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  const tried: string[] = [];
  const attempt = (program: string, ...args: string[]): { ok: boolean; output: string } => {
    const { status, stdout, stderr, error } = spawnSync(program, [...options, ...args], {
      cwd: scratch,
      env: { ...process.env, LC_ALL: 'C' },
      encoding: 'utf8',
    });
    if (status !== 0) tried.push(`${program} ${args.join(' ')}: ${error?.message ?? stderr}`);
    return { ok: status === 0, output: stdout };
  };
  attempt('apt-get', 'update'); // fails already where one of several lists is missing
  const shown = attempt('apt-cache', 'showsrc', '--only-source', name).output;
  const versions = Array.from(shown.matchAll(/^Version: (\S+)$/gm), ([, version = '']) => version);
  // Lists may name what is not served any more.
  for (const version of versions.sort(compareVersions).reverse()) {
    const wanted = `${name}=${version}`;
    if (!attempt('apt-get', 'source', '--only-source', '--download-only', wanted).ok) continue;
    const archive = readdirSync(scratch).find((file) => file.includes('.orig.tar.'));
    if (archive !== undefined) return { version, archive: join(scratch, archive) };
  }
  throw new Error(`no source of ${name} can be downloaded:\n${tried.join('\n')}`);
}

/** The machine's lists of packages as lists of their sources. */
function sourceLists(): [string, string][] {
  const parts = join(aptSettings, 'sources.list.d');
  const files = existsSync(parts) ? readdirSync(parts).map((name) => join(parts, name)) : [];
  return [join(aptSettings, 'sources.list'), ...files]
    .filter((file) => /\.(?:list|sources)$/.test(file) && existsSync(file))
    .map((file) => [basename(file), asSources(readFileSync(file, 'utf8'))]);
}

/** Of both formats: `deb …` a line, and stanzas with a field `Types`. */
function asSources(text: string): string {
  return text
    .split('\n')
    .filter((line) => !line.startsWith('deb-src'))
    .map((line) => line.replace(/^deb(?=\s)/, 'deb-src').replace(/^Types:.*/i, 'Types: deb-src'))
    .join('\n');
}

function compareVersions(a: string, b: string): number {
  if (a === b) return 0;
  return spawnSync('dpkg', ['--compare-versions', a, 'gt', b]).status === 0 ? 1 : -1;
}

/** Runs a program to its end. @throws Error with the end of what it said. */
function run(cwd: string, program: string, ...args: readonly string[]): string {
  try {
    return execFileSync(program, args, {
      cwd,
      env: { ...process.env, LC_ALL: 'C' },
      encoding: 'utf8',
      stdio: 'pipe',
      maxBuffer: 64 * 1024 * 1024,
    });
  } catch (cause) {
    const { stdout = '', stderr = '' } = cause as { stdout?: string; stderr?: string }; // execFileSync attaches them
    const said = `${stdout}${stderr}`.slice(-4_000);
    throw new Error(`${program} ${args.join(' ')} failed:\n${said}`, { cause });
  }
}
