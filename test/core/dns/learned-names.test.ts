import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LearnedNames } from '#core/dns/learned-names.ts';

const hourMs = 3_600_000;

describe('what names stand for', () => {
  test('is known for an hour after it was said', () => {
    const learned = new LearnedNames();
    learned.learn('192.0.2.1', 'a', 0);
    learned.learn('192.0.2.1', 'b', 10);
    assert.deepEqual(learned.namesOf('192.0.2.1', hourMs - 1), ['a', 'b']);
    assert.deepEqual(learned.namesOf('192.0.2.1', hourMs), ['b']);
    assert.deepEqual(learned.namesOf('192.0.2.2', 0), []);
    assert.deepEqual(learned.namesOf('192.0.2.1', hourMs + 10), []);
    assert.equal(learned.size, 0);
  });

  test('is known while a connection uses it, and for an hour from then', () => {
    const learned = new LearnedNames();
    learned.learn('192.0.2.1', 'a', 0);
    const first = learned.use('192.0.2.1');
    const second = learned.use('192.0.2.1');
    first(1);
    first(2); // ends once
    assert.deepEqual(learned.namesOf('192.0.2.1', 9 * hourMs), ['a']);
    second(9 * hourMs);
    assert.deepEqual(learned.namesOf('192.0.2.1', 10 * hourMs - 1), ['a']);
    assert.deepEqual(learned.namesOf('192.0.2.1', 10 * hourMs), []);
    learned.use('192.0.2.9')(0); // of an address that nobody asked for
  });

  test('is bounded, and keeps what is in use and what was said last', () => {
    const learned = new LearnedNames({ maxAddresses: 3, maxNames: 2 });
    learned.learn('in use', 'a', 0);
    learned.use('in use');
    for (const address of ['1', '2', '1', '3']) learned.learn(address, 'x', 0);
    assert.equal(learned.size, 3);
    assert.deepEqual(['in use', '1', '2', '3'].map((one) => learned.namesOf(one, 0).length), [1, 1, 0, 1]); // prettier-ignore
    for (const name of ['b', 'c', 'd']) learned.learn('1', name, 0);
    assert.deepEqual(learned.namesOf('1', 0), ['c', 'd']);
  });
});
