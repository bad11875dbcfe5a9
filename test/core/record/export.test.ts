import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  ExportReader,
  exportStart,
  ExportWriter,
  maxItemBytes,
  readExport,
  type ExportItem,
  type Manifest,
} from '#core/record/export.ts';
import { exported, honestLog, sessions } from '../../support/logs.ts';
import { StreamBuilder } from '../../support/stream-builder.ts';

const stream = '01a20d9b-1d85-7411-bd0a-ae60b5ddc511';
const manifest: Manifest = { v: 1, of: 'session', stream, session: sessions.early, cut: undefined };
const { frames } = new StreamBuilder(stream).start().begin(sessions.early);

function small(): Buffer {
  const writer = new ExportWriter();
  return Buffer.concat([
    writer.begin(manifest),
    writer.ledgerLine('a line — in UTF-8'),
    ...frames.map((frame) => writer.frame(frame)),
    writer.hashes(Buffer.alloc(64, 7)),
    writer.jump(12),
    writer.successor(stream),
    writer.end(),
  ]);
}

async function* each(pieces: readonly Buffer[]): AsyncGenerator<Buffer> {
  yield* pieces;
}

async function read(...pieces: readonly Buffer[]): Promise<ExportItem[]> {
  const items: ExportItem[] = [];
  for await (const item of readExport(each(pieces))) items.push(item);
  return items;
}

function item(type: string, body: Buffer | string, length = Buffer.from(body).length): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.write(type, 'latin1');
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, Buffer.from(body)]);
}

const begun = new ExportWriter().begin(manifest);

describe('an export', () => {
  test('is read as it was written', async () => {
    const items = await read(small());
    assert.deepEqual(items.map(({ type }) => type).join(''), 'MLFFHJSE');
    assert.deepEqual(items[0], { type: 'M', manifest });
    assert.deepEqual(items[1], { type: 'L', line: 'a line — in UTF-8' });
    assert.deepEqual(
      items.flatMap((found) => (found.type === 'F' ? [found.frame.headerBytes] : [])),
      frames.map((frame) => frame.subarray(12, 12 + frame.readUInt32BE(8))),
    );
    assert.deepEqual(items.slice(4, 7), [
      { type: 'H', hashes: Buffer.alloc(64, 7) },
      { type: 'J', to: 12 },
      { type: 'S', stream },
    ]);
  });

  test('is read the same wherever it is cut in two, and byte by byte', async () => {
    const bytes = small();
    const whole = await read(bytes);
    for (let at = 0; at <= bytes.length; at += 1)
      assert.deepEqual(
        await read(bytes.subarray(0, at), bytes.subarray(at)),
        whole,
        `cut at ${at}`,
      );
    assert.deepEqual(await read(...[...bytes].map((byte) => Buffer.from([byte]))), whole);
  });

  test('is refused wherever it is cut short', async () => {
    const bytes = small();
    for (let at = 0; at < bytes.length; at += 1)
      await assert.rejects(read(bytes.subarray(0, at)), { code: 'record-invalid' }, `cut at ${at}`);
  });

  test('that leaves out more records than one item takes has several', async () => {
    const writer = new ExportWriter();
    const hashes = Buffer.alloc(2 * maxItemBytes.H + 32, 1);
    const bytes = Buffer.concat([writer.begin(manifest), writer.hashes(hashes), writer.end()]);
    const found = (await read(bytes)).flatMap((one) =>
      one.type === 'H' ? [one.hashes.length] : [],
    );
    assert.deepEqual(found, [maxItemBytes.H, maxItemBytes.H, 32]);
    assert.equal(new ExportWriter().hashes(Buffer.alloc(0)).length, 0);
  });

  const refused: [what: string, bytes: Buffer, message: RegExp][] = [
    ['another beginning', Buffer.alloc(20), /another beginning/],
    ['no manifest', Buffer.concat([exportStart, item('L', 'x')]), /manifest in another place/],
    ['two manifests', Buffer.concat([begun, begun.subarray(20)]), /manifest in another place/],
    ['an item of an unknown type', Buffer.concat([begun, item('X', '')]), /unknown type/],
    ['a line among the records', Buffer.concat([begun, item('S', JSON.stringify({ stream })), item('L', 'x')]), /among the records/],
    ['hashes that are none', Buffer.concat([begun, item('H', 'x'.repeat(31))]), /H of 31 bytes/],
    ['no hash at all', Buffer.concat([begun, item('H', '')]), /H of 0 bytes/],
    ['an end that is short', Buffer.concat([begun, item('E', 'x')]), /E of 1 bytes/],
    ['an end that does not fit', Buffer.concat([begun, item('E', Buffer.alloc(32))]), /does not fit/],
    ['something behind the end', Buffer.concat([small(), Buffer.alloc(1)]), /behind its end/],
    ['a frame longer than its item', Buffer.concat([begun, item('F', frames[0]?.subarray(0, -1) ?? '')]), /not as long/],
    ['two frames in an item', Buffer.concat([begun, item('F', Buffer.concat(frames))]), /not as long/],
    ['a line that is not UTF-8', Buffer.concat([begun, item('L', Buffer.from([0xff]))]), /not UTF-8/],
    ['a jump to nowhere', Buffer.concat([begun, item('J', '{"to":1.5}')]), /jump to nowhere/],
    ['a successor without an id', Buffer.concat([begun, item('S', '{"stream":"x"}')]), /without an id/],
    ['an item that is not JSON', Buffer.concat([begun, item('S', '{')]), /not JSON/],
    ['an item that is a list', Buffer.concat([begun, item('S', '[]')]), /no object/],
    ...[{}, { ...manifest, v: 2 }, { ...manifest, of: 'x' }, { ...manifest, session: 1 }, { ...manifest, cut: {} }, { ...manifest, cut: { seq: 0, link: '0'.repeat(64) } }, { ...manifest, stream: stream.toUpperCase() }].map(
      (wrong): [string, Buffer, RegExp] => [`the manifest ${JSON.stringify(wrong)}`, Buffer.concat([exportStart, item('M', JSON.stringify(wrong))]), /manifest|cut/],
    ),
  ]; // prettier-ignore
  for (const [what, bytes, message] of refused) {
    test(`with ${what} is refused`, async () =>
      assert.rejects(read(bytes), { code: 'record-invalid', message }));
  }

  test('with a length that lies is refused before anything is kept for it', () => {
    for (const [type, most] of Object.entries(maxItemBytes)) {
      const reader = new ExportReader();
      const bytes = type === 'M' ? exportStart : begun;
      for (const _ of reader.push(bytes)) assert.ok(type !== 'M');
      const lying = item(type, '', type === 'H' ? most + 32 : most + 1);
      assert.throws(() => [...reader.push(lying)], { code: 'record-invalid' }, type);
    }
  });

  test('of a session jumps over what is of others, and names them by nothing but hashes', async () => {
    const { store, first } = honestLog();
    const bytes = await exported(store, { stream: first.stream, session: sessions.late });
    const items = await read(bytes);
    assert.equal(items.map(({ type }) => type).join(''), 'MLLFHFJFFFFHFHFE');
    for (const found of items) {
      if (found.type !== 'F') continue;
      const { kind, session } = found.frame.header;
      assert.ok(session === sessions.late || kind === 'checkpoint' || kind === 'stream.start');
    }
  });
});
