import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, chmodSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Whether a test may mount what it needs, in the words of the test runner. */
export const mounts = process.getuid?.() === 0 ? false : 'only root can mount';

/** A data directory whose spool is on a small disk of its own. */
export interface SmallSpool extends Disposable {
  readonly data: string;
  readonly directory: string;
  remount(options: 'ro' | 'rw'): void;
}

export function mountSmallSpool(megabytes: number): SmallSpool {
  const home = mkdtempSync(join(tmpdir(), 'chaperone-small-'));
  chmodSync(home, 0o711); // the databases run under an account of their own
  const data = join(home, 'data');
  const directory = join(data, 'spool');
  mkdirSync(data, { mode: 0o711 });
  mkdirSync(directory, { mode: 0o700 });
  const mount = (...args: readonly string[]): void =>
    void execFileSync('mount', [...args, directory], { stdio: 'pipe' });
  mount('-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0700`, 'tmpfs');
  return {
    data,
    directory,
    remount: (options) => mount('-o', `remount,${options}`),
    [Symbol.dispose]: () => {
      execFileSync('umount', [directory]);
      rmSync(home, { recursive: true });
    },
  };
}
