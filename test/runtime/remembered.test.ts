import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Remembered, type Answer } from '../../runtime/remembered.ts';

/** Answers are given by hand, and time passes by hand. */
function setUp(bounds: { maxKept?: number; maxAsking?: number } = {}) {
  const asked: { token: string; answer: PromiseWithResolvers<Answer<string>> }[] = [];
  const clock = { ms: 0 };
  const remembered = new Remembered<string>({
    ask: (token) => {
      const answer = Promise.withResolvers<Answer<string>>();
      asked.push({ token, answer });
      return answer.promise;
    },
    maxKept: bounds.maxKept ?? 10,
    maxAsking: bounds.maxAsking ?? 10,
    now: () => clock.ms,
  });
  const know = async (token: string, forMs: number): Promise<void> => {
    const value = remembered.about(token);
    asked.at(-1)?.answer.resolve({ value: `about ${token}`, forMs });
    assert.equal(await value, `about ${token}`);
  };
  return { remembered, asked, clock, know };
}

describe('what is remembered of tokens', () => {
  test('is asked once by all who want it at the same time', async () => {
    const { remembered, asked } = setUp();
    const [one, other] = [remembered.about('a'), remembered.about('a')];
    asked[0]?.answer.resolve({ value: 'somebody', forMs: 0 });
    assert.deepEqual([await one, await other, asked.length], ['somebody', 'somebody', 1]);
  });

  test('holds for as long as the answer says, counted from the question on', async () => {
    const { remembered, asked, clock, know } = setUp();
    const value = remembered.about('a');
    clock.ms = 40;
    asked[0]?.answer.resolve({ value: 'somebody', forMs: 100 });
    await value;
    clock.ms = 99;
    assert.equal(await remembered.about('a'), 'somebody');
    assert.equal(asked.length, 1);
    clock.ms = 100;
    await know('a', 100);
    assert.equal(asked.length, 2);
  });

  test('is nothing where the answer does not hold at all', async () => {
    const { asked, know } = setUp();
    await know('a', 0);
    await know('a', 0);
    assert.equal(asked.length, 2);
  });

  test('is nothing where the question failed: the next one asks anew', async () => {
    const { remembered, asked, know } = setUp();
    const value = remembered.about('a');
    asked[0]?.answer.reject(new Error('away'));
    await assert.rejects(async () => value, /away/);
    await know('a', 100);
    assert.equal(asked.length, 2);
  });

  test('is at most so much, of which the oldest is forgotten', async () => {
    const { remembered, asked, know } = setUp({ maxKept: 2 });
    for (const token of ['a', 'b', 'c']) await know(token, 100);
    for (const token of ['b', 'c']) await remembered.about(token);
    assert.equal(asked.length, 3);
    await know('a', 100);
    assert.equal(asked.length, 4);
  });

  test('is not asked for where too much is asked already', async () => {
    const { remembered, asked, know } = setUp({ maxAsking: 1 });
    await know('known', 100);
    const value = remembered.about('a');
    assert.equal(remembered.about('b'), undefined);
    assert.equal(await remembered.about('known'), 'about known');
    asked.at(-1)?.answer.resolve({ value: 'somebody', forMs: 0 });
    await value;
    await know('b', 0);
  });
});
