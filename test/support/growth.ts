import assert from 'node:assert/strict';
import { heapBytesOf, openFilesOf } from './inspector.ts';
import type { TestInstance } from './instance.ts';
import { untilIdle } from './metrics.ts';

const steadyRounds = 4;
const maxRounds = 16;
const tolerance = 1.01; // over the steady rounds together

/**
 * Repeats a round of work until the sidecar holds no more memory after one than some rounds before. Compiled code and
 * filled pools make the first rounds grow, however many those are; what each round leaves behind makes all of them grow.
 */
export async function assertNothingLeft(
  instance: TestInstance,
  round: () => Promise<void>,
): Promise<void> {
  const pid = instance.instance.pids.sidecar;
  const heaps: number[] = [];
  const files: number[] = [];
  while (heaps.length < maxRounds) {
    await round();
    await untilIdle(instance);
    assert.equal(instance.instance.pids.sidecar, pid, 'the sidecar was restarted');
    heaps.push(await heapBytesOf(pid));
    files.push(openFilesOf(pid));
    if (isSteady(heaps, tolerance) && isSteady(files, 1)) return;
  }
  assert.fail(`it grows: ${heaps.join(', ')} bytes, ${files.join(', ')} open files`);
}

function isSteady(counts: readonly number[], factor: number): boolean {
  const before = counts.at(-steadyRounds);
  return before !== undefined && (counts.at(-1) ?? 0) <= before * factor;
}
