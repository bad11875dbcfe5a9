import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { trySettingsOfOptions } from '#core/postgres/startup-options.ts';

describe('trySettingsOfOptions', () => {
  const cases: [options: string, settings: readonly string[] | undefined][] = [
    ['', []],
    ['  ', []],
    ['-c a=b', ['a']],
    ['-ca=b', ['a']],
    ['--a-b=c', ['a_b']],
    ['-c App.User=x', ['app.user']],
    ['-c a-b=c --d=e', ['a_b', 'd']],
    ['-c\ta=b\n-c c=d', ['a', 'c']],
    ['-c a=b\\ c', ['a']],
    ['\\-c a=b', ['a']],
    ['-\\c a=b', ['a']],
    ['-c app\\.user=x', ['app.user']],
    ['-c', undefined],
    ['-c a', undefined],
    ['-c =a', undefined],
    ['-F', undefined],
    ['-S 1000', undefined],
    ['a=b', undefined],
    ['-c a=b \\', undefined],
  ];
  for (const [options, settings] of cases) {
    test(`reads ${JSON.stringify(options)}`, () =>
      assert.deepEqual(trySettingsOfOptions(options), settings));
  }
});
