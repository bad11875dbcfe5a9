import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hashHeader } from '#core/record/chain.ts';
import { buildExport, type ExportedRecord } from '#core/record/export-build.ts';
import { encodeFrame, hashPayload } from '#core/record/frame.ts';
import { verifyExport } from '#core/record/verify-export.ts';
import { scaled } from '../../support/random.ts';
import { MemoryStore } from '../../support/stream-builder.ts';

const megabyte = 1024 * 1024;
const stream = '01a20d9b-1d85-7411-bd0a-ae60b5ddc511';
const salt = Buffer.alloc(16, 1);
const payload = Buffer.alloc(65_536, 2);
const described = { length: payload.length, hash: hashPayload(salt, payload) };

/** A stream of which each record is made when it is asked for. */
class EndlessStore extends MemoryStore {
  readonly #count: number;

  constructor(count: number) {
    super();
    this.#count = count;
  }

  override async lastSeq(): Promise<number> {
    return this.#count;
  }

  override async *records(): AsyncGenerator<ExportedRecord> {
    for (let seq = 1; seq <= this.#count; seq += 1) {
      const kind = seq === 1 ? 'stream.start' : 'part';
      const fields = { v: 1, kind, stream, seq, time: '', monoNs: seq, payload: described };
      const header = Buffer.from(JSON.stringify(fields));
      const frame = encodeFrame(header, salt, Buffer.from(payload));
      yield { seq, isSignedCheckpoint: false, headerHash: hashHeader(header), frame };
    }
  }
}

test('an export is built and verified in memory that does not grow with it', async () => {
  const count = scaled(48_000); // 300 MiB at a tenth
  const work = (records: number) =>
    verifyExport(buildExport(new EndlessStore(records), { stream }), { keys: [] });
  await work(1_000);
  const before = process.resourceUsage().maxRSS * 1_024;
  const { last, verdict } = await work(count);
  const grown = process.resourceUsage().maxRSS * 1_024 - before;
  assert.deepEqual([last.seq, verdict.kind], [count, 'unbroken']);
  const most = 128 * megabyte; // what the garbage collector lets lie
  assert.ok(grown < most, `${grown} bytes for ${count * payload.length}`);
});
