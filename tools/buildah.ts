import { join } from 'node:path';
import { cacheDirectory } from './cache.ts';
import { run } from './run.ts';

/** Where images are built, outside every checkout: it takes long to fill, and serves them all. */
export const imageCache = join(cacheDirectory, 'image');

/** Runs Buildah with a store of its own. Copying each layer takes seconds, and works on every file system. */
export function buildah(...args: readonly string[]): string {
  const store = [`--root=${imageCache}/store`, `--runroot=${imageCache}/run`];
  return run('buildah', [...store, '--storage-driver=vfs', ...args], {
    cwd: join(import.meta.dirname, '..'),
    timeout: 900_000,
  });
}
