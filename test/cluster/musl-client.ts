import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { imageCache } from '../../tools/buildah.ts';
import { providePackages, type Needed } from '../../tools/debian-packages.ts';
import { inPath, run } from '../../tools/run.ts';

/** A program that asks for names with musl's resolver, as images of Alpine do, and dials; `musl-client.c` says how. */

const source = join(import.meta.dirname, 'musl-client.c');
const forMusl: readonly Needed[] = [[() => inPath('musl-gcc'), 'musl-tools']];

export const muslClientVersion = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 16); // prettier-ignore

/** Compiles it where this machine has not yet, and returns its path. It needs no library. */
export function provideMuslClient(say: (line: string) => void): string {
  const program = join(imageCache, `musl-client-${muslClientVersion}`);
  if (existsSync(program)) return program;
  providePackages(forMusl, say);
  mkdirSync(imageCache, { recursive: true });
  const unfinished = `${program}.${process.pid}`;
  run('musl-gcc', ['-static', '-Os', '-s', '-Wall', '-Werror', '-o', unfinished, source]);
  renameSync(unfinished, program);
  return program;
}

/** Makes an image with that program alone whose USER is a uid: where its archive is, and what it is called. */
export function buildUserImage(uid: number): AsyncDisposable & { readonly archive: string; readonly name: string } {
  const name = `localhost/chaperone-user:${uid}`;
  const made = mkdtempSync(join(tmpdir(), 'chaperone-user-image-'));
  const write = (file: string, json: unknown): void => writeFileSync(join(made, file), JSON.stringify(json));
  const program = provideMuslClient(() => undefined);
  run('tar', ['--create', `--file=${made}/layer.tar`, '--mode=755', '--transform=s/.*/client/', `--directory=${imageCache}`, program.slice(imageCache.length + 1)]);
  const digest = createHash('sha256').update(readFileSync(join(made, 'layer.tar'))).digest('hex');
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  write('config.json', {
    architecture,
    os: 'linux',
    config: { Entrypoint: ['/client'], User: String(uid) },
    rootfs: { type: 'layers', diff_ids: [`sha256:${digest}`] },
  });
  write('manifest.json', [{ Config: 'config.json', RepoTags: [name], Layers: ['layer.tar'] }]);
  const archive = join(made, 'image.tar');
  run('tar', ['--create', `--file=${archive}`, `--directory=${made}`, 'config.json', 'manifest.json', 'layer.tar']);
  return { archive, name, [Symbol.asyncDispose]: async () => rmSync(made, { recursive: true }) };
} // prettier-ignore
