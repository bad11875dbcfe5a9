import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { bundle } from '../../tools/bundle.ts';

test('the command line works as a bundle, which is how an image holds it', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-bundle-'));
  try {
    const file = await bundle('cli/main.ts', directory);
    const said = execFileSync(process.execPath, [file, '--help'], { env: {}, encoding: 'utf8' });
    assert.match(said, /^usage: chaperone COMMAND/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
