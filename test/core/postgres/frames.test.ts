import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ChaperoneError } from '#core/errors.ts';
import {
  FrameSplitter,
  openBytes,
  type Piece,
  type SplitterOptions,
} from '#core/postgres/frames.ts';
import { buildMessage, int32 } from '#core/postgres/reader.ts';
import { Random, scaled } from '../../support/random.ts';

const row = 0x44;
const options: SplitterOptions = {
  streamed: new Set([row]),
  maxMessageBytes: 1_000,
  oversized: 'skip',
};

/** Joins what a split of the stream tore apart, so that every split must give the same. */
function normalize(pieces: readonly Piece[]): unknown[] {
  const joined: { kind: string; tag: number; hex: string; ended: number; inside: boolean }[] = [];
  for (const piece of pieces) {
    const { tag } = piece;
    const bytes = 'frame' in piece ? piece.frame : 'bytes' in piece ? piece.bytes : undefined;
    const hex = bytes?.toString('hex') ?? ('length' in piece ? String(piece.length) : '');
    const ended = piece.kind === 'run' ? piece.ended : 0;
    const inside = piece.kind === 'run' ? piece.inside : 'last' in piece ? !piece.last : false;
    const last = joined.at(-1);
    const goesOn =
      last?.tag === tag &&
      (piece.kind === 'more' ? last.kind === 'open' : piece.kind === 'run' && last.kind === 'run');
    if (last && goesOn) {
      last.hex += hex;
      last.ended += ended;
      last.inside = inside;
    } else joined.push({ kind: piece.kind, tag, hex, ended, inside });
  }
  return joined;
}

const stream = Buffer.concat([
  buildMessage('Z', Buffer.from('I')),
  buildMessage('D', Buffer.alloc(20, 1)),
  buildMessage('D'),
  buildMessage('D', Buffer.alloc(3, 2)),
  buildMessage('Q', Buffer.alloc(2_000, 3)),
  buildMessage('1'),
  buildMessage('D', Buffer.alloc(5_000, 4)),
  buildMessage('C', 'SELECT 1'),
]);

describe('FrameSplitter', () => {
  test('says messages, runs and what is oversized, in the order of the stream', () => {
    const kinds = new FrameSplitter(options)
      .push(stream)
      .map((piece) => [piece.kind, String.fromCharCode(piece.tag)]);
    assert.deepEqual(kinds, [
      ['message', 'Z'],
      ['run', 'D'],
      ['oversized', 'Q'],
      ['message', '1'],
      ['run', 'D'],
      ['message', 'C'],
    ]);
  });

  test('gives the same at every split position', () => {
    const whole = normalize(new FrameSplitter(options).push(stream));
    for (let at = 0; at <= stream.length; at += 1) {
      const splitter = new FrameSplitter(options);
      const pieces = [
        ...splitter.push(stream.subarray(0, at)),
        ...splitter.push(stream.subarray(at)),
      ];
      assert.deepEqual(normalize(pieces), whole, `split at ${at}`);
    }
  });

  test('gives the same byte by byte', () => {
    const splitter = new FrameSplitter(options);
    const pieces = Array.from(stream, (byte) => splitter.push(Buffer.from([byte]))).flat();
    assert.deepEqual(normalize(pieces), normalize(new FrameSplitter(options).push(stream)));
  });

  test('passes rows on without waiting for their end', () => {
    const splitter = new FrameSplitter(options);
    const header = Buffer.concat([Buffer.from('D'), int32(1_000_000)]);
    const [piece] = splitter.push(Buffer.concat([header, Buffer.alloc(10)]));
    assert.equal(piece?.kind === 'run' && piece.bytes.length, 15);
    assert.equal(piece?.kind === 'run' && piece.inside, true);
  });

  test('does not take memory on the word of a length', () => {
    const splitter = new FrameSplitter({ ...options, maxMessageBytes: 1_000_000_000 });
    const before = process.memoryUsage().arrayBuffers;
    splitter.push(Buffer.concat([Buffer.from('Q'), int32(900_000_000), Buffer.alloc(100)]));
    assert.ok(process.memoryUsage().arrayBuffers - before < 1_000_000);
  });

  for (const length of [-1, 0, 3, 0x7fff_ffff]) {
    test(`refuses a length of ${length}`, () => {
      const bytes = Buffer.concat([Buffer.from('Q'), int32(length)]);
      assert.throws(() => new FrameSplitter(options).push(bytes), { code: 'protocol-violation' });
    });
  }

  test('passes a long message on piece by piece when told so, however it is split', () => {
    const streaming: SplitterOptions = { ...options, oversized: 'stream' };
    const whole = normalize(new FrameSplitter(streaming).push(stream));
    assert.deepEqual(
      whole.map((piece) => Reflect.get(Object(piece), 'kind')),
      ['message', 'run', 'open', 'message', 'run', 'message'],
    );
    for (let at = 1; at < stream.length; at += 1) {
      const splitter = new FrameSplitter(streaming);
      const pieces = [stream.subarray(0, at), stream.subarray(at)].flatMap((part) =>
        splitter.push(part),
      );
      assert.deepEqual(normalize(pieces), whole, `split at ${at}`);
      assert.equal(splitter.between, true);
    }
  });

  test('begins a long message with as much as names and the beginning of a text take', () => {
    const splitter = new FrameSplitter({ ...options, oversized: 'stream' });
    const message = buildMessage('B', Buffer.alloc(200_000, 7));
    const [open, more, ...none] = splitter.push(message);
    assert.equal(open?.kind === 'open' && open.frame.length, 5 + openBytes);
    assert.equal(more?.kind === 'more' && more.bytes.length, 200_000 - openBytes);
    assert.equal(more?.kind === 'more' && more.last, true);
    assert.deepEqual(none, []);
  });

  test('ends the stream at an oversized message when told so', () => {
    const splitter = new FrameSplitter({ ...options, oversized: 'throw' });
    assert.throws(() => splitter.push(stream), { code: 'protocol-violation' });
  });

  test('survives mutated and random bytes with documented errors alone', () => {
    const random = new Random(20_260_101);
    for (let round = 0; round < scaled(100_000); round += 1) {
      const splitter = new FrameSplitter(options);
      const bytes =
        round % 2 === 0
          ? random.bytes(1 + random.below(60))
          : Buffer.from(stream.subarray(0, 1 + random.below(stream.length)));
      if (round % 2 === 1) bytes[random.below(bytes.length)] = random.below(256);
      try {
        for (let at = 0; at < bytes.length;) {
          const next = at + 1 + random.below(40);
          splitter.push(bytes.subarray(at, next));
          at = next;
        }
      } catch (error) {
        assert.ok(
          error instanceof ChaperoneError && error.code === 'protocol-violation',
          `round ${round}`,
        );
      }
    }
  });

  test('holds long messages in shared room alone, and gives it back however they end', () => {
    let left = 1_000_000;
    const room = {
      take: (bytes: number): boolean => {
        if (bytes > left) return false;
        left -= bytes;
        return true;
      },
      give: (bytes: number): void => {
        left += bytes;
      },
    };
    const open = (): FrameSplitter =>
      new FrameSplitter({ streamed: new Set(), maxMessageBytes: 1e7, oversized: 'stream', room });
    const long = buildMessage('Q', 'x'.repeat(600_000));
    const [first, second] = [open(), open()];
    assert.deepEqual(first.push(long.subarray(0, 100_000)), []);
    const [beginning] = second.push(long.subarray(0, 100_000));
    assert.equal(beginning?.kind, 'open'); // there is room for one
    assert.equal(first.push(long.subarray(100_000))[0]?.kind, 'message');
    assert.equal(left, 1_000_000);
    first.push(long.subarray(0, 10));
    first.giveBack();
    assert.equal(left, 1_000_000);
    assert.equal(open().push(long)[0]?.kind, 'message'); // whole, so nothing is held
  });
});
