import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseFrames, payloadMatches } from '#core/record/frame.ts';
import { FrameBuilder } from '../../../sidecar/spool/frame-builder.ts';

const header = (seq: number, text = ''): string =>
  `{"v":1,"kind":"part","stream":"s","time":"t","text":${JSON.stringify(text)},"seq":${seq}`;

describe('FrameBuilder', () => {
  test('builds frames that their reader takes, with payloads that their headers name', () => {
    const builder = new FrameBuilder();
    builder.append(header(1), []);
    builder.append(header(2), [Buffer.from('one '), Buffer.from('payload')]);
    builder.append(header(3, 'Zürich 東京 \ud800'), [Buffer.alloc(65_536, 'x')]);
    const frames = [...parseFrames(builder.bytes)];
    assert.deepEqual(
      frames.map(({ header: { seq, payload }, payload: { length } }) => [
        seq,
        payload?.length,
        length,
      ]),
      [
        [1, undefined, 0],
        [2, 11, 11],
        [3, 65_536, 65_536],
      ],
    );
    assert.equal(frames[1]?.payload.toString(), 'one payload');
    assert.ok(frames.every(payloadMatches));
    assert.notDeepEqual(frames[1]?.salt, frames[2]?.salt);
  });

  test('keeps what was built when it has to grow, and is small again after that', () => {
    const builder = new FrameBuilder();
    const payload = Buffer.alloc(65_536, 'y');
    for (let seq = 1; seq <= 50; seq += 1) builder.append(header(seq), [payload]);
    const frames = [...parseFrames(builder.bytes)];
    assert.equal(frames.length, 50);
    assert.ok(frames.every((frame) => frame.payload.equals(payload) && payloadMatches(frame)));
    builder.clear();
    assert.equal(builder.length, 0);
    assert.ok(builder.bytes.buffer.byteLength < 2_000_000);
  });

  test('draws a salt for each payload', () => {
    const builder = new FrameBuilder();
    for (let seq = 1; seq <= 1_000; seq += 1) builder.append(header(seq), [Buffer.from('same')]);
    const salts = [...parseFrames(builder.bytes)].map(({ salt }) => salt.toString('hex'));
    assert.equal(new Set(salts).size, 1_000);
  });
});
