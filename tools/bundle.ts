import { copyFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'esbuild';

/** Threads that a service starts: each is a bundle of its own, which lies beside the service's. */
export const workers: Readonly<Record<string, readonly string[]>> = {
  'sidecar/main.ts': ['sidecar/spool/worker.ts', 'sidecar/postgres/grammar/worker.ts'],
};

/** What a bundle reads as a file of its own, from the directory in which it lies itself. */
const files: Readonly<Record<string, readonly string[]>> = {
  'sidecar/postgres/grammar/worker.ts': ['node_modules/libpg-query/wasm/libpg-query.wasm'],
};

/**
 * Bundles a service into one file, and each of its workers into another, as an image holds them. CommonJS, because
 * packages that are CommonJS themselves and use `__dirname` do not run within an ES module.
 */
export async function bundle(entry: string, directory: string): Promise<string> {
  for (const worker of workers[entry] ?? []) await bundleOne(worker, directory);
  return bundleOne(entry, directory);
}

async function bundleOne(entry: string, directory: string): Promise<string> {
  const name = entry.replace(/(\/main)?\.ts$/, '').replaceAll('/', '-');
  const outfile = join(directory, `${name}.cjs`);
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    minify: true,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    define: { 'import.meta.dirname': '__dirname', 'import.meta.filename': '__filename' },
    logLevel: 'error',
  });
  for (const file of files[entry] ?? []) copyFileSync(file, join(directory, basename(file)));
  return outfile;
}
