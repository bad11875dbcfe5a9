// Runs before `npm start` and `npm test`, under whatever Node is there: installs packages when they are missing or not
// the ones that the lockfile names. Afterwards npm's PATH leads to the project's own Node.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stampFile = join(root, 'node_modules', '.chaperone-installed');
const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .update(`${process.platform} ${process.arch}`)
  .digest('hex');

function fail(message) {
  process.stderr.write(`chaperone: ${message}\n`);
  process.exit(1);
}

const major = Number(process.versions.node.split('.')[0]);
if (major < 20)
  fail(`Node ${process.versions.node} is too old: install Node 20 or newer, and start again`);
if (!['linux x64', 'linux arm64', 'darwin arm64'].includes(`${process.platform} ${process.arch}`)) {
  fail(
    `${process.platform} on ${process.arch} is not supported: use Linux (x64, arm64) or macOS (arm64)`,
  );
}

const installed = existsSync(stampFile) && readFileSync(stampFile, 'utf8') === wanted;
if (!installed) await install();
if (process.argv.includes('--test')) provideTestPrograms();

async function install() {
  try {
    accessSync(root, constants.W_OK);
  } catch {
    fail(`cannot write to ${root}: make it writable, or clone the project to a directory that is`);
  }
  process.stdout.write('installing packages (once, about a minute) ');
  const child = spawn('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (text) => (output += text));
  child.stderr.on('data', (text) => (output += text));
  const ticker = setInterval(() => process.stdout.write('.'), 1000);
  const code = await new Promise((resolve) => {
    child.on('error', () => resolve(-1));
    child.on('close', resolve);
  });
  clearInterval(ticker);
  process.stdout.write('\n');
  if (code !== 0) {
    process.stderr.write(output);
    fail('npm could not install the packages: see above, mend it, and start again');
  }
  writeFileSync(stampFile, wanted);
}

/** The tests use real clients. Root gets them installed; others are told what to install. */
function provideTestPrograms() {
  const programs = [
    ['psql', 'postgresql-client'],
    ['prlimit', 'util-linux'],
  ];
  const missing = programs.filter(([program]) => !inPath(program)).map(([, name]) => name);
  if (missing.length === 0 || process.platform !== 'linux') return;
  const command = `apt-get install --yes --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid() !== 0)
    fail(`the tests need ${missing.join(', ')}: have root run "${command}"`);
  process.stdout.write(`installing ${missing.join(', ')}\n`);
  try {
    execFileSync('apt-get', ['update', '--quiet'], { stdio: 'ignore' });
    execFileSync('sh', ['-c', command], {
      stdio: 'ignore',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  } catch {
    fail(`"${command}" failed: run it by hand, and start again`);
  }
}

function inPath(program) {
  return (process.env.PATH ?? '')
    .split(':')
    .some((directory) => existsSync(join(directory, program)));
}
