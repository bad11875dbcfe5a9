import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { buildah, imageCache } from '../../tools/buildah.ts';
import { forImage, providePackages } from '../../tools/debian-packages.ts';
import { run } from '../../tools/run.ts';
import { muslClientVersion, provideMuslClient } from './musl-client.ts';

/**
 * The image of what runs beside the product in tests: PostgreSQL and its clients, curl, dig, Python, and a client
 * that is linked with musl. `postgres` starts with the variables of the usual image of PostgreSQL.
 */

const suite = 'bookworm';
const packages = [
  'ca-certificates', 'curl', 'dnsutils', 'iproute2', 'libnss-wrapper', 'musl', 'netcat-openbsd', 'postgresql', 'postgresql-client', 'procps',
  'python3',
]; // prettier-ignore
/** What nobody needs there, a third of all: PostgreSQL does without its compiler for expressions. */
const left = ['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*', '/usr/lib/*/libLLVM*', '/usr/lib/llvm*', '/usr/lib/postgresql/*/lib/bitcode/*', '/usr/lib/postgresql/*/lib/llvmjit*']; // prettier-ignore
const entrypoint = join(import.meta.dirname, 'postgres-entrypoint.sh');
const name = 'localhost/chaperone-workloads:test';

const version = createHash('sha256')
  .update(JSON.stringify([suite, packages, left, muslClientVersion]))
  .update(readFileSync(entrypoint))
  .digest('hex')
  .slice(0, 16);
const archive = join(imageCache, `workloads-${version}.tar`);

/** Builds the image where this machine has none yet, and returns the path of its archive. It takes a minute, once. */
export function provideWorkloads(say: (line: string) => void): string {
  if (existsSync(archive)) return archive;
  providePackages(forImage, say);
  const client = provideMuslClient(say);
  mkdirSync(imageCache, { recursive: true });
  say('building the image of workloads: once, about a minute');
  const base = join(imageCache, `workloads-${process.pid}.tar`);
  const unfinished = `${archive}.${process.pid}`;
  try {
    const excluded = left.map((path) => `--dpkgopt=path-exclude=${path}`);
    const chosen = ['--variant=essential', `--include=${packages.join(',')}`, ...excluded];
    run('mmdebstrap', [...chosen, suite, base], { timeout: 900_000 });
    const container = buildah('from', 'scratch').trim();
    buildah('add', '--quiet', container, base, '/');
    buildah('copy', '--quiet', '--chmod=755', container, entrypoint, '/usr/local/bin/postgres-entrypoint'); // prettier-ignore
    buildah('copy', '--quiet', '--chmod=755', container, client, '/usr/local/bin/musl-client');
    buildah('config', '--entrypoint=["/usr/local/bin/postgres-entrypoint"]', '--cmd=postgres', '--user=1000:1000', container); // prettier-ignore
    const built = buildah('commit', '--quiet', '--rm', container).trim();
    buildah('push', '--quiet', built, `docker-archive:${unfinished}:${name}`);
    buildah('rmi', '--force', built);
    renameSync(unfinished, archive);
  } finally {
    rmSync(base, { force: true });
    rmSync(unfinished, { force: true });
  }
  return archive;
}
