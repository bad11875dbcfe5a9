import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BoundedLines } from '../../sidecar/bounded-lines.ts';

const bytes = Buffer.from('one\n\nzwölf €\nthe rest');

test('lines are the same at whatever byte they were split', () => {
  for (let first = 0; first <= bytes.length; first += 1)
    for (let second = first; second <= bytes.length; second += 1) {
      const lines = new BoundedLines(100);
      const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]; // prettier-ignore
      assert.deepEqual(pieces.flatMap((piece) => [...lines.take(piece)]), ['one', '', 'zwölf €']); // prettier-ignore
    }
});

test('a line may be as long as is said, and one byte more is too long, with its end or without', () => {
  const line = 'x'.repeat(1_000);
  const split = (text: string, at: number): string[] => {
    const lines = new BoundedLines(line.length);
    const given = Buffer.from(text);
    return [...lines.take(given.subarray(0, at)), ...lines.take(given.subarray(at))];
  };
  for (const at of [0, 1, 999, 1_000, 1_001]) {
    assert.deepEqual(split(`${line}\n${line}\n`, at), [line, line]);
    assert.throws(() => split(`${line}x\n`, at), /too long a line/);
    assert.throws(() => split(`${line}x`, at), /too long a line/);
  }
});
