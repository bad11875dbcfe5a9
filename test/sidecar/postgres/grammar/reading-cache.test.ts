import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ReadingCache } from '../../../../sidecar/postgres/grammar/reading-cache.ts';
import { unreadable } from '../../../../sidecar/postgres/grammar/reading.ts';

const reading = unreadable('busy');

describe('readings that are kept', () => {
  test('stay within their bound, whatever comes', () => {
    const cache = new ReadingCache(100_000);
    for (let index = 0; index < 5_000; index += 1) {
      cache.set(`${'x'.repeat(index % 900)}${index}`, reading, index % 700);
      assert.ok(cache.bytes <= 100_000);
    }
    assert.ok(cache.bytes > 80_000);
  });

  test('are those that were used last', () => {
    const cache = new ReadingCache(10_000);
    cache.set('kept', reading, 10);
    for (let index = 0; index < 1_000; index += 1) {
      assert.equal(cache.get('kept'), reading);
      cache.set(`text ${index}`, reading, 10);
    }
    assert.equal(cache.get('text 1'), undefined);
    assert.equal(cache.get('text 999'), reading);
  });

  test('are not driven out by a single large one', () => {
    const cache = new ReadingCache(10_000);
    cache.set('small', reading, 10);
    cache.set('large', reading, 2_000);
    assert.deepEqual([cache.get('small'), cache.get('large')], [reading, undefined]);
  });

  test('count once, however often they are set', () => {
    const cache = new ReadingCache(10_000);
    for (let turn = 0; turn < 5; turn += 1) cache.set('same', reading, 10);
    const { bytes } = cache;
    assert.ok(bytes > 0 && bytes < 500);
  });
});
