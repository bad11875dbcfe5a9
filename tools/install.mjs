// Runs before `npm start` and `npm test`, under whatever Node is there: installs packages when they are missing or not
// the ones that the lockfile names. Afterwards npm's PATH leads to the project's own Node.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const clusterSettings = '/etc/postgresql-common/createcluster.conf';
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
if (process.argv.includes('--test')) {
  provideTestPrograms();
  provideCluster();
}

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

/** What the tests use besides Node packages: how its being there shows, and the Debian package that brings it. */
function testPrograms() {
  const server = '/usr/lib/postgresql/15/bin'; // the oldest that Debian serves; npm brings the newest
  return [
    [inPath('psql'), 'postgresql-client'],
    [inPath('prlimit'), 'util-linux'],
    [inPath('mount'), 'mount'],
    // Network namespaces stand in for a pod.
    [inPath('ip') && inPath('ss'), 'iproute2'],
    [inPath('nft'), 'nftables'],
    [inPath('dnsmasq'), 'dnsmasq-base'],
    [inPath('keytool'), 'default-jre-headless'],
    [inPath('dig'), 'bind9-dnsutils'],
    [inPath('curl'), 'curl'],
    [
      ['x86_64', 'aarch64'].some((cpu) => existsSync(`/usr/lib/${cpu}-linux-gnu/faketime`)),
      'libfaketime',
    ],
    [existsSync(join(server, 'postgres')), 'postgresql-15'],
    [existsSync(join(server, 'pgbench')), 'postgresql-15'],
    // PostgreSQL's own tests are built from their source.
    [inPath('gcc'), 'gcc'],
    [existsSync('/usr/include/stdio.h'), 'libc6-dev'],
    [inPath('make'), 'make'],
    [inPath('bzip2'), 'bzip2'],
    [inPath('python3') && works('python3', ['-c', 'import venv, ensurepip']), 'python3-venv'],
  ];
}

/** The tests use real clients and servers. Root gets them installed; others are told what to install. */
function provideTestPrograms() {
  if (process.platform !== 'linux') return;
  const missing = new Set(
    testPrograms()
      .filter(([there]) => !there)
      .map(([, name]) => name),
  );
  if (missing.size > 0) installDebianPackages([...missing].join(' '));
  providePythonPackages();
}

/**
 * A Kubernetes of the tests' own, once for a machine. Compiling it takes ten to twenty minutes, so it is done here, where no test
 * waits for it. Only root can run one.
 */
function provideCluster() {
  if (process.platform !== 'linux' || process.getuid() !== 0) return;
  const node = join(root, 'node_modules/.bin/node');
  for (const args of [
    ['test/cluster/main.ts', 'build'],
    ['tools/image.ts', '--base'],
  ]) {
    const { status } = spawnSync(node, args, { cwd: root, stdio: 'inherit' });
    if (status !== 0) fail('the tests of Kubernetes cannot run yet: see above, and start again');
  }
}

function installDebianPackages(names) {
  const command = `apt-get install --yes --no-install-recommends -o Dpkg::Options::=--force-confold ${names}`;
  if (process.getuid() !== 0) fail(`the tests need ${names}: have root run "${command}"`);
  process.stdout.write(`installing ${names}\n`);
  try {
    execFileSync('apt-get', ['update', '--quiet'], { stdio: 'ignore' });
    // The tests start servers of their own: Debian's package is not to start one on this machine.
    mkdirSync('/etc/postgresql-common', { recursive: true });
    if (!existsSync(clusterSettings))
      writeFileSync(clusterSettings, 'create_main_cluster = false\n');
    execFileSync('sh', ['-c', command], {
      stdio: 'ignore',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  } catch {
    fail(`"${command}" failed: run it by hand, and start again`);
  }
}

/** Drivers of another language, in an environment of their own beside the Node packages. */
function providePythonPackages() {
  const requirements = join(root, 'test/drivers/requirements.txt');
  if (!existsSync(requirements)) return;
  const environment = join(root, 'node_modules/.python');
  const stamp = join(environment, 'installed');
  const text = readFileSync(requirements, 'utf8');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === text) return;
  process.stdout.write('installing Python packages for the tests of drivers\n');
  try {
    execFileSync('python3', ['-m', 'venv', '--clear', environment], { stdio: 'pipe' });
    execFileSync(
      join(environment, 'bin/pip'),
      ['install', '--quiet', '--disable-pip-version-check', '--requirement', requirements],
      { stdio: 'pipe' },
    );
  } catch (error) {
    process.stderr.write(String(error.stderr ?? error));
    fail('the Python packages of test/drivers/requirements.txt could not be installed: see above');
  }
  writeFileSync(stamp, text);
}

function works(program, args) {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false; // what is missing or broken is installed
  }
}

function inPath(program) {
  return (process.env.PATH ?? '')
    .split(':')
    .some((directory) => existsSync(join(directory, program)));
}
