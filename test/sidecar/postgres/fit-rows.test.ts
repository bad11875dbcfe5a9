import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FrameSplitter } from '#core/postgres/frames.ts';
import { BackendTag } from '#core/postgres/backend.ts';
import { buildMessage } from '#core/postgres/reader.ts';
import { fitRows } from '../../../sidecar/postgres/fit-rows.ts';
import { Random, scaled } from '../../support/random.ts';

const row = (length: number): Buffer => buildMessage('D', Buffer.alloc(length, 0x78));
const all = { rows: Infinity, bytes: Infinity };

describe('rows that fit', () => {
  test('are all where there is room', () => {
    const run = Buffer.concat([row(3), row(0), row(10)]);
    assert.deepEqual(fitRows(run, 0, all), {
      length: run.length,
      begun: { rows: 3, bytes: run.length },
      ended: 3,
      left: 0,
      beyond: undefined,
    });
  });

  test('end before the first that is one too many', () => {
    const run = Buffer.concat([row(3), row(4), row(5)]);
    const fit = fitRows(run, 0, { rows: 2, bytes: Infinity });
    assert.deepEqual([fit.length, fit.ended, fit.beyond], [17, 2, { rows: 1, bytes: 10 }]);
    assert.equal(fitRows(run, 0, { rows: 0, bytes: Infinity }).length, 0);
  });

  test('end before one that would be too long, of which only the beginning is there', () => {
    const run = Buffer.concat([row(3), row(1000).subarray(0, 20)]);
    const fit = fitRows(run, 0, { rows: 9, bytes: 100 });
    assert.deepEqual([fit.length, fit.left, fit.beyond], [8, 0, { rows: 1, bytes: 1005 }]);
  });

  test('include the rest of one that was let through, however little is left', () => {
    const run = Buffer.concat([Buffer.alloc(7), row(1)]);
    const fit = fitRows(run, 7, { rows: 0, bytes: 0 });
    assert.deepEqual([fit.length, fit.ended, fit.begun.rows], [7, 1, 0]);
    assert.deepEqual(fitRows(Buffer.alloc(5), 12, { rows: 0, bytes: 0 }), {
      length: 5,
      begun: { rows: 0, bytes: 0 },
      ended: 0,
      left: 7,
      beyond: undefined,
    });
  });

  test('are never more than the limits, wherever the stream is cut', () => {
    const random = new Random(7);
    for (let round = 0; round < scaled(2_000); round += 1) {
      const rows = Array.from({ length: 1 + random.below(20) }, () => row(random.below(40)));
      const stream = Buffer.concat(rows);
      const most = { rows: random.below(22), bytes: random.below(stream.length + 50) };
      let [wanted, wantedBytes] = [0, 0];
      for (const { length } of rows) {
        if (wanted + 1 > most.rows || wantedBytes + length > most.bytes) break;
        wanted += 1;
        wantedBytes += length;
      }
      const splitter = new FrameSplitter({
        streamed: new Set([BackendTag.DataRow]),
        maxMessageBytes: 100,
        oversized: 'throw',
      });
      let [passed, ended, left, cut] = [0, 0, 0, false];
      const room = { ...most };
      for (let at = 0; at < stream.length && !cut;) {
        const end = at + 1 + random.below(60);
        for (const piece of splitter.push(stream.subarray(at, end))) {
          if (piece.kind !== 'run' || cut) continue;
          const fit = fitRows(piece.bytes, left, room);
          passed += fit.length;
          ended += fit.ended;
          ({ left } = fit);
          room.rows -= fit.begun.rows;
          room.bytes -= fit.begun.bytes;
          cut = fit.beyond !== undefined;
          if (!cut) assert.equal(fit.ended, piece.ended);
        }
        at = end;
      }
      assert.deepEqual([passed, ended], [wantedBytes, wanted], `round ${round}`);
      assert.equal(cut, wanted < rows.length);
    }
  });
});
