import assert from 'node:assert/strict';
import { heapBytesOf, openFilesOf } from './inspector.ts';
import type { TestInstance } from './instance.ts';
import { untilIdle } from './metrics.ts';

const window = 4; // rounds that are taken together
const maxRounds = 24;
const tolerance = 1.01; // from one window to the next

/**
 * Repeats a round of work until the sidecar holds no more memory in the last rounds than in those before. Compiled code
 * and filled pools make the first rounds grow, however many those are, and each round is measured a few per cent high or
 * low; what every round leaves behind makes all of them grow.
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
    if (isSteady(heaps) && isSteady(files)) return;
  }
  assert.fail(`it grows: ${heaps.join(', ')} bytes, ${files.join(', ')} open files`);
}

function isSteady(counts: readonly number[]): boolean {
  if (counts.length < 2 * window) return false;
  const before = median(counts.slice(-2 * window, -window));
  return median(counts.slice(-window)) <= before * tolerance;
}

function median(counts: readonly number[]): number {
  const sorted = counts.toSorted((a, b) => a - b);
  const middle = sorted.slice(sorted.length / 2 - 1, sorted.length / 2 + 1);
  return middle.reduce((sum, count) => sum + count, 0) / middle.length;
}
