import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { helmVersion, kubernetesVersion, programs, programSources } from './places.ts';
import { inPath, run } from '../../tools/run.ts';

/** Where Go's own archive goes, as its instructions have it; not every PATH has that. */
const goHome = '/usr/local/go/bin/go';

const stepMs = 30_000; // how often a long build says how far it is

/**
 * Compiles the cluster's programs, unless that has been done: ten to twenty minutes on two cores, 4 GB of Go's build cache.
 * They go to their place all at once, so that what is there is whole.
 */
export async function buildPrograms(say: (line: string) => void): Promise<void> {
  if (existsSync(programs)) return;
  if (!inPath('go') && !existsSync(goHome))
    throw new Error(
      'Go 1.21 or newer compiles Kubernetes, and fetches a newer one by itself where that is needed: install it from https://go.dev/dl, or Debian 13’s package golang-go',
    );
  say(`compiling Kubernetes ${kubernetesVersion}: once, ten to twenty minutes, into ${programs}`);
  run(go(), ['mod', 'download'], { cwd: programSources, timeout: 900_000 });
  const unfinished = `${programs}.${process.pid}`;
  mkdirSync(dirname(programs), { recursive: true });
  try {
    await compile('.', join(unfinished, 'kube'), kubernetesFlags(), say);
    await compile('helm.sh/helm/v3/cmd/helm', join(unfinished, 'helm'), helmFlags, say);
    await compile('./pause', join(unfinished, 'pause'), [], say);
    renameSync(unfinished, programs);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}

const go = (): string => (inPath('go') ? 'go' : goHome);

/** Without them a node says that it is v0.0.0, and clients refuse to work with it. */
function kubernetesFlags(): readonly string[] {
  const [, major, minor] = /^v(\d+)\.(\d+)\./.exec(kubernetesVersion) ?? [];
  const values = {
    gitVersion: kubernetesVersion,
    gitMajor: major,
    gitMinor: minor,
    gitTreeState: 'clean',
    gitCommit: '0'.repeat(40),
  };
  return ['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version'].flatMap((variable) =>
    Object.entries(values).map(([name, value]) => `-X=${variable}.${name}=${value}`),
  );
}

const helmFlags = [`-X=helm.sh/helm/v3/internal/version.version=${helmVersion}`];

/** Compiles one package after the other, at a low priority: the machine stays usable meanwhile. */
async function compile(
  source: string,
  output: string,
  linkerFlags: readonly string[],
  say: (line: string) => void,
): Promise<void> {
  const env = { ...process.env, CGO_ENABLED: '0' }; // the image of `pause` holds one file: it has to be static
  const packages = run(go(), ['list', '-deps', source], { cwd: programSources, env }).split('\n');
  const flags = ['-v', '-trimpath', '-buildvcs=false'];
  const args = ['build', ...flags, `-ldflags=-s -w ${linkerFlags.join(' ')}`, '-o', output, source];
  const child = spawn('nice', ['-n', '10', go(), ...args], {
    cwd: programSources,
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = once(child, 'close') as Promise<[number | null]>; // its arguments are code and signal
  const written: string[] = [];
  const ticker = setInterval(
    () => say(`  ${source}: ${written.length} of at most ${packages.length} packages`),
    stepMs,
  );
  createInterface({ input: child.stderr }).on('line', (line) => written.push(line));
  const [code] = await ended.finally(() => clearInterval(ticker));
  if (code !== 0) throw new Error(`go ${args.join(' ')} failed:\n${written.slice(-20).join('\n')}`);
}
