import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LoginFailures } from '../../sidecar/login-failures.ts';

const failure = (source: string) =>
  ({ source, protocol: 'Postgres', backend: 'b', reason: 'expired' }) as const;

describe('LoginFailures', () => {
  test('records twenty a minute of a source, and counts the rest in one', () => {
    const failures = new LoginFailures();
    const recorded = Array.from({ length: 100 }, (_, index) =>
      failures.note(failure('a'), index),
    ).flat();
    assert.equal(recorded.length, 20);
    assert.deepEqual(failures.due(59_999), []);
    assert.deepEqual(failures.due(60_000), [{ ...failure('a'), attempts: 80 }]);
    assert.equal(failures.note(failure('a'), 60_001).length, 1);
  });

  test('counts every attempt of very many sources in bounded memory', () => {
    const failures = new LoginFailures();
    let attempts = 0;
    for (let index = 0; index < 50_000; index += 1) {
      for (const recorded of failures.note(failure(`source ${index}`), index / 1_000))
        attempts += recorded.attempts;
    }
    for (const recorded of failures.due()) attempts += recorded.attempts;
    assert.equal(attempts, 50_000);
  });
});
