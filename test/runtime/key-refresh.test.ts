import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import type { JWK } from 'jose';
import type { ResolvedProvider } from '#core/policy/resolve.ts';
import { KeyRefresh } from '../../runtime/key-refresh.ts';

const provider: ResolvedProvider = {
  name: 'idp',
  issuer: 'https://i.example',
  audiences: ['a'],
  jwksUri: undefined,
  claims: { user: 'sub', groups: 'groups', onBehalfOf: undefined },
};
const key = (kid: string): readonly JWK[] => [{ kty: 'OKP', kid }];

/** An issuer that answers when and how a test says, under a clock that a test moves. */
function setUp(context: TestContext) {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const stop = new AbortController();
  context.after(() => stop.abort());
  const asked: PromiseWithResolvers<readonly JWK[]>[] = [];
  const heard: string[] = [];
  let nowMs = 0;
  const keys = new KeyRefresh({
    fetch: () => {
      const answer = Promise.withResolvers<readonly JWK[]>();
      asked.push(answer);
      return answer.promise;
    },
    onKeys: () => heard.push('keys'),
    onFailure: (name, error) => heard.push(`${name}: ${String(error)}`),
    nowMs: () => nowMs,
    signal: stop.signal,
  });
  return {
    keys,
    asked,
    heard,
    stop,
    /** Lets time pass, and whatever follows from it happen. */
    pass: async (ms: number): Promise<void> => {
      nowMs += ms;
      context.mock.timers.tick(ms);
      await new Promise(setImmediate);
    },
    answer: async (found: readonly JWK[] | Error): Promise<void> => {
      if (found instanceof Error) asked.at(-1)?.reject(found);
      else asked.at(-1)?.resolve(found);
      await new Promise(setImmediate);
    },
  };
}

describe('KeyRefresh', () => {
  test('has the keys once the provider was tried', async (context) => {
    const { keys, answer } = setUp(context);
    const tracked = keys.track([provider]);
    assert.deepEqual(keys.keysOf(provider), []);
    await answer(key('1'));
    await tracked;
    assert.deepEqual(keys.keysOf(provider), key('1'));
  });

  test('fetches them anew every ten minutes', async (context) => {
    const { keys, asked, answer, pass } = setUp(context);
    void keys.track([provider]);
    await answer(key('1'));
    await pass(599_999);
    assert.equal(asked.length, 1);
    await pass(1);
    assert.equal(asked.length, 2);
    await answer(key('2'));
    assert.deepEqual(keys.keysOf(provider), key('2'));
  });

  test('tries again ever more rarely while that fails, keeps the last keys, and says so each time', async (context) => {
    const { keys, asked, heard, answer, pass } = setUp(context);
    void keys.track([provider]);
    await answer(key('1'));
    await pass(600_000);
    for (const waitMs of [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]) {
      await answer(new Error('down'));
      const before = asked.length;
      await pass(waitMs - 1);
      assert.equal(asked.length, before, `tried before ${waitMs} ms`);
      await pass(1);
      assert.equal(asked.length, before + 1, `not tried after ${waitMs} ms`);
    }
    assert.deepEqual(keys.keysOf(provider), key('1'));
    assert.equal(heard.filter((line) => line === 'idp: Error: down').length, 8);
    await answer(key('2'));
    assert.deepEqual(keys.keysOf(provider), key('2'));
  });

  test('all that look for an unknown key at the same time share one fetch', async (context) => {
    const { keys, asked, answer, pass } = setUp(context);
    void keys.track([provider]);
    await answer(key('1'));
    await pass(1_000);
    const callers = [keys.refresh(provider), keys.refresh(provider), keys.refresh(provider)];
    assert.equal(asked.length, 2);
    await answer(key('2'));
    assert.deepEqual(await Promise.all(callers), [true, true, true]);
    assert.deepEqual(keys.keysOf(provider), key('2'));
  });

  test('an unknown key is looked for at most once a minute', async (context) => {
    const { keys, asked, answer, pass } = setUp(context);
    void keys.track([provider]);
    await answer(key('1'));
    const first = keys.refresh(provider);
    await answer(key('1'));
    assert.equal(await first, true);
    await pass(59_999);
    assert.equal(await keys.refresh(provider), false);
    assert.equal(asked.length, 2);
    await pass(1);
    void keys.refresh(provider);
    assert.equal(asked.length, 3);
  });

  test('a token that comes while the first keys are fetched waits for them', async (context) => {
    const { keys, asked, answer } = setUp(context);
    void keys.track([provider]);
    const caller = keys.refresh(provider);
    await answer(key('1'));
    assert.equal(await caller, true);
    assert.equal(asked.length, 1);
  });

  test('forgets a provider that is gone, and takes no answer for it', async (context) => {
    const { keys, heard, asked, answer, pass } = setUp(context);
    void keys.track([provider]);
    keys.retain([]);
    await answer(key('1'));
    await pass(600_000);
    assert.deepEqual([heard, asked.length, keys.keysOf(provider)], [[], 1, []]);
    assert.equal(await keys.refresh(provider), false);
  });

  test('takes a provider that moved for another one', async (context) => {
    const { keys, asked, answer } = setUp(context);
    void keys.track([provider]);
    await answer(key('1'));
    const moved = { ...provider, jwksUri: 'https://elsewhere.example/keys' };
    void keys.track([moved]);
    assert.equal(asked.length, 2);
    assert.deepEqual(keys.keysOf(moved), []);
  });

  test('stops when it is told to', async (context) => {
    const { keys, asked, stop, answer, pass } = setUp(context);
    void keys.track([provider]);
    await answer(key('1'));
    stop.abort();
    await pass(3_600_000);
    await keys.track([provider]);
    assert.equal(asked.length, 1);
  });
});
