import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { lockDirectory } from '../../runtime/directory-lock.ts';
import { until } from '../support/until.ts';

const module = join(import.meta.dirname, '../../runtime/directory-lock.ts');

describe('a directory that a process has claimed', () => {
  test('is refused to others, in a sentence, and free again when the claim ends', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'chaperone-lock-'));
    const lock = await lockDirectory(directory, 'it is taken');
    const taken = { code: 'config-invalid', message: 'it is taken' };
    await assert.rejects(lockDirectory(directory, 'it is taken'), taken);
    await assert.rejects(lockDirectory(`${directory}/.`, 'it is taken'), taken);
    lock.close();
    (await lockDirectory(directory, 'it is taken')).close();
    rmSync(directory, { recursive: true });
  });

  test('is free at once when the process was killed', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'chaperone-lock-'));
    const script = `const { lockDirectory } = await import(process.argv[1]);
      await lockDirectory(process.argv[2], 'taken'); console.log('claimed'); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, module, directory]);
    child.stderr.pipe(process.stderr);
    await once(child.stdout, 'data');
    await assert.rejects(lockDirectory(directory, 'it is taken'), { code: 'config-invalid' });
    child.kill('SIGKILL');
    await once(child, 'exit');
    const lock = await until('it is free', () => lockDirectory(directory, 'taken').catch(() => undefined)); // prettier-ignore
    lock.close();
    rmSync(directory, { recursive: true });
  });
});
