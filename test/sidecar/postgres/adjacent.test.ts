import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { describe, test } from 'node:test';
import { AdjacentWriter } from '../../../sidecar/postgres/adjacent.ts';
import { Random } from '../../support/random.ts';

/** Collects what is written, and how. */
function sink(): { socket: Writable; writes: Buffer[][] } {
  const writes: Buffer[][] = [];
  const socket = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      writes.push([chunk]);
      done();
    },
    writev: (chunks, done) => {
      writes.push(chunks.map(({ chunk }) => chunk as Buffer)); // no encoding was given
      done();
    },
  });
  return { socket, writes };
}

describe('AdjacentWriter', () => {
  test('joins what lies one behind the other, and nothing else', () => {
    const { socket, writes } = sink();
    const writer = new AdjacentWriter(socket);
    const memory = Buffer.from('0123456789');
    for (const [from, to] of [
      [0, 2],
      [2, 5],
      [6, 8],
      [8, 10],
    ]) {
      writer.add(memory.subarray(from, to));
    }
    writer.add(Buffer.from('other'));
    writer.flush();
    assert.deepEqual(
      writes.map((pieces) => pieces.map(String)),
      [['01234', '6789', 'other']],
    );
    writer.flush();
    assert.equal(writes.length, 1);
  });

  test('writes every byte once, in the order in which it was given', () => {
    const random = new Random(3);
    const { socket, writes } = sink();
    const writer = new AdjacentWriter(socket);
    const memories = Array.from({ length: 4 }, () => random.bytes(100));
    const wanted: Buffer[] = [];
    for (let round = 0; round < 2_000; round += 1) {
      const from = random.below(90);
      const piece = random.pick(memories).subarray(from, from + random.below(10));
      wanted.push(piece);
      writer.add(piece);
      if (random.below(4) === 0) writer.flush();
    }
    writer.flush();
    assert.deepEqual(Buffer.concat(writes.flat()), Buffer.concat(wanted));
  });
});
