import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Recent } from '#core/record/recent.ts';

describe('Recent', () => {
  test('forgets the oldest when the rest weighs too much, and says which', () => {
    const recent = new Recent<string>(10);
    assert.deepEqual(recent.set(1, 'a', 4), []);
    assert.deepEqual(recent.set(2, 'b', 4), []);
    assert.deepEqual(recent.set(3, 'c', 6), ['a']);
    assert.deepEqual([recent.get(1), recent.get(2), recent.get(3)], [undefined, 'b', 'c']);
  });

  test('does not count what was deleted or replaced', () => {
    const recent = new Recent<string>(10);
    recent.set(1, 'a', 9);
    recent.delete(1);
    recent.delete(1);
    assert.deepEqual(recent.set(2, 'b', 9), []);
    assert.deepEqual(recent.set(2, 'c', 10), []);
    assert.equal(recent.get(2), 'c');
  });

  test('does not keep what weighs too much by itself', () => {
    const recent = new Recent<string>(10);
    assert.deepEqual(recent.set(1, 'a', 11), ['a']);
    assert.equal(recent.get(1), undefined);
    assert.equal(recent.get(undefined), undefined);
  });
});
