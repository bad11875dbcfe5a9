import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KnownTexts, type Known } from '../../../../sidecar/postgres/reading/known-texts.ts';

const text = (content: string | Buffer): Known => ({ kind: 'text', text: Buffer.from(content) });
const big = 512 * 1024;

describe('KnownTexts', () => {
  test('knows every text that a name may stand for', () => {
    const texts = new KnownTexts();
    texts.remember('a', text('select 1'));
    texts.remember('a', text('select 2'));
    texts.remember('b', text('select 3'));
    assert.deepEqual(texts.candidates('a'), [text('select 1'), text('select 2')]);
    assert.deepEqual(texts.candidates('b'), [text('select 3')]);
    assert.equal(texts.candidates('c'), undefined);
  });

  test('claims nothing of a name that has stood for too many', () => {
    const texts = new KnownTexts();
    for (let count = 0; count < 9; count += 1) texts.remember('a', text(`select ${count}`));
    assert.equal(texts.candidates('a'), undefined);
  });

  test('claims nothing of any name once it has forgotten one for want of room', () => {
    const texts = new KnownTexts();
    const first = texts.remember('a', text('select 1'));
    for (let count = 0; count < 5; count += 1) texts.remember(`b${count}`, text(Buffer.alloc(big)));
    assert.equal(first.known, undefined);
    assert.equal(texts.candidates('a'), undefined);
    assert.equal(texts.candidates('b4'), undefined, 'b4 may have been something else before');
  });

  test('holds so many names and no more', () => {
    const texts = new KnownTexts();
    const kept = Array.from({ length: 6_000 }, (_, index) => texts.remember(`a${index}`, text('')));
    assert.equal(kept.filter(({ known }) => known).length, 5_000);
  });

  test('knows names again after the backend has dropped all of them', () => {
    const texts = new KnownTexts();
    for (let count = 0; count < 9; count += 1) texts.remember('a', text(Buffer.alloc(big)));
    texts.clear();
    assert.equal(texts.candidates('a'), undefined);
    texts.remember('a', text('select 1'));
    assert.deepEqual(texts.candidates('a'), [text('select 1')]);
  });
});
