import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { signCheckpoint } from '#core/record/checkpoint.ts';
import { readBatch, readableFrames } from '../../collector/batch.ts';
import { judge, type StreamState } from '../../collector/proof.ts';
import { flipped, localIdentity, StreamAuthor } from '../support/stream-author.ts';

const megabyte = 1024 * 1024;

/** Runs work to its end. Returns what it made, and in how many turns. */
function run<T>(work: Generator<void, T>): { result: T; turns: number } {
  for (let turns = 1; ; turns += 1) {
    const step = work.next();
    if (step.done === true) return { result: step.value, turns };
  }
}

describe('a batch that is made to cost', () => {
  test('of zeros is given up where no length can be one', () => {
    const whole = new StreamAuthor().record({ kind: 'part' });
    assert.equal([...readableFrames(whole)].length, 1);
    assert.equal([...readableFrames(Buffer.concat([Buffer.alloc(8), whole]))].length, 0);
    assert.equal(run(readBatch(Buffer.alloc(8 * megabyte))).result, undefined);
  });

  test('of many damaged records is not searched to its end', () => {
    const author = new StreamAuthor();
    const damaged = author.records(1_001).map((frame) => flipped(frame, 40));
    const whole = author.record({ kind: 'part' });
    assert.equal([...readableFrames(Buffer.concat([...damaged, whole]))].length, 0);
    assert.equal([...readableFrames(Buffer.concat([...damaged.slice(2), whole]))].length, 1);
  });

  test('of headers that swell when they are parsed is not taken', () => {
    const author = new StreamAuthor();
    const swollen = { kind: 'part', a: Array.from({ length: 20_000 }, () => ({})) };
    const frames = Array.from({ length: 80 }, () => author.record(swollen));
    assert.throws(() => run(readBatch(Buffer.concat(frames))), /bytes of headers/);
    assert.equal(run(readBatch(Buffer.concat(frames.slice(0, 60)))).result?.records.length, 60);
  });

  test('is read in turns, by its bytes as well as by its records', () => {
    const author = new StreamAuthor();
    const large = Buffer.alloc(megabyte);
    const frames = [1, 2, 3, 4].map(() => author.record({ kind: 'part' }, large));
    assert.ok(run(readBatch(Buffer.concat(frames))).turns >= 4);
  });

  test('with more checkpoints behind its fault than any sidecar writes proves nothing', () => {
    const author = new StreamAuthor();
    const state: StreamState = {
      ackedSeq: 5,
      link: author.link,
      signedSeq: 4,
      publicKey: author.publicKey,
      jump: false,
      resume: undefined,
    };
    const { stream } = author;
    const resumes = (checkpoints: number): boolean => {
      author.seq = 5;
      const first = flipped(author.record({ kind: 'part' }), 40);
      const signature = signCheckpoint(author.key, { stream, seq: 6, link: author.link });
      const link = author.link.toString('hex');
      const frames = [author.record({ kind: 'checkpoint', link, signature })];
      while (frames.length < checkpoints)
        frames.push(author.record({ kind: 'checkpoint', link, signature: 'f'.repeat(128) }));
      const { result: batch } = run(readBatch(Buffer.concat([first, ...frames])));
      assert.ok(batch);
      return run(judge(state, batch, localIdentity)).result.state.resume !== undefined;
    };
    assert.equal(resumes(10), true);
    assert.equal(resumes(10_001), false);
  });

  test('is faulty where a field is of another kind than it seems', () => {
    const faultOf = (fields: object): string | undefined => {
      const author = new StreamAuthor();
      return run(readBatch(author.record({ kind: 'part', ...fields }))).result?.fault?.why;
    };
    const session = '0194d3a0-0000-7000-8000-000000000001';
    assert.equal(faultOf({ session }), undefined);
    assert.equal(faultOf({ session: [session] }), 'its session is not a UUID');
    assert.equal(faultOf({ time: '2028-02-29T12:00:00.000000Z' }), undefined);
    for (const time of ['2027-02-29T12:00:00Z', '2027-02-30T12:00:00Z', '2027-04-31T12:00:00Z'])
      assert.equal(faultOf({ time }), 'its time is not a time', time);
  });
});
