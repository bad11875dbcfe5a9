import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startNodeChild } from '../../../cli/dev/child.ts';

test('a part that ends before it has read its secrets ends nobody else', async () => {
  const home = mkdtempSync(join(tmpdir(), 'chaperone-child-'));
  const logFile = join(home, 'log');
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const child = startNodeChild({
      name: 'part',
      args: [join(home, 'not-there.ts')],
      env: {},
      logFile,
      secrets: { token: 'x'.repeat(1_000) },
      onReport: () => assert.fail('it reported'),
    });
    await child.exited;
    // An error of the pipe that nobody hears would come now, and end this process.
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  assert.match(readFileSync(logFile, 'utf8'), /not-there/);
  rmSync(home, { recursive: true });
});
