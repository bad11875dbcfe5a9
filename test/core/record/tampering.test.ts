import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { encodeFrame } from '#core/record/frame.ts';
import type { Trust } from '#core/record/verify-export.ts';
import { projectDirectory } from '../../../cli/instance.ts';
import {
  exported,
  flipped,
  honestLog,
  sealed,
  sessions,
  short,
  splitItems,
  verified,
  type BuiltLog,
} from '../../support/logs.ts';
import { Random, scaled } from '../../support/random.ts';
import { secondOpinions } from '../../support/second-verifier.ts';
import { LedgerBuilder, MemoryStore, StreamBuilder } from '../../support/stream-builder.ts';

/** A short stream with one session, which ends and is in the ledger. */
function shortLog(): {
  stream: StreamBuilder;
  store: MemoryStore;
  trust: Trust;
  ledger: LedgerBuilder;
} {
  const stream = new StreamBuilder().start();
  stream.begin(sessions.early).query(sessions.early, 'select 1').finish(sessions.early);
  stream.checkpoint().end().checkpoint();
  const ledger = new LedgerBuilder().add(stream.head());
  const store = new MemoryStore().put(stream);
  store.lines = ledger.lines;
  return { stream, store, ledger, trust: { keys: [ledger.key.publicKey] } };
}

/** What both verifiers say of exports: they have to agree. */
async function opinions(files: readonly Buffer[], trust: Trust): Promise<string[]> {
  const first: string[] = [];
  for (const file of files) first.push(short((await verified(file, trust)).verdict));
  const second = await secondOpinions(files, { keys: trust.keys });
  const differ = first.flatMap((verdict, index) => verdict === second[index] ? [] : [`${index}: ${verdict}, second: ${second[index]}`]); // prettier-ignore
  assert.deepEqual(differ, []);
  return first;
}

async function opinion(file: Buffer, trust: Trust): Promise<string> {
  const [only = ''] = await opinions([file], trust);
  return only;
}

const everywhere = (bytes: Buffer): Buffer[] => Array.from(bytes, (_, at) => flipped(bytes, at));

describe('a byte that is flipped', () => {
  test('anywhere in the export of a stream breaks it, and both verifiers say where', async () => {
    const { store, stream, trust } = shortLog();
    const honest = await exported(store, { stream: stream.stream });
    assert.equal(await opinion(honest, trust), 'complete');
    for (const verdict of await opinions(everywhere(honest), trust))
      assert.match(verdict, /^broken/);
  });

  test('anywhere in the export of a session breaks it, without any trust too', async () => {
    const { store, first } = honestLog('killed');
    const honest = await exported(store, { stream: first.stream, session: sessions.late });
    assert.equal(await opinion(honest, { keys: [] }), 'consistent');
    for (const verdict of await opinions(everywhere(honest), { keys: [] }))
      assert.match(verdict, /^broken/);
  });

  test('never leaves it complete when CRC and end are made to fit again', async () => {
    const { store, first, trust } = honestLog('killed');
    const random = new Random(16);
    for (const session of [undefined, sessions.early, sessions.long]) {
      const items = splitItems(await exported(store, { stream: first.stream, session })).slice(
        0,
        -1,
      );
      const files: { bytes: Buffer; what: string; mayPass: boolean }[] = [];
      for (let round = 0; round < scaled(15_000); round += 1) {
        const index = random.below(items.length);
        const item = items[index] ?? Buffer.alloc(0);
        const at = 5 + random.below(item.length - 5);
        const changed = withCrc(flipped(item, at));
        if (changed.equals(item)) continue; // it was a byte of the CRC
        const bytes = sealed(items.with(index, changed));
        const mayPass = session !== undefined && isUnprovenTime(item, at);
        files.push({ bytes, what: `item ${index}, byte ${at}`, mayPass });
      }
      const verdicts = await opinions(files.map(({ bytes }) => bytes), trust); // prettier-ignore
      for (const [index, { what, mayPass }] of files.entries())
        if (!mayPass) assert.notEqual(verdicts[index], 'complete', `${session}: ${what}`);
    }
  });
});

function withCrc(item: Buffer): Buffer {
  if (item.toString('latin1', 0, 1) === 'F') item.writeUInt32BE(crc32(item.subarray(13)), 9);
  return item;
}

/** Whether the byte is of a checkpoint's own time, which no signature holds: of no record of the session. */
function isUnprovenTime(item: Buffer, at: number): boolean {
  const text = item.toString('latin1');
  if (!text.includes('"kind":"checkpoint"')) return false;
  return at >= text.indexOf('"time"') && at < text.indexOf('"kind"');
}

/** What somebody may do to the store; the export of it is honest. */
interface StoreCase {
  readonly what: string;
  readonly change: (log: BuiltLog) => void;
  /** What the export of the stream is found to be; of the three sessions where they are told. */
  readonly stream: string;
  readonly sessions?: readonly [early: string, long: string, late: string];
  readonly until?: Parameters<typeof honestLog>[0];
}

const records = ({ store, first }: BuiltLog) => store.streams.get(first.stream) ?? [];

/** Exchanges text in a record's header for other text. */
function edit(log: BuiltLog, seq: number, from: string, to: string): void {
  const record = records(log)[seq - 1];
  if (!record?.header.includes(from)) throw new Error(`record ${seq} has no ${from}`);
  record.header = Buffer.from(record.header.toString().replace(from, to));
}

function erase(log: BuiltLog, seq: number): void {
  const record = records(log)[seq - 1];
  if (!record?.payload.length) throw new Error(`record ${seq} has no payload`);
  record.salt = record.payload = Buffer.alloc(0);
}

function remove(log: BuiltLog, ...seqs: readonly number[]): void {
  const kept = records(log).filter(({ seq }) => !seqs.includes(seq));
  assert.equal(kept.length, records(log).length - seqs.length);
  log.store.streams.set(log.first.stream, kept);
}

/** Drops what retention drops, and says it in the ledger where that is wanted. */
function cut(
  log: BuiltLog,
  seq: number,
  { link = log.first.linkAt(seq), inLedger = true } = {},
): void {
  const { stream, publicKey } = log.first;
  remove(log, ...Array.from({ length: seq }, (_, index) => index + 1));
  log.store.cuts.set(stream, { seq, link });
  if (inLedger)
    log.ledger.add({ kind: 'cut', stream, seq, link: log.first.linkAt(seq), publicKey });
}

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);
const complete = ['complete', 'complete', 'complete'] as const;

const stored: readonly StoreCase[] = [
  { what: 'nothing', change: () => undefined, stream: 'complete', sessions: complete },
  { what: 'a header', change: (log) => edit(log, 5, 'postgres.query', 'postgres.parse'),
    stream: 'broken 8', sessions: ['broken 8', 'broken 8', 'complete'] },
  { what: 'a header behind the last head of the ledger', until: 'open', change: (log) => edit(log, 20, '"revision":"0"', '"revision":"1"'),
    stream: 'broken 23', sessions: ['complete', 'unbroken 25', 'unbroken 25'] },
  { what: 'the last header', change: (log) => edit(log, 33, '"monoNs":33000', '"monoNs":33001'),
    stream: 'broken 33', sessions: ['complete', 'broken 33', 'broken 33'] },
  { what: 'a payload', change: (log) => void (records(log)[4] ?? { payload: Buffer.alloc(0) }).payload.write('S'),
    stream: 'broken 5', sessions: ['broken 5', 'complete', 'complete'] },
  { what: 'a salt', change: (log) => void (records(log)[4] ?? { salt: Buffer.alloc(0) }).salt.writeUInt8((records(log)[4]?.salt[0] ?? 0) ^ 1),
    stream: 'broken 5', sessions: ['broken 5', 'complete', 'complete'] },
  { what: 'a record, deleted', change: (log) => remove(log, 12),
    stream: 'broken 12', sessions: ['complete', 'broken 12', 'complete'] },
  { what: 'a record of no session, deleted', change: (log) => remove(log, 20),
    stream: 'broken 20', sessions: complete },
  { what: 'two records, swapped', stream: 'broken 5', sessions: ['broken 5', 'broken 8', 'complete'],
    change: (log) => {
      const [one, other] = [records(log)[4], records(log)[5]];
      assert.ok(one && other);
      records(log).splice(4, 2, { ...other, seq: 5 }, { ...one, seq: 6 });
    } },
  { what: 'a record, doubled', stream: 'broken 13', sessions: ['complete', 'broken 13', 'complete'],
    change: (log) => void records(log).splice(12, 0, ...records(log).slice(11, 12)) },
  { what: 'a record, moved to another session', stream: 'complete', sessions: ['complete', 'broken 13', 'complete'],
    change: (log) => Object.assign(records(log)[11] ?? {}, { session: sessions.early }) },
  { what: 'the last record, deleted', change: (log) => remove(log, 33),
    stream: 'broken 33', sessions: ['complete', 'broken 33', 'broken 33'] },
  { what: 'the last five records, deleted', change: (log) => remove(log, ...range(29, 33)),
    stream: 'broken 29', sessions: ['complete', 'unbroken 25', 'broken 29'] },
  { what: 'a session, deleted', change: (log) => remove(log, 2, 5, 6, 10),
    stream: 'broken 2', sessions: ['broken 2', 'broken 2', 'broken 2'] },
  { what: 'a stream, deleted', change: (log) => remove(log, ...range(1, 33)),
    stream: 'broken 1', sessions: ['broken 1', 'broken 1', 'broken 1'] },
  { what: 'the last record, and the lines of the ledger that have it', stream: 'broken 33',
    change: (log) => {
      remove(log, 33);
      log.store.lines = log.ledger.lines.toSpliced(1, 1);
    } },
  { what: 'the last record, every line that has it, and the successor', stream: 'unbroken 25', sessions: ['complete', 'unbroken 25', 'unbroken 25'],
    change: (log) => {
      remove(log, 33);
      log.store.lines = log.ledger.lines.toSpliced(1, 1);
      log.store.successors.clear();
    } },
  { what: 'everything, signed anew with another key', stream: 'broken 1', sessions: ['broken 1', 'broken 1', 'broken 1'],
    change: ({ store, first }) => {
      const forged = new StreamBuilder(first.stream).start().begin(sessions.early).begin(sessions.long);
      forged.begin(sessions.late).finish(sessions.early).finish(sessions.long).finish(sessions.late);
      store.put(forged.checkpoint().end().checkpoint());
    } },
  { what: 'everything, with a ledger of another key', stream: 'consistent', sessions: ['consistent', 'consistent', 'consistent'],
    change: ({ store }) => {
      const forged = honestLog();
      store.lines = forged.ledger.lines;
      store.put(forged.first).put(forged.next);
    } },
  { what: 'a line of the ledger', stream: 'broken 1', sessions: ['broken 1', 'broken 1', 'broken 1'],
    change: ({ store }) => void (store.lines = store.lines.with(0, store.lines[0]?.replace('"seq":8', '"seq":9') ?? '')) },
  { what: 'the ledger, left out', change: ({ store }) => void (store.lines = []),
    stream: 'consistent', sessions: ['consistent', 'consistent', 'consistent'] },
  { what: 'a payload, erased, which the ledger does not say', change: (log) => erase(log, 6),
    stream: 'broken 6', sessions: ['broken 6', 'complete', 'complete'] },
  { what: 'a payload, erased, which another line says than the ledger has', stream: 'broken 1',
    change: (log) => {
      erase(log, 6);
      const forged = new LedgerBuilder().add({ kind: 'erasure', stream: log.first.stream, ranges: [[6, 6]], who: 'x', why: 'y' });
      log.store.lines = [...log.ledger.lines, ...forged.lines];
    } },
  { what: 'a payload, erased, as the ledger says', stream: 'complete', sessions: complete,
    change: (log) => {
      erase(log, 6);
      log.ledger.add({ kind: 'erasure', stream: log.first.stream, ranges: [[2, 3], [5, 7]], who: 'x', why: 'y' });
    } },
  { what: 'the beginning, dropped as the ledger says', change: (log) => cut(log, 11),
    stream: 'complete', sessions: ['broken 20', 'consistent', 'complete'] },
  { what: 'the beginning, dropped without a line of the ledger', change: (log) => cut(log, 11, { inLedger: false }),
    stream: 'broken 1', sessions: ['broken 1', 'broken 1', 'broken 1'] },
  { what: 'the beginning, dropped at another link', change: (log) => cut(log, 11, { link: '1'.repeat(64) }),
    stream: 'broken 1', sessions: ['broken 1', 'broken 1', 'broken 1'] },
  { what: 'more than the beginning that was dropped', stream: 'broken 12', sessions: ['broken 18', 'broken 12', 'broken 18'],
    change: (log) => {
      cut(log, 11);
      remove(log, 12);
    } },
  { what: 'the tail of a killed process', until: 'killed', change: (log) => edit(log, 30, 'agent-closed', 'agent-closeD'),
    stream: 'broken 1 01a20d9b-1d85-7411-bd0a-ae60b5ddc512', sessions: ['complete', 'broken 1 01a20d9b-1d85-7411-bd0a-ae60b5ddc512', 'broken 1 01a20d9b-1d85-7411-bd0a-ae60b5ddc512'] },
  { what: 'the end of a killed process', until: 'killed', change: (log) => remove(log, 33),
    stream: 'broken 33', sessions: ['complete', 'broken 33', 'broken 33'] },
  { what: 'nothing of a killed process', until: 'killed', change: () => undefined, stream: 'complete', sessions: complete },
  { what: 'nothing of an open stream', until: 'open', change: () => undefined,
    stream: 'unbroken 25', sessions: ['complete', 'unbroken 25', 'unbroken 25'] },
  { what: 'records behind the last signature, forged', until: 'open', change: (log) => edit(log, 30, 'agent-closed', 'agent-closeD'),
    stream: 'unbroken 25', sessions: ['complete', 'unbroken 25', 'unbroken 25'] },
]; // prettier-ignore

describe('a store that somebody changed', () => {
  for (const { what, change, stream, sessions: expected, until } of stored) {
    test(`${what}: shows in the exports, at its place`, async () => {
      const log = honestLog(until);
      change(log);
      const wanted = [undefined, ...(expected ? Object.values(sessions) : [])];
      const files: Buffer[] = [];
      for (const session of wanted)
        files.push(await exported(log.store, { stream: log.first.stream, session }));
      assert.deepEqual(await opinions(files, log.trust), [stream, ...(expected ?? [])]);
    });
  }

  test('every record deleted, in turn: shows in the export of its stream', async () => {
    for (const seq of range(1, 33)) {
      const log = honestLog();
      remove(log, seq);
      const file = await exported(log.store, { stream: log.first.stream });
      assert.equal(short((await verified(file, log.trust)).verdict), `broken ${seq}`);
    }
  });

  test('every payload that is not there is counted and named', async () => {
    const log = honestLog();
    for (const seq of [2, 5, 6, 8]) erase(log, seq);
    const file = await exported(log.store, { stream: log.first.stream });
    const { verdict, erased, erasedRanges } = await verified(file, { keys: [] });
    assert.deepEqual([short(verdict), erased, erasedRanges], ['consistent', 4, [[2, 2], [5, 6], [8, 8]]]); // prettier-ignore
  });
});

describe('an export that somebody changed', () => {
  test('of which a record is left out, doubled or swapped with what follows is never complete', async () => {
    for (const until of ['stopped', 'killed'] as const) {
      const { store, first, trust } = honestLog(until);
      for (const session of [undefined, ...Object.values(sessions)]) {
        const items = splitItems(await exported(store, { stream: first.stream, session })).slice(
          0,
          -1,
        );
        const tampered: Buffer[] = [];
        const harmless: Buffer[] = []; // what is left out was no record of the session, and nothing hung on it
        for (const [index, item] of items.entries()) {
          const text = item.toString('latin1');
          if (text.startsWith('L')) continue; // of lines the ledger itself is the proof
          const own =
            text.startsWith('F') &&
            text.includes(`"stream":"${first.stream}","seq"`) &&
            text.includes(session ?? '');
          (own ? tampered : harmless).push(sealed(items.toSpliced(index, 1)));
          tampered.push(sealed(items.toSpliced(index, 0, item)));
          const next = items[index + 1];
          if (next !== undefined) tampered.push(sealed(items.toSpliced(index, 2, next, item)));
        }
        for (const verdict of await opinions(tampered, trust)) assert.notEqual(verdict, 'complete');
        await opinions(harmless, trust);
      }
    }
  });

  test('in which something else than a space is behind a signature of the ledger is broken', async () => {
    const { store, first, trust } = honestLog();
    const items = splitItems(await exported(store, { stream: first.stream })).slice(0, -1);
    const [, line = Buffer.alloc(0)] = items;
    assert.equal(line.toString('latin1', 5 + 128, 5 + 130), ' {');
    assert.equal(await opinion(sealed(items.with(1, flipped(line, 5 + 128))), trust), 'broken 1');
  });

  test('in which a header is exchanged for one of the same length is broken', async () => {
    const { store, stream, trust } = shortLog();
    const items = splitItems(await exported(store, { stream: stream.stream })).slice(0, -1);
    const header = Buffer.from(
      stream.records[2]?.header.toString().replace('"n":2', '"n":3') ?? '',
    );
    const { salt = Buffer.alloc(0), payload = Buffer.alloc(0) } = stream.records[2] ?? {};
    const frame = encodeFrame(header, salt, payload);
    const item = Buffer.concat([items[4]?.subarray(0, 5) ?? Buffer.alloc(0), frame]);
    assert.equal(item.length, items[4]?.length);
    assert.equal(await opinion(sealed(items.with(4, item)), trust), 'broken 3');
  });
});

test('the second verifier is short enough to be written by whoever needs one', () => {
  const directory = join(projectDirectory, 'test/verifier');
  const lines = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter(({ name }) => name.endsWith('.py'))
    .flatMap(({ parentPath, name }) =>
      readFileSync(join(parentPath, name), 'utf8').trimEnd().split('\n'),
    );
  assert.ok(lines.length < 200, `${lines.length} lines`);
  assert.deepEqual(
    lines.filter((line) => line.length > 120),
    [],
  );
});
