import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { allocator, oldGeneration, youngGeneration } from '../../../cli/dev/child.ts';
import { projectDirectory } from '../../../cli/instance.ts';

test('the image starts Node with the memory settings of this machine', () => {
  const dockerfile = readFileSync(join(projectDirectory, 'Dockerfile'), 'utf8');
  const entry = /^ENTRYPOINT (\[.*\])$/m.exec(dockerfile)?.[1] ?? '[]';
  const [, ...flags] = JSON.parse(entry) as readonly string[];
  assert.deepEqual(flags.slice(0, 2), [youngGeneration, oldGeneration]);
  const variables = Object.entries(allocator).map(([name, value]) => `${name}=${value}`);
  assert.match(dockerfile, new RegExp(`^ENV ${variables.join(' ')}$`, 'm'));
});
