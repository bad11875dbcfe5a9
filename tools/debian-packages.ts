import { inPath, run } from './run.ts';

/** How it shows that something is there, and the Debian package that brings it. */
export type Needed = readonly [there: () => boolean, debianPackage: string];

/** What builds the image where there need be no Docker. */
export const forImage: readonly Needed[] = [
  [() => inPath('buildah'), 'buildah'],
  [() => inPath('mmdebstrap'), 'mmdebstrap'],
];

/** Installs what is missing, as root on Debian; else says what to install. */
export function providePackages(needed: readonly Needed[], say: (line: string) => void): void {
  const missing = needed.filter(([there]) => !there()).map(([, name]) => name);
  if (missing.length === 0) return;
  const names = missing.join(' ');
  const args = ['install', '--yes', '--no-install-recommends', ...missing];
  if (!inPath('apt-get')) throw new Error(`install what Debian calls ${names}, and start again`);
  if (process.getuid?.() !== 0)
    throw new Error(`${names} must be there: have root run "apt-get ${args.join(' ')}"`);
  say(`installing ${names}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '--quiet'], { env, timeout: 300_000 });
  run('apt-get', args, { env, timeout: 600_000 });
}
