import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { bundle } from '../../../../tools/bundle.ts';

test('the bundled thread of the grammar finds the grammar beside itself', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-bundle-'));
  try {
    await bundle('sidecar/main.ts', directory);
    const file = join(directory, 'sidecar-postgres-grammar-worker.cjs');
    const worker = new Worker(file, { env: {}, execArgv: [] });
    const [ready]: unknown[] = await once(worker, 'message');
    assert.deepEqual(ready, { type: 'ready' });
    worker.postMessage('select from where');
    const [read]: { json?: string }[] = await once(worker, 'message');
    assert.match(read?.json ?? '', /syntax error at or near \\"where\\"/);
    await worker.terminate();
  } finally {
    rmSync(directory, { recursive: true });
  }
});
