import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isRefusal } from '#core/operation.ts';
import { transcribe } from '#core/postgres/transcript.ts';
import type { Frame } from '#core/record/frame.ts';
import { openSession, openSpool } from '../support/sidecar-session.ts';

async function* oneByOne(frames: readonly Frame[]): AsyncGenerator<Frame> {
  yield* frames;
}

describe('the text of a query, as its record is read', () => {
  /** Records a query under a level, with more of it in a further piece if `rest` is given. */
  async function recordedText(
    requests: string,
    text: string,
    rest?: string,
  ): Promise<string | undefined> {
    using spool = openSpool();
    const session = openSession(spool.writer, { record: { requests } });
    const permit = session.admit({
      kind: 'request',
      facts: { protocol: 'Postgres' },
      content: { type: 'postgres.query', bytes: Buffer.from(text) },
      open: rest !== undefined,
    });
    assert.ok(!isRefusal(permit));
    if (rest !== undefined)
      permit.up('message', { type: 'postgres.query', bytes: Buffer.from(rest) }, true);
    await permit.recorded;
    for await (const line of transcribe(oneByOne(spool.frames())))
      if (line.kind === 'request') return line.text;
    throw new Error('there is no request');
  }

  test('is what was asked', async () =>
    assert.equal(await recordedText('Full', 'SELECT 1'), 'SELECT 1'));
  test('is what was asked, in pieces', async () =>
    assert.equal(await recordedText('Full', 'SELEC', 'T 1'), 'SELECT 1'));
  test('is empty for an empty query, which pools send to see whether anybody answers', async () =>
    assert.equal(await recordedText('Full', ''), ''));
  for (const level of ['None', 'Digest'])
    test(`is unknown under ${level}, also in pieces`, async () => {
      assert.equal(await recordedText(level, 'SELECT 1'), undefined);
      assert.equal(await recordedText(level, ''), undefined);
      assert.equal(await recordedText(level, 'SELEC', 'T 1'), undefined);
    });
});
