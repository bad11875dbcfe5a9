import assert from 'node:assert/strict';
import { firstLink, hashHeader, nextLink } from '#core/record/chain.ts';
import { judgeCheckpoint, tryParsePublicKey, unlinked } from '#core/record/checkpoint.ts';
import { payloadMatches, type Frame } from '#core/record/frame.ts';
import type { RecordHeader, StreamHead } from '#core/record/kinds.ts';

export interface StreamCheck {
  readonly head: StreamHead;
  /** The last record that a signature proves. */
  readonly signedSeq: number;
  /** Seqs of checkpoints that nobody signed. */
  readonly unsigned: readonly number[];
  readonly previous: StreamHead | undefined;
  /** Why the stream ended, where it did. */
  readonly ended: 'stopped' | 'recovered' | undefined;
  /** Status of the result of each allowed request; undefined where there is none. */
  readonly results: ReadonlyMap<number, string | undefined>;
  /** Reason of the end of each session; undefined where there is none. */
  readonly sessions: ReadonlyMap<string, string | undefined>;
}

/** Holds a whole stream against the format: sequence, chain, signatures, numbers within sessions, results, ends. */
export function checkStream(frames: readonly Frame[]): StreamCheck {
  const [first] = frames;
  assert.ok(first?.header.kind === 'stream.start', 'it begins with stream.start');
  const key = tryParsePublicKey(first.header.publicKey);
  assert.ok(key, 'its key can be read');
  const { stream } = first.header;
  let link = firstLink(stream);
  let signedSeq = 0;
  const unsigned: number[] = [];
  const numbers = new Map<string, number>();
  const sessions = new Map<string, string | undefined>();
  const results = new Map<number, string | undefined>();
  for (const [index, frame] of frames.entries()) {
    const { header, headerBytes } = frame;
    const { seq } = header;
    assert.equal(seq, index + 1);
    assert.equal(header.stream, stream);
    assert.ok(payloadMatches(frame), `payload of ${seq}`);
    if (header.kind === 'checkpoint') {
      const verdict = judgeCheckpoint(key, header);
      assert.notEqual(verdict, 'forged', `checkpoint ${seq}`);
      if (verdict === 'signed') {
        assert.equal(header.link, link.toString('hex'), `link of checkpoint ${seq}`);
        signedSeq = seq - 1;
      } else {
        assert.ok([unlinked, link.toString('hex')].includes(header.link));
        unsigned.push(seq);
      }
    }
    link = nextLink(link, hashHeader(headerBytes));
    follow(header, { numbers, sessions, results });
  }
  const last = frames.findLast(({ header }) => header.kind === 'stream.end')?.header;
  if (last?.kind === 'stream.end')
    for (const { header } of frames.slice(last.seq)) assert.equal(header.kind, 'checkpoint');
  return {
    head: { stream, seq: frames.length, link: link.toString('hex') },
    signedSeq,
    unsigned,
    previous: first.header.previous,
    ended: last?.kind === 'stream.end' ? last.reason : undefined,
    results,
    sessions,
  };
}

function follow(
  header: RecordHeader,
  seen: {
    readonly numbers: Map<string, number>;
    readonly sessions: Map<string, string | undefined>;
    readonly results: Map<number, string | undefined>;
  },
): void {
  const { session, n, seq } = header;
  if (session === undefined) return;
  assert.equal(seen.sessions.get(session), undefined, `record ${seq} comes after its session`);
  assert.equal(n, (seen.numbers.get(session) ?? 0) + 1, `number of record ${seq}`);
  seen.numbers.set(session, n);
  seen.sessions.set(session, undefined);
  if (header.kind === 'request' && header.verdict.action === 'Allow')
    seen.results.set(seq, undefined);
  if (header.kind === 'result' && header.request !== undefined) {
    assert.equal(seen.results.get(header.request), undefined, `a second result at ${seq}`);
    seen.results.set(header.request, header.status);
  }
  if (header.kind === 'session.end') {
    assert.equal(header.count, n, `count of record ${seq}`);
    seen.sessions.set(session, header.reason);
  }
}
