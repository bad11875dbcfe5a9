import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildNftRules, listenerPorts } from '#core/interception/nft-rules.ts';
import { bundle } from './bundle.ts';
import { buildah, imageCache as cache } from './buildah.ts';
import { forImage, providePackages } from './debian-packages.ts';
import { run } from './run.ts';

/**
 * Builds the image of all deployables into an archive that a cluster or a registry takes. With `--bundles` it makes only
 * what the Dockerfile copies, for whoever builds with something else than Buildah; with `--base` only what takes long and
 * changes never.
 */

const root = dirname(import.meta.dirname);
const context = join(root, 'dist/image');
const archive = join(root, 'dist/chaperone-image.tar');
const stamp = `${archive}.of`;
const name = 'localhost/chaperone:dev';

const suite = 'bookworm';
const packages = 'binutils,libcap2-bin,libstdc++6,nftables';
const baseImage = `localhost/debian:${suite}`;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** Every `main.ts` of the product as a bundle, the rules of a pod's network, and the Node that the lockfile names. */
async function makeContext(): Promise<void> {
  rmSync(context, { recursive: true, force: true });
  const bundles = join(context, 'bundles');
  mkdirSync(bundles, { recursive: true });
  const entries = globSync('*/main.ts', { cwd: root }).filter((file) => !file.startsWith('bench/'));
  for (const entry of [...entries.sort(), 'sidecar/network/main.ts']) await bundle(entry, bundles);
  writeFileSync(join(bundles, 'rules.nft'), buildNftRules(listenerPorts));
  const node = `node_modules/node-linux-${process.arch}/bin/node`;
  copyFileSync(join(root, node), join(context, 'node'));
}

/** Hash of all that the image is made of. */
function hashOfSources(): string {
  const hash = createHash('sha256').update(`${suite} ${packages}`);
  const files = readdirSync(context, { recursive: true, encoding: 'utf8' })
    .map((file) => join(context, file))
    .filter((file) => statSync(file).isFile());
  for (const file of [join(root, 'Dockerfile'), ...files.sort()])
    hash.update(file.slice(root.length)).update(readFileSync(file));
  return hash.digest('hex');
}

/** A Debian to take packages from, once for a machine: there need be no registry. */
function provideBase(): void {
  if (process.getuid?.() !== 0)
    throw new Error(
      'only root can; with Docker do "npm run image -- --bundles" and "docker build ."',
    );
  providePackages(forImage, say);
  mkdirSync(cache, { recursive: true });
  if (buildah('images', '--quiet', '--filter', `reference=${baseImage}`) !== '') return;
  say('fetching a Debian to take packages from: once, about a minute');
  const base = join(cache, `debian-${process.pid}.tar`);
  try {
    run('mmdebstrap', ['--variant=apt', `--include=${packages}`, suite, base], {
      timeout: 900_000,
    });
    const container = buildah('from', 'scratch').trim();
    buildah('add', '--quiet', container, base, '/');
    buildah('commit', '--quiet', '--rm', container, baseImage);
  } finally {
    rmSync(base, { force: true });
  }
}

function build(): void {
  provideBase();
  say('building the image');
  // Without layers nothing of an earlier build is kept, and chroot is what works within a container too. The image has no
  // name here: another checkout may be building as well.
  const options = ['--isolation=chroot', '--layers=false', '--pull-never'];
  const built = buildah(
    'build',
    '--quiet',
    ...options,
    `--build-arg=BASE=${baseImage}`,
    '.',
  ).trim();
  rmSync(archive, { force: true });
  buildah('push', '--quiet', built, `docker-archive:${archive}:${name}`);
  buildah('rmi', '--force', built);
}

async function main(args: readonly string[]): Promise<void> {
  const options = { base: { type: 'boolean' }, bundles: { type: 'boolean' } } as const;
  const { values } = parseArgs({ args: [...args], options });
  if (values.base === true) return provideBase();
  await makeContext();
  if (values.bundles === true) return;
  const sources = hashOfSources();
  const done = existsSync(archive) && existsSync(stamp) && readFileSync(stamp, 'utf8') === sources;
  if (!done) {
    build();
    writeFileSync(stamp, sources);
  }
  say(`${name}: ${(statSync(archive).size / 1e6).toFixed(1)} MB`);
  process.stdout.write(`${archive}\n`);
}

await main(process.argv.slice(2)).catch((error: unknown) => {
  say(`image: ${error instanceof Error ? error.message : 'unknown error'}`);
  process.exitCode = 1;
});
