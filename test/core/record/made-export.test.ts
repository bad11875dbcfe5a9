import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { hashHeader } from '#core/record/chain.ts';
import { unlinked, unsigned } from '#core/record/checkpoint.ts';
import { encodeFrame } from '#core/record/frame.ts';
import type { LedgerFields } from '#core/record/ledger.ts';
import { sealed, sessions, short, verified } from '../../support/logs.ts';
import { secondOpinions } from '../../support/second-verifier.ts';
import {
  frameOf,
  LedgerBuilder,
  StreamBuilder,
  type BuiltRecord,
  type Fields,
} from '../../support/stream-builder.ts';

const { early } = sessions;
const none = Buffer.alloc(0);

function item(type: string, body: Buffer | string | object): Buffer {
  const bytes = Buffer.from(
    typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
  );
  const prefix = Buffer.from(`${type}0000`);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

const shown = (record: BuiltRecord): Buffer => item('F', frameOf(record));
const hashed = ({ header }: BuiltRecord): Buffer => item('H', hashHeader(header));
const jump = (to: number): Buffer => item('J', { to });
const all = ({ records }: StreamBuilder): Buffer[] => records.map(shown);

/** Start, checkpoint and the first record of the session. */
function begun(): StreamBuilder {
  return new StreamBuilder().start().checkpoint().begin(early);
}

/** A stream of six records: what `begun` has, the end of the session, the end, a checkpoint. */
function whole(): StreamBuilder {
  return begun().finish(early).end().checkpoint();
}

/** What `begun` has, then this record, a checkpoint, the end of the session, a checkpoint. */
function wrote(fields: Fields): StreamBuilder {
  const stream = begun();
  stream.add(fields, '', fields['session'] === undefined ? undefined : early);
  return stream.checkpoint().finish(early).checkpoint();
}

const other = (): StreamBuilder => wrote({ kind: 'policy.changed' });
const killed = (): StreamBuilder =>
  wrote({ kind: 'checkpoint', link: unlinked, signature: unsigned });

/** A record with white space behind its header, so that this is `length` bytes long. */
function padded({ header }: BuiltRecord, length: number): Buffer {
  const longer = Buffer.alloc(length, ' ');
  header.copy(longer);
  return item('F', encodeFrame(longer, none, none));
}

/** A record with a salt and no payload. */
function salted({ header }: BuiltRecord): Buffer {
  const frame = encodeFrame(Buffer.concat([header, Buffer.alloc(16)]), none, none);
  frame.writeUInt32BE(header.length, 8);
  frame.writeUInt32BE(crc32(frame.subarray(8)), 4);
  return item('F', frame);
}

/** A second stream whose start says this of the one before it. */
function followed(named: (stream: StreamBuilder) => object): [StreamBuilder, Made] {
  const stream = begun().finish(early);
  const { seq, link } = stream;
  const next = new StreamBuilder().start({ stream: stream.stream, seq, link, ...named(stream) });
  return [stream, () => [...all(stream), item('S', { stream: next.stream }), ...all(next.checkpoint())]]; // prettier-ignore
}

type Made = (stream: StreamBuilder) => Buffer[];

/** What both verifiers say of the export of the session, made of these items; the ledger has the stream's head. */
async function opinionOf(
  stream: StreamBuilder,
  items: readonly Buffer[],
  { of = {}, lines = [] }: { of?: object; lines?: readonly LedgerFields[] } = {},
): Promise<string> {
  const ledger = new LedgerBuilder().add(stream.head());
  for (const line of lines) ledger.add(line);
  const manifest = { v: 1, of: 'session', stream: stream.stream, session: early, ...of };
  const before = [item('M', manifest), ...ledger.lines.map((line) => item('L', line))];
  const file = sealed([...before, ...items]);
  const keys = [ledger.key.publicKey];
  const verdict = short((await verified(file, { keys })).verdict);
  assert.deepEqual(await secondOpinions([file], { keys }), [verdict]);
  return verdict.replace(stream.stream, 'first').replace(/ [0-9a-f-]{36}$/, ' next');
}

describe('an export of a session that somebody put together', () => {
  const made: [what: string, stream: StreamBuilder, items: Made, verdict: string][] = [
    ['of all records', whole(), all, 'complete'],
    ['with hashes of records that are of no session', other(), (stream) => all(stream).with(3, hashed(stream.records[3] as BuiltRecord)), 'complete'],
    ['with hashes behind the end of the stream', whole(), (stream) => all(stream).with(5, hashed(stream.records[5] as BuiltRecord)), 'broken 6'],
    ['with half a hash', whole(), (stream) => [...all(stream).slice(0, 4), item('H', Buffer.alloc(16))], 'broken 5'],
    ['with no hash', whole(), (stream) => [...all(stream).slice(0, 4), item('H', none)], 'broken 5'],
    ['with a jump from its beginning', whole(), (stream) => [jump(2), ...all(stream).slice(1)], 'broken 1'],
    ['with a jump from a record', other(), (stream) => all(stream).toSpliced(3, 1, jump(5)), 'broken 4'],
    ['with a jump from a checkpoint that is not signed', killed(), (stream) => [...all(stream).slice(0, 4), jump(7), ...all(stream).slice(6)], 'broken 5'],
    ['with a jump to the record that is due', whole(), (stream) => all(stream).toSpliced(2, 0, jump(3)), 'broken 3'],
    ['with a jump to no checkpoint', other(), (stream) => all(stream).toSpliced(2, 1, jump(4)), 'broken 4'],
    ['with a jump to a checkpoint that is not signed', killed(), (stream) => all(stream).toSpliced(2, 1, jump(4)), 'broken 4'],
    ['with a jump to a checkpoint without a link', wrote({ kind: 'checkpoint', signature: '1'.repeat(128) }), (stream) => all(stream).toSpliced(2, 1, jump(4)), 'broken 4'],
    ['with a jump to hashes', other(), (stream) => all(stream).toSpliced(2, 2, jump(4), hashed(stream.records[3] as BuiltRecord)), 'broken 4'],
    ['with a jump past its end', whole(), (stream) => [...all(stream), jump(8), ...all(stream).slice(5)], 'broken 8'],
    ['with a forged checkpoint of zeros', wrote({ kind: 'checkpoint', link: unlinked, signature: '1'.repeat(128) }), all, 'broken 4'],
    ['with a salt alone', whole(), (stream) => all(stream).with(1, salted(stream.records[1] as BuiltRecord)), 'broken 2'],
    ['with a number twice', wrote({ kind: 'result', session: early, n: 1 }), all, 'broken 4'],
    ['with a count that is not its own', wrote({ kind: 'session.end', session: early, count: 3 }), all, 'broken 4'],
    ['with a record behind the end of the session', wrote({ kind: 'session.end', session: early, count: 2 }), all, 'broken 6'],
    ['with a header of 64 KiB', whole(), (stream) => all(stream).with(1, padded(stream.records[1] as BuiltRecord, 65_536)), 'broken 6'],
    ['with a larger header', whole(), (stream) => all(stream).with(1, padded(stream.records[1] as BuiltRecord, 65_537)), 'broken 2'],
    ['that begins with its successor', whole(), (stream) => [item('S', { stream: stream.stream }), ...all(stream)], 'broken 1'],
    ['with a successor of another stream', ...followed(() => ({ stream: early })), 'broken 1 next'],
    ['with a successor of less', ...followed(({ seq }) => ({ seq: seq - 1 })), 'broken 1 next'],
    ['with a successor of more', ...followed(({ seq }) => ({ seq: seq + 1 })), 'broken 5'],
    ['with a successor that nobody needs', ...followed(() => ({})), 'complete'],
    ['with a successor of another end', ...followed(() => ({ link: '1'.repeat(64) })), 'broken 1 next'],
  ]; // prettier-ignore
  for (const [what, stream, items, verdict] of made) {
    test(`${what}: ${verdict}`, async () =>
      assert.equal(await opinionOf(stream, items(stream)), verdict));
  }

  const cuts: [what: string, stream: StreamBuilder, line: Partial<LedgerFields>, verdict: string][] = [
    ['at a record of the session', wrote({ kind: 'result', session: early }), {}, 'consistent'],
    ['at a record of the session, whose number was left out', wrote({ kind: 'result', session: early, n: 4 }), {}, 'broken 6'],
    ['that the ledger does not know', other(), { seq: 2 }, 'broken 1'],
    ['of another link', other(), { link: '1'.repeat(64) }, 'broken 1'],
    ['of another key', other(), { publicKey: '1'.repeat(64) }, 'broken 4'],
    ['of which the line has no seq', other(), { seq: -1 }, 'broken 1'],
    ['of which the line has no key', other(), { publicKey: undefined }, 'consistent'],
    ['of which the line has a key that is none', other(), { publicKey: 'x' }, 'broken 1'],
  ]; // prettier-ignore
  for (const [what, stream, line, verdict] of cuts) {
    test(`behind a cut ${what}: ${verdict}`, async () => {
      const cut = { seq: 3, link: stream.linkAt(3) };
      const entry = { kind: 'cut', stream: stream.stream, publicKey: stream.publicKey, ...cut, ...line } as LedgerFields; // prettier-ignore
      const found = await opinionOf(stream, all(stream).slice(3), { of: { cut }, lines: [entry] });
      assert.equal(found, verdict);
    });
  }
});
