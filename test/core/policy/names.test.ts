import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { NameSet, tryParseName, writeName } from '#core/policy/names.ts';
import { relation } from '../../support/policies.ts';
import { Random, scaled } from '../../support/random.ts';

describe('a name in a rule', () => {
  const readable: [text: string, schema: string | undefined, name: string | undefined][] = [
    ['orders', undefined, 'orders'],
    ['public.orders', 'public', 'orders'],
    ['public.*', 'public', undefined],
    ['*', undefined, undefined],
    ['Orders', undefined, 'Orders'],
    ['"a.b".c', 'a.b', 'c'],
    ['a."b.c"', 'a', 'b.c'],
    ['"a""b"', undefined, 'a"b'],
    ['"*"', undefined, '*'],
    ['public."*"', 'public', '*'],
    ['"with space".t', 'with space', 't'],
    ['größe', undefined, 'größe'],
    ['a-b', undefined, 'a-b'],
  ];
  for (const [text, schema, name] of readable)
    test(`${text} is ${schema ?? 'any schema'}, ${name ?? 'any name'}`, () =>
      assert.deepEqual(tryParseName(text), { schema, name }));

  const wrong = ['', '.', 'a.', '.a', 'a.b.c', '*.a', '*.*', 'a*', '*a', 'a.b*', '"a', 'a"', '""', 'a"b"', '"a"b', 'a b', ' a', 'a\0b', '"a\0"', '"a".', '"a""']; // prettier-ignore
  for (const text of wrong)
    test(`${JSON.stringify(text)} is none`, () => assert.equal(tryParseName(text), undefined));

  test('reads back as it was written, whatever is in it', () => {
    const random = new Random(7);
    const letters = ['a', 'B', '.', '"', '*', ' ', '\n', 'é', '\u202e', '\u{1f600}', '$'];
    const part = (): string =>
      Array.from({ length: 1 + random.below(4) }, () => random.pick(letters)).join('');
    for (let round = 0; round < scaled(20_000); round += 1) {
      const given = { schema: random.below(2) === 0 ? undefined : part(), name: part() };
      assert.deepEqual(tryParseName(writeName(given)), given, JSON.stringify(given));
    }
  });
});

describe('a set of names', () => {
  /** [name in the rule, name in the facts, whether a grant covers it, whether a ban touches it] */
  const cases: [rule: string, fact: string, covers: boolean, touches: boolean][] = [
    ['orders', 'public.orders', true, true],
    ['orders', 'other.orders', true, true],
    ['orders', 'orders', true, true],
    ['orders', 'public.Orders', false, false],
    ['orders', 'public.*', false, true],
    ['orders', '*', false, true],
    ['public.orders', 'public.orders', true, true],
    ['public.orders', 'other.orders', false, false],
    ['public.orders', 'orders', false, true],
    ['public.orders', 'others', false, false],
    ['public.orders', 'public.*', false, true],
    ['public.orders', 'other.*', false, false],
    ['public.orders', '*', false, true],
    ['public.*', 'public.orders', true, true],
    ['public.*', 'other.orders', false, false],
    ['public.*', 'orders', false, true],
    ['public.*', 'public.*', true, true],
    ['public.*', '*', false, true],
    ['*', 'public.orders', true, true],
    ['*', 'orders', true, true],
    ['*', 'public.*', true, true],
    ['*', '*', true, true],
    ['"*"', 'public.*', false, true],
    ['public."*"', 'public.*', false, true],
    ['public."*"', 'public.orders', false, false],
  ];
  for (const [rule, fact, covers, touches] of cases)
    test(`${rule} ${covers ? 'covers' : 'does not cover'} and ${touches ? 'touches' : 'does not touch'} ${fact}`, () => {
      const set = new NameSet();
      const pattern = tryParseName(rule);
      assert.ok(pattern);
      set.add(pattern);
      assert.deepEqual(
        [set.covers(relation(fact)), set.touches(relation(fact))],
        [covers, touches],
      );
    });

  test('of nothing covers and touches nothing', () => {
    const set = new NameSet();
    for (const fact of ['public.orders', 'orders', 'public.*', '*'])
      assert.deepEqual([set.covers(relation(fact)), set.touches(relation(fact))], [false, false]);
  });

  test('touches whatever it covers', () => {
    const random = new Random(11);
    const rules = ['a', 'b', 's.a', 's.b', 't.a', 's.*', '*', '"*"', 's."*"'];
    const facts = ['a', 'b', 's.a', 't.b', 's.*', 't.*', '*'];
    for (let round = 0; round < scaled(5_000); round += 1) {
      const set = new NameSet();
      for (let count = random.below(4); count > 0; count -= 1) {
        const pattern = tryParseName(random.pick(rules));
        if (pattern) set.add(pattern);
      }
      const fact = relation(random.pick(facts));
      if (set.covers(fact)) assert.ok(set.touches(fact), JSON.stringify(fact));
    }
  });
});
