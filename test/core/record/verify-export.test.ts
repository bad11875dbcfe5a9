import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { publicKeyHex, unsigned } from '#core/record/checkpoint.ts';
import { verifyExport, type Trust } from '#core/record/verify-export.ts';
import { checkLedger, LedgerClaims, tryReadClaim } from '#core/record/verify-ledger.ts';
import { exported, honestLog, sessions, short, verified } from '../../support/logs.ts';
import { Random, scaled } from '../../support/random.ts';
import { secondOpinionOnLedger, secondOpinions } from '../../support/second-verifier.ts';
import {
  LedgerBuilder,
  makeKey,
  MemoryStore,
  StreamBuilder,
} from '../../support/stream-builder.ts';

/** A stream in the making, up to a first signed checkpoint. */
function begun(): StreamBuilder {
  return new StreamBuilder().start().checkpoint();
}

/** A head that names the key alone. */
const keyOf = ({ stream, publicKey }: StreamBuilder) => ({
  stream,
  publicKey,
  seq: 1,
  link: undefined,
});

/** What both verifiers say of the export of a stream that a sidecar wrote so, and the ledger has as it is. */
async function opinionOf(stream: StreamBuilder): Promise<string> {
  const ledger = new LedgerBuilder().add(stream.head());
  const store = new MemoryStore().put(stream);
  store.lines = ledger.lines;
  const file = await exported(store, { stream: stream.stream });
  const keys = [ledger.key.publicKey];
  const verdict = short((await verified(file, { keys })).verdict);
  assert.deepEqual(await secondOpinions([file], { keys }), [verdict]);
  return verdict;
}

describe('a stream as its sidecar wrote it', () => {
  const { early } = sessions;
  const wrote: [what: string, stream: StreamBuilder, verdict: string][] = [
    ['with an end and nothing else', begun().end(), 'complete'],
    ['without an end', begun(), 'unbroken 2'],
    ['with two starts', begun().start(), 'broken 3'],
    ['without a start', new StreamBuilder().end(), 'broken 1'],
    ['with a session that goes on after the end of the stream', begun().begin(early).end().finish(early), 'broken 5'],
    ['with more than a checkpoint behind the end', begun().end().checkpoint().checkpoint(), 'broken 5'],
    ['with a session whose numbers have a gap', (() => {
      const stream = begun().begin(early);
      stream.add({ kind: 'result', n: 3 }, '', early);
      return stream.end();
    })(), 'broken 4'],
    ['with a session that begins at 2', (() => {
      const stream = begun();
      stream.add({ kind: 'session.start', n: 2 }, '', early);
      return stream.end();
    })(), 'broken 3'],
    ['with a session whose id is no text', (() => {
      const stream = begun();
      stream.add({ kind: 'session.start', session: [early], n: 1 });
      return stream.end();
    })(), 'broken 3'],
    ['with a session that counts wrongly', (() => {
      const stream = begun().begin(early);
      stream.add({ kind: 'session.end', count: 3 }, '', early);
      return stream.end();
    })(), 'broken 4'],
    ['with a session that is open at its end', begun().begin(early).end(), 'complete'],
    ['with a gap that it knows of', (() => {
      const stream = begun().begin(early);
      stream.add({ kind: 'gap', from: 2, to: 3, reason: 'damaged' });
      return stream.end();
    })(), 'broken 2'],
    ['with a gap at no place', (() => {
      const stream = begun();
      stream.add({ kind: 'gap', from: 'x', reason: 'damaged' });
      return stream.end();
    })(), 'broken 3'],
    ['with a checkpoint that is not signed and names another link', (() => {
      const stream = begun();
      stream.add({ kind: 'checkpoint', link: '1'.repeat(64), signature: unsigned });
      return stream.end();
    })(), 'broken 3'],
    ['with a checkpoint that is not signed and names its link', (() => {
      const stream = begun();
      stream.add({ kind: 'checkpoint', link: stream.link, signature: unsigned });
      return stream.end();
    })(), 'complete'],
    ['with a checkpoint that is signed for another link', (() => {
      const stream = begun();
      stream.add({ kind: 'checkpoint', link: '1'.repeat(64), signature: '1'.repeat(128) });
      return stream.end();
    })(), 'broken 3'],
    ['with a checkpoint whose signature is none', (() => {
      const stream = begun();
      stream.add({ kind: 'checkpoint', link: stream.link, signature: 'x' });
      return stream.end();
    })(), 'broken 3'],
    ['with a checkpoint without a signature', (() => {
      const stream = begun();
      stream.add({ kind: 'checkpoint', link: stream.link });
      return stream.end();
    })(), 'broken 3'],
  ]; // prettier-ignore
  for (const [what, stream, verdict] of wrote) {
    test(`${what}: ${verdict}`, async () => assert.equal(await opinionOf(stream), verdict));
  }

  test('whose start names no key is proven by the ledger, and its origin is not', async () => {
    const stream = new StreamBuilder();
    stream.add({ kind: 'stream.start' });
    stream.end();
    const { publicKey: _, ...head } = stream.head();
    const ledger = new LedgerBuilder().add(head);
    const store = new MemoryStore().put(stream);
    store.lines = ledger.lines;
    const file = await exported(store, { stream: stream.stream });
    const keys = [ledger.key.publicKey];
    assert.deepEqual([short((await verified(file, { keys })).verdict)], ['consistent']);
    assert.deepEqual(await secondOpinions([file], { keys }), ['consistent']);
  });

  test('that another process was to follow, again and again, is proven by the first that signs', async () => {
    const streams = [begun().begin(early).finish(early)];
    for (let count = 0; count < 3; count += 1) {
      const { stream, seq, link } = streams.at(-1) ?? begun();
      streams.push(new StreamBuilder().start({ stream, seq, link }));
    }
    streams.at(-1)?.checkpoint();
    const store = new MemoryStore();
    const ledger = new LedgerBuilder();
    for (const [index, stream] of streams.entries()) {
      const next = streams[index + 1];
      store.put(stream);
      if (next) store.successors.set(stream.stream, next.stream);
      const { link: _, ...unproven } = stream.head();
      ledger.add(unproven);
    }
    store.lines = ledger.lines;
    const file = await exported(store, { stream: streams[0]?.stream ?? '', session: early });
    const keys = [ledger.key.publicKey];
    assert.equal(short((await verified(file, { keys })).verdict), 'complete');
    store.lines = ledger.lines.slice(0, -1);
    const unnamed = await exported(store, { stream: streams[0]?.stream ?? '', session: early });
    assert.equal(short((await verified(unnamed, { keys })).verdict), 'consistent');
    assert.deepEqual(await secondOpinions([file, unnamed], { keys }), ['complete', 'consistent']);
  });
});

test('a successor that does not know the link of the stream before proves nothing of it, and breaks nothing', async () => {
  const { early } = sessions;
  const stream = begun().begin(early).finish(early);
  const { seq } = stream;
  const next = new StreamBuilder().start({ stream: stream.stream, seq, link: '0'.repeat(64) });
  next.checkpoint();
  const ledger = new LedgerBuilder().add({ ...begun().head(), ...keyOf(stream) }).add(next.head());
  const store = new MemoryStore().put(stream).put(next);
  store.successors.set(stream.stream, next.stream);
  store.lines = ledger.lines;
  const keys = [ledger.key.publicKey];
  const wanted = [{ stream: stream.stream, session: early }, { stream: stream.stream }];
  const files = await Promise.all(wanted.map((each) => exported(store, each)));
  const found = await Promise.all(files.map((file) => verified(file, { keys })));
  assert.deepEqual(
    found.map(({ verdict }) => short(verdict)),
    ['unbroken 1', 'unbroken 1'],
  );
  assert.deepEqual(await secondOpinions(files, { keys }), ['unbroken 1', 'unbroken 1']);
});

describe('verifyExport', () => {
  const claimsOf = (lines: readonly string[]): LedgerClaims => {
    const claims = new LedgerClaims();
    for (const entry of lines.map(tryReadClaim)) if (entry) claims.add(entry);
    return claims;
  };
  const { ledger, store, first } = honestLog();
  const other = makeKey().publicKey;
  const key = ledger.key.publicKey;
  const trusts: [what: string, keys: Trust['keys'], lines: readonly string[] | undefined, verdict: string][] = [
    ['the key', [key], undefined, 'complete'],
    ['the key among others', [other, key], undefined, 'complete'],
    ['nothing', [], undefined, 'consistent'],
    ['another key', [other], undefined, 'consistent'],
    ['a copy of the ledger', [], ledger.lines, 'complete'],
    ['a copy and the key', [key], ledger.lines, 'complete'],
    ['a copy that is empty', [], [], 'consistent'],
    ['a copy of another ledger', [], new LedgerBuilder().add({ ...honestLog().first.head(), seq: 40 }).lines, 'broken 1'],
    ['a copy that knows more records', [], [...ledger.lines, ...new LedgerBuilder().add({ ...first.head(), seq: 40 }).lines], 'broken 34'],
  ]; // prettier-ignore
  for (const [what, keys, lines, verdict] of trusts) {
    test(`given ${what}, says of an honest stream: ${verdict}`, async () => {
      const file = await exported(store, { stream: first.stream });
      const trust = lines ? { keys, ledger: claimsOf(lines) } : { keys };
      assert.equal(short((await verified(file, trust)).verdict), verdict);
      if (what.includes('knows more')) return; // those lines are no ledger, so the second verifier stops there
      assert.deepEqual(await secondOpinions([file], { keys, ledger: lines }), [verdict]);
    });
  }

  test('says why, in words of its own', async () => {
    const file = await exported(store, { stream: first.stream });
    const { verdict } = await verified(file, { keys: [other] });
    assert.ok(verdict.kind === 'consistent' && verdict.why.includes(first.stream));
    assert.equal((await verified(file, { keys: [] })).verdict.kind, 'consistent');
  });

  test('says the same however the bytes are cut', async () => {
    const file = await exported(store, { stream: first.stream, session: sessions.long });
    const whole = await verified(file, { keys: [key] });
    const random = new Random(7);
    for (let round = 0; round < scaled(200); round += 1) {
      const cuts = Array.from({ length: 20 }, () => random.below(file.length)).sort(
        (a, b) => a - b,
      );
      const edges = [0, ...cuts, file.length];
      const pieces = (async function* (): AsyncGenerator<Buffer> {
        for (const [index, edge] of edges.entries()) yield file.subarray(edge, edges[index + 1]);
      })();
      assert.deepEqual(await verifyExport(pieces, { keys: [key] }), whole);
    }
  });

  test('tells of an export in noise, and in nothing', async () => {
    const random = new Random(8);
    for (const bytes of [Buffer.alloc(0), random.bytes(10), random.bytes(10_000)]) {
      assert.equal(short((await verified(bytes, { keys: [] })).verdict), 'broken 0');
      assert.deepEqual(await secondOpinions([bytes], {}), ['broken 0']);
    }
  });
});

describe('checkLedger', () => {
  const ledger = honestLog().ledger;
  for (let count = 0; count < 3; count += 1) ledger.add(begun().head());
  const { lines } = ledger;
  const keys = [ledger.key.publicKey];
  const forgery = new LedgerBuilder().add(begun().head()).lines[0] ?? '';
  const cases: [what: string, lines: readonly string[], copy: readonly string[] | undefined, verdict: string][] = [
    ['an honest one', lines, undefined, 'whole 6'],
    ['an honest one with its copy', lines, lines, 'whole 6'],
    ['one that is ahead of its copy', lines, lines.slice(0, 4), 'whole 6'],
    ['one whose copy begins later', lines, lines.slice(3), 'whole 6'],
    ['one without lines', [], undefined, 'whole 0'],
    ['one without its last line, of which nothing else tells', lines.slice(0, 5), undefined, 'whole 5'],
    ['one without its last line', lines.slice(0, 5), lines, 'broken 6'],
    ['one without all its lines', [], lines, 'broken 1'],
    ['one without a line', lines.toSpliced(2, 1), undefined, 'broken 3'],
    ['one without its first line', lines.slice(1), undefined, 'broken 1'],
    ['one with two lines swapped', lines.toSpliced(1, 2, lines[2] ?? '', lines[1] ?? ''), undefined, 'broken 2'],
    ['one with a line doubled', lines.toSpliced(1, 0, lines[1] ?? ''), undefined, 'broken 3'],
    ['one with a line edited', lines.with(3, lines[3]?.replace('"local"', '"other"') ?? ''), undefined, 'broken 4'],
    ['one with a line of another key', lines.with(0, forgery), undefined, 'broken 1'],
    ['one made anew with another key', honestLog().ledger.lines, undefined, 'broken 1'],
    ['one with a line that is none', lines.with(4, 'nonsense'), undefined, 'broken 5'],
    ['one whose copy has another line', lines, lines.with(2, lines[3] ?? ''), 'broken 3'],
    ['one whose copy has a line less', lines, lines.toSpliced(2, 1), 'broken 3'],
  ]; // prettier-ignore
  async function* each(items: readonly string[]): AsyncGenerator<string> {
    yield* items;
  }
  for (const [what, given, copy, expected] of cases) {
    test(`finds ${what} ${expected}`, async () => {
      const check = { keys, of: 'ledger', copy: copy && each(copy) } as const;
      const verdict = await checkLedger(each(given), check);
      const found = verdict.kind === 'whole' ? `whole ${verdict.upTo}` : `broken ${verdict.at}`;
      assert.equal(found, expected);
      assert.equal(await secondOpinionOnLedger(given, { keys, ledger: copy }), expected);
    });
  }

  test('takes a copy from any line on', async () => {
    const check = { keys, of: 'copy' } as const;
    assert.deepEqual(await checkLedger(each(lines.slice(2)), check), { kind: 'whole', upTo: 6 });
    const broken = await checkLedger(each(lines.slice(2).toSpliced(1, 1)), check);
    assert.deepEqual([broken.kind, 'at' in broken && broken.at], ['broken', 4]);
  });

  test('finds a flipped byte of any line', async () => {
    for (const [index, line] of lines.entries()) {
      for (let at = 0; at < line.length; at += 7) {
        const code = line.charCodeAt(at) ^ 1;
        const wrong = line.slice(0, at) + String.fromCharCode(code) + line.slice(at + 1);
        const verdict = await checkLedger(each(lines.with(index, wrong)), { keys, of: 'ledger' });
        assert.deepEqual([verdict.kind, 'at' in verdict && verdict.at], ['broken', index + 1]);
      }
    }
  });

  test('tells of what fits as it goes', async () => {
    const kinds: string[] = [];
    const onClaim = ({ kind }: { kind: string }): void => void kinds.push(kind);
    await checkLedger(each(lines), { keys, of: 'ledger', onClaim });
    assert.deepEqual(
      kinds,
      Array.from({ length: 6 }, () => 'head'),
    );
    assert.equal(publicKeyHex(ledger.key.publicKey).length, 64);
  });
});
