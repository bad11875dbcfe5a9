import { copyFileSync, cpSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { build } from 'esbuild';

/** Threads that a service starts: each is a bundle of its own, which lies beside the service's. */
export const workers: Readonly<Record<string, readonly string[]>> = {
  'sidecar/main.ts': [
    'sidecar/spool/worker.ts',
    'sidecar/postgres/grammar/worker.ts',
    'sidecar/trust/worker.ts',
  ],
  'collector/main.ts': ['collector/shapes/worker.ts'],
};

/** What a bundle reads as a file of its own, from the directory in which it lies itself. */
const files: Readonly<Record<string, readonly string[]>> = {
  'sidecar/postgres/grammar/worker.ts': ['node_modules/libpg-query/wasm/libpg-query.wasm'],
  'collector/shapes/worker.ts': ['node_modules/libpg-query/wasm/libpg-query.wasm'],
};

/** Programs that have another name in the image than where their source is. */
const names: Readonly<Record<string, string>> = { 'sidecar/network/main.ts': 'network' };

/** Native packages cannot be bundled: they are loaded from a `node_modules` beside the bundle, and only when needed. */
export const nativePackages: readonly string[] = ['koffi'];

/** What of a native package is loaded at all: the rest are its sources and manual. */
const loaded =
  /^(|src|src\/koffi|src\/koffi\/src|.*\.(js|cjs|node)|package\.json|(linux|musl)_\w+)$/;

/**
 * Bundles a service into one file, and each of its workers into another, as an image holds them. CommonJS, because
 * packages that are CommonJS themselves and use `__dirname` do not run within an ES module.
 */
export async function bundle(entry: string, directory: string): Promise<string> {
  for (const worker of workers[entry] ?? []) await bundleOne(worker, directory);
  if (entry === 'sidecar/main.ts') copyNativePackages(directory);
  return bundleOne(entry, directory);
}

async function bundleOne(entry: string, directory: string): Promise<string> {
  const name = names[entry] ?? entry.replace(/(\/main)?\.ts$/, '').replaceAll('/', '-');
  const outfile = join(directory, `${name}.cjs`);
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    minify: true,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    external: [...nativePackages],
    define: { 'import.meta.dirname': '__dirname', 'import.meta.filename': '__filename' },
    logLevel: 'error',
  });
  for (const file of files[entry] ?? []) copyFileSync(file, join(directory, basename(file)));
  return outfile;
}

function copyNativePackages(directory: string): void {
  const ofThisMachine = `@koromix/koffi-${process.platform}-${process.arch}`;
  for (const name of [...nativePackages, ofThisMachine]) {
    const from = join('node_modules', name);
    const filter = (source: string): boolean => loaded.test(relative(from, source));
    cpSync(from, join(directory, 'node_modules', name), { recursive: true, filter });
  }
}
