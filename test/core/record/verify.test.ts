import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { firstLink, hashHeader, nextLink } from '#core/record/chain.ts';
import {
  encodeFrame,
  hashPayload,
  parseFrames,
  tryParseFrame,
  type Frame,
} from '#core/record/frame.ts';
import { verifySession, type Verdict } from '#core/record/verify.ts';

const stream = '01a20d9b-1d85-7411-bd0a-ae60b5ddc511';
const session = '01a20d9b-1d85-7411-bd0a-000000000001';
const salts = (): Buffer => randomBytes(16);

function frame(seq: number, n: number | undefined, fields: object, text = ''): Buffer {
  const payload = Buffer.from(text);
  const salt = payload.length > 0 ? salts() : Buffer.alloc(0);
  const described =
    payload.length > 0
      ? { payload: { length: payload.length, hash: hashPayload(salt, payload) } }
      : {};
  const own = n === undefined ? {} : { session, n };
  const header = {
    v: 1,
    stream,
    seq,
    time: '2026-01-01T00:00:00.000000Z',
    monoNs: seq,
    ...own,
    ...fields,
    ...described,
  };
  return encodeFrame(Buffer.from(JSON.stringify(header)), salt, payload);
}

// Two records of others stand between the session's own.
const honest = [
  frame(1, undefined, { kind: 'stream.start' }),
  frame(2, 1, { kind: 'session.start' }, '{"user":"a"}'),
  frame(3, 2, { kind: 'request' }, 'select 1'),
  frame(4, undefined, { kind: 'auth.failed' }),
  frame(5, 3, { kind: 'result' }, 'rows'),
  frame(6, 4, { kind: 'session.end', count: 4 }),
];
const hashes = honest.map((bytes) =>
  hashHeader(tryParseFrame(bytes)?.headerBytes ?? Buffer.alloc(0)),
);
const headLink = hashes.reduce((link, hash) => nextLink(link, hash), firstLink(stream));

async function* each<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

interface Tampered {
  frames?: readonly Buffer[];
  headerHashes?: readonly Buffer[];
  ackedSeq?: number;
  headLink?: Buffer;
}

async function verdictOf({ frames, headerHashes = hashes, ...head }: Tampered): Promise<Verdict> {
  const own = frames ?? [1, 2, 4, 5].map((index) => honest[index] ?? Buffer.alloc(0));
  const parsed: Frame[] = own.flatMap((bytes) => [...parseFrames(bytes)]);
  return verifySession({
    session,
    stream,
    frames: each(parsed),
    headerHashes: each(headerHashes),
    ackedSeq: 6,
    headLink,
    ...head,
  });
}

const own = [1, 2, 4, 5].map((index) => honest[index] ?? Buffer.alloc(0));

describe('verifySession', () => {
  test('finds an honest session consistent, however the hashes are cut', async () => {
    assert.deepEqual(await verdictOf({}), { kind: 'consistent', records: 4, erased: 0 });
    const joined = Buffer.concat(hashes);
    for (let at = 0; at <= joined.length; at += 7) {
      assert.equal(
        (await verdictOf({ headerHashes: [joined.subarray(0, at), joined.subarray(at)] })).kind,
        'consistent',
      );
    }
  });

  test('says how far a session goes that has no end yet', async () => {
    const head = hashes.slice(0, 5).reduce((link, hash) => nextLink(link, hash), firstLink(stream));
    const verdict = await verdictOf({
      frames: own.slice(0, 3),
      headerHashes: hashes.slice(0, 5),
      ackedSeq: 5,
      headLink: head,
    });
    assert.deepEqual(verdict, { kind: 'unbroken', upTo: 3, records: 3, erased: 0 });
  });

  test('notices every byte that is flipped', async () => {
    for (const [index, bytes] of own.entries()) {
      for (let at = 0; at < bytes.length; at += 1) {
        const flipped = Buffer.from(bytes);
        flipped.writeUInt8(flipped.readUInt8(at) ^ 1, at);
        const broken = await verdictOf({ frames: own.with(index, flipped) }).then(
          ({ kind }) => kind === 'broken',
          (error: unknown) =>
            error instanceof Error && 'code' in error && error.code === 'record-invalid',
        );
        assert.ok(broken, `record ${index}, byte ${at}`);
      }
    }
  });

  const tampered: [what: string, change: Tampered][] = [
    ['a record dropped', { frames: own.toSpliced(1, 1) }],
    ['the first record dropped', { frames: own.slice(1) }],
    [
      'two records swapped',
      { frames: [own[0], own[2], own[1], own[3]].map((bytes) => bytes ?? Buffer.alloc(0)) },
    ],
    ['a record doubled', { frames: own.toSpliced(1, 0, own[1] ?? Buffer.alloc(0)) }],
    [
      'a record of another session put in',
      { frames: own.toSpliced(1, 0, honest[3] ?? Buffer.alloc(0)) },
    ],
    ['the whole session cut', { frames: [] }],
    ['a hash of the chain changed', { headerHashes: hashes.with(3, Buffer.alloc(32)) }],
    ['a hash of the chain dropped', { headerHashes: hashes.toSpliced(3, 1) }],
    ['the end of the chain cut', { headerHashes: hashes.slice(0, 5) }],
    ['another head', { headLink: Buffer.alloc(32) }],
    ['a payload exchanged', { frames: own.with(1, frame(3, 2, { kind: 'request' }, 'select 2')) }],
  ];
  for (const [what, change] of tampered) {
    test(`notices ${what}`, async () => assert.equal((await verdictOf(change)).kind, 'broken'));
  }

  test('takes an erased payload as erased, not as broken', async () => {
    const parsed = tryParseFrame(own[1] ?? Buffer.alloc(0));
    assert.ok(parsed);
    const erased = encodeFrame(parsed.headerBytes, Buffer.alloc(0), Buffer.alloc(0));
    assert.deepEqual(await verdictOf({ frames: own.with(1, erased) }), {
      kind: 'consistent',
      records: 4,
      erased: 1,
    });
  });

  test('notices a session that ends before its count', async () => {
    const short = [own[0], frame(3, 2, { kind: 'session.end', count: 3 })].map(
      (bytes) => bytes ?? Buffer.alloc(0),
    );
    assert.equal((await verdictOf({ frames: short })).kind, 'broken');
  });
});
