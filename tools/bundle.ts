import { join } from 'node:path';
import { build } from 'esbuild';

/**
 * Bundles a service into one file, as an image holds it. CommonJS, because packages that are CommonJS themselves and use
 * `__dirname` do not run within an ES module.
 */
export async function bundle(entry: string, directory: string): Promise<string> {
  const outfile = join(directory, `${entry.split('/')[0] ?? 'service'}.cjs`);
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    minify: true,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    logLevel: 'error',
  });
  return outfile;
}
