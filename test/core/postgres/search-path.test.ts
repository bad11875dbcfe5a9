import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { tryParseSearchPath } from '#core/postgres/search-path.ts';

describe('tryParseSearchPath', () => {
  const cases: [text: string, schemas: readonly string[] | undefined][] = [
    ['"$user", public', ['$user', 'public']],
    ['', []],
    ['  ', []],
    ['""', ['']],
    ['Public,OTHER', ['public', 'other']],
    ['"Public" , "a""b"', ['Public', 'a"b']],
    ['"a,b", c', ['a,b', 'c']],
    ['É', ['É']], // folded in no server encoding of several bytes
    [`"${'a'.repeat(64)}", b`, ['a'.repeat(63), 'b']],
    [`"${'a'.repeat(62)}\u00e9"`, ['a'.repeat(62)]],
    ['a,', undefined],
    ['a b', undefined],
    ['"a', undefined],
    [',a', undefined],
  ];
  for (const [text, schemas] of cases) {
    test(`reads ${JSON.stringify(text)}`, () =>
      assert.deepEqual(tryParseSearchPath(text), schemas));
  }
});
