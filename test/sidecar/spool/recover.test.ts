import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { signCheckpoint, publicKeyHex, unsigned } from '#core/record/checkpoint.ts';
import { parseFrames, type Frame } from '#core/record/frame.ts';
import { isRefusal } from '#core/operation.ts';
import { Chain } from '../../../sidecar/spool/chain.ts';
import { completeCheckpoint } from '../../../sidecar/spool/checkpoint-frame.ts';
import { createClock } from '../../../sidecar/spool/clock.ts';
import { tryReadHead, writeHead } from '../../../sidecar/spool/head.ts';
import { recoverSpool, type Recovered } from '../../../sidecar/spool/recover.ts';
import type { Damage } from '../../../sidecar/spool/stream-reader.ts';
import { factsOf, statement } from '../../support/policies.ts';
import { openSession, openSpool, type TestSpool } from '../../support/sidecar-session.ts';
import { checkStream } from '../../support/stream-check.ts';
import { Random, scaled } from '../../support/random.ts';

const keys = generateKeyPairSync('ed25519');
const query = (text: string) =>
  ({
    kind: 'request',
    facts: factsOf(statement({})),
    content: { type: 'postgres.query', bytes: Buffer.from(text) },
  }) as const;

/** A spool as a killed process leaves it: two sessions, one request of each without an end, one denied, one ended. */
async function leaveSpool(options: Parameters<typeof openSpool>[0] = {}): Promise<TestSpool> {
  const spool = openSpool(options);
  const { writer } = spool;
  writer.append({
    ending: true,
    seal: () => ({
      fields: {
        kind: 'stream.start',
        'service.version': '0',
        'k8s.pod.name': 'p',
        'k8s.namespace.name': 'n',
        'service.account': 's',
        publicKey: publicKeyHex(keys.publicKey),
      },
    }),
  });
  const session = openSession(writer);
  const strict = openSession(writer, { mode: 'Enforce' });
  const ended = session.admit(query('ended'));
  assert.ok(!isRefusal(ended));
  await writer.turn();
  ended.finish({ status: 'ok' });
  assert.ok(isRefusal(strict.admit(query('denied'))));
  assert.ok(!isRefusal(session.admit({ ...query('a text'), kind: 'statement' })));
  const over = openSession(writer);
  over.end('agent-closed');
  await writer.turn();
  assert.ok(!isRefusal(session.admit(query('open'))));
  await writer.turn();
  return spool;
}

async function recover(
  directory: string,
  options: Partial<Parameters<typeof recoverSpool>[0]> = {},
): Promise<Recovered> {
  return recoverSpool({
    directory,
    now: createClock(Date.now, () => performance.now()),
    nowMs: Date.now,
    onDamage: ({ path }) => assert.fail(`${path} is said to be damaged`),
    onUnended: (_, error) => assert.fail(error),
    ...options,
  });
}

function framesOf(directory: string, stream: string): Frame[] {
  const folder = join(directory, stream);
  return readdirSync(folder)
    .filter((name) => name.endsWith('.frames'))
    .sort()
    .flatMap((name) => [...parseFrames(readFileSync(join(folder, name)))]);
}

const seqsOf = ({ batches }: { batches: Recovered['leftovers'][number]['batches'] }) =>
  batches.map(({ firstSeq, lastSeq, unreadable }) => [
    firstSeq,
    lastSeq,
    ...(unreadable ? ['unreadable'] : []),
  ]);

describe('after a kill', () => {
  test('every allowed request without a result gets one, every session an end, and the stream too', async () => {
    using spool = await leaveSpool();
    const { stream } = spool.writer;
    const before = spool.frames().length;
    const recovered = await recover(spool.directory);
    const check = checkStream(framesOf(spool.directory, stream));
    assert.equal(check.ended, 'recovered');
    assert.deepEqual([...check.results.values()], ['ok', 'unknown']);
    assert.deepEqual([...check.sessions.values()], ['sidecar-killed', 'sidecar-killed', 'agent-closed']); // prettier-ignore
    assert.deepEqual(recovered.previous, check.head);
    assert.equal(recovered.leftovers[0]?.stream, stream);
    assert.equal(check.head.seq, before + 4);
    assert.equal(recovered.bytes, spool.segments().reduce((sum, path) => sum + statSync(path).size, 0)); // prettier-ignore
  });

  test('a second recovery finds nothing to do', async () => {
    using spool = await leaveSpool();
    const first = await recover(spool.directory);
    const written = spool.segments().map((path) => readFileSync(path));
    assert.deepEqual({ ...(await recover(spool.directory)), stream: '' }, { ...first, stream: '' });
    assert.deepEqual(spool.segments().map((path) => readFileSync(path)), written); // prettier-ignore
  });

  test('a kill at any byte of a write, also of the recovery’s own, leads to the same ends', async () => {
    using spool = await leaveSpool();
    const { stream } = spool.writer;
    await recover(spool.directory);
    const segments = spool.segments();
    assert.equal(segments.length, 2);
    const step = 10 / scaled(10);
    for (const [index, segment] of segments.entries()) {
      for (let size = statSync(segment).size; size >= 0; size -= step) {
        const copy = mkdtempSync(join(tmpdir(), 'chaperone-cut-'));
        cpSync(spool.directory, copy, { recursive: true });
        if (index === 0) rmSync(join(copy, stream, basename(segments[1] ?? '')));
        truncateSync(join(copy, stream, basename(segment)), size);
        const { previous } = await recover(copy);
        const frames = existsSync(join(copy, stream)) ? framesOf(copy, stream) : [];
        if (frames.length > 0 || previous) {
          const check = checkStream(frames);
          assert.equal(check.ended, 'recovered', `${size} bytes`);
          assert.deepEqual(previous, check.head);
          assert.ok([...check.results.values(), ...check.sessions.values()].every(Boolean));
        } else assert.equal(index, 0);
        rmSync(copy, { recursive: true });
      }
    }
  });

  test('what was open when its segments were deleted is ended from the stream’s head', async () => {
    using spool = await leaveSpool();
    const { stream } = spool.writer;
    const early = spool.frames();
    const chain = new Chain(stream);
    for (const { header, headerBytes } of early) chain.add(header, headerBytes);
    writeHead(spool.directory, chain.head);
    rmSync(spool.segments().find((path) => path.endsWith('.frames')) ?? '');
    const recovered = await recover(spool.directory);
    const all = [...early, ...framesOf(spool.directory, stream)];
    const check = checkStream(all);
    assert.deepEqual([...check.results.values()], ['ok', 'unknown']);
    assert.ok([...check.sessions.values()].every(Boolean));
    assert.deepEqual(recovered.previous, check.head);
  });

  test('a segment that the head covers was committed: it is deleted and not sent again', async () => {
    using spool = await leaveSpool();
    const chain = new Chain(spool.writer.stream);
    for (const { header, headerBytes } of spool.frames()) chain.add(header, headerBytes);
    const [segment = ''] = spool.segments();
    const { seq } = chain;
    writeHead(spool.directory, chain.head);
    const { leftovers } = await recover(spool.directory);
    assert.ok(!existsSync(segment));
    assert.deepEqual(leftovers.flatMap(seqsOf), [[seq + 1, seq + 4]]);
  });

  test('a head that nobody wrote is not believed', async () => {
    using spool = await leaveSpool();
    const path = join(spool.directory, spool.writer.stream, 'head.json');
    for (const text of ['', '{', 'null', '{"stream":"other","seq":1,"open":[]}']) {
      writeFileSync(path, text);
      assert.equal(tryReadHead(spool.directory, spool.writer.stream), undefined);
    }
  });

  test('the new stream sorts behind those that are there, also when the clock was set back', async () => {
    using spool = await leaveSpool();
    const { stream } = await recover(spool.directory, {
      nowMs: () => Date.parse('2001-01-01T00:00:00Z'),
      now: createClock(() => Date.parse('2001-01-01T00:00:00Z'), () => performance.now()), // prettier-ignore
    });
    assert.ok(stream > spool.writer.stream);
    assert.equal(checkStream(framesOf(spool.directory, spool.writer.stream)).ended, 'recovered');
  });

  test('three streams are left in the order in which they were written, and the last one is named', async () => {
    using spool = await leaveSpool();
    const streams = [spool.writer.stream];
    for (let more = 0; more < 2; more += 1) {
      const { stream } = await recover(spool.directory);
      using next = await leaveSpool({ directory: spool.directory, stream });
      streams.push(stream);
      cpSync(next.directory, spool.directory, { recursive: true });
    }
    const { leftovers, previous, stream } = await recover(spool.directory);
    assert.ok(stream > (streams[2] ?? ''));
    assert.deepEqual(leftovers.map(({ stream }) => stream), streams); // prettier-ignore
    assert.equal(previous?.stream, streams[2]);
  });

  test('a checkpoint that was completed in part becomes the unsigned one again, and nothing is lost', async () => {
    using spool = openSpool();
    await fill(spool, 3);
    spool.writer.append({ ending: true, seal: () => ({ fields: { kind: 'stream.end', reason: 'stopped' } }) }); // prettier-ignore
    await spool.writer.turn();
    await fill(spool, 1);
    const [segment = ''] = spool.segments();
    const pending = readFileSync(segment);
    const frames = [...parseFrames(pending)];
    const index = frames.findIndex(({ header }) => header.kind === 'checkpoint');
    const offset = frames.slice(0, index).reduce((sum, { length }) => sum + length, 0);
    const { length } = frames[index] ?? { length: 0 };
    const completed = Buffer.from(pending.subarray(offset, offset + length));
    const link = Buffer.alloc(32, 7);
    const signature = signCheckpoint(keys.privateKey, { stream: 's', seq: 1, link });
    completeCheckpoint(completed, link.toString('hex'), signature);
    for (let done = 0; done <= length; done += 1) {
      const torn = Buffer.from(pending);
      completed.copy(torn, offset, 0, done);
      writeFileSync(segment, torn);
      const isWhole = torn.includes(completed);
      const { leftovers } = await recover(spool.directory);
      assert.deepEqual(leftovers.flatMap(seqsOf), [[1, 6]]);
      const { header } = [...parseFrames(readFileSync(segment))][index] ?? {};
      const expected = isWhole ? signature : unsigned;
      assert.equal(header?.kind === 'checkpoint' && header.signature, expected, `${done} bytes`);
    }
  });
});

async function fill(spool: TestSpool, records: number): Promise<void> {
  for (let n = 0; n < records; n += 1)
    spool.writer.append({
      ending: false,
      seal: () => ({
        fields: { kind: 'part', direction: 'down', channel: 'rows', payloadType: 'json' },
        payload: [Buffer.from(`record ${n}`)],
      }),
    });
  await spool.writer.turn();
}

function flipped(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes);
  changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
  return changed;
}

function withLength(bytes: Buffer, at: number, length: number): Buffer {
  const changed = Buffer.from(bytes);
  changed.writeUInt32BE(length, at);
  return changed;
}

function without(bytes: Buffer, at: number): Buffer {
  const end = at + 8 + bytes.readUInt32BE(at);
  return Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]);
}

describe('a damaged spool', () => {
  const damages: [what: string, change: (bytes: Buffer, at: number) => Buffer][] = [
    ['a byte that is another', (bytes, at) => flipped(bytes, at + 40)],
    ['a length that reaches past the end', (bytes, at) => withLength(bytes, at, 2_000_000)],
    ['a length of nothing', (bytes, at) => withLength(bytes, at, 0)],
    ['zeros', (bytes, at) => Buffer.from(bytes).fill(0, at, at + 100)],
    ['a record that is missing', (bytes, at) => without(bytes, at)],
  ];
  for (const [what, change] of damages) {
    test(`goes on behind the damage, tells of the gap, and keeps what cannot be read: ${what}`, async () => {
      using spool = openSpool();
      await fill(spool, 10);
      const [path = ''] = spool.segments();
      const lengths = spool.frames().map(({ length }) => length);
      const fourth = lengths.slice(0, 3).reduce((sum, length) => sum + length, 0);
      const damaged = change(readFileSync(path), fourth);
      writeFileSync(path, damaged);
      const said: Damage[] = [];
      const { leftovers, previous } = await recover(spool.directory, {
        onDamage: (damage) => said.push(damage),
      });
      const [leftover] = leftovers;
      assert.ok(leftover);
      assert.deepEqual(seqsOf(leftover), [[1, 3], [4, 4, 'unreadable'], [5, 10], [11, 12]]); // prettier-ignore
      // What is shipped of the damage begins with the record before it, which says whose it is.
      const [, unread] = leftover.batches;
      assert.equal([...parseFrames(Buffer.from(unread?.unreadable ?? []))][0]?.header.seq, 3);
      assert.equal(unread?.offset, fourth);
      assert.deepEqual(said, [{ path, keptBytes: fourth, lostBytes: damaged.length - fourth }]);
      assert.deepEqual(readFileSync(`${path}.damaged`), damaged);
      assert.equal(statSync(`${path}.damaged`).mode & 0o777, 0o600);
      const [, last = ''] = spool.segments().filter((name) => name.endsWith('.frames'));
      const headers = [...parseFrames(readFileSync(last))].map(({ header }) => header);
      assert.deepEqual(headers.map(({ kind, seq }) => [kind, seq]), [['gap', 11], ['stream.end', 12]]); // prettier-ignore
      const [gap] = headers;
      assert.deepEqual(gap?.kind === 'gap' && [gap.from, gap.to], [4, 4]);
      assert.deepEqual(previous, { stream: leftover.stream, seq: 12, link: '0'.repeat(64) });
      // The next start finds the same, and says nothing anew.
      const again = await recover(spool.directory);
      assert.deepEqual(again.leftovers, leftovers);
    });
  }

  test('of which the end is noise goes on where no lost record can have been', async () => {
    using spool = openSpool();
    await fill(spool, 3);
    const [path = ''] = spool.segments();
    const whole = readFileSync(path);
    writeFileSync(path, Buffer.concat([whole, new Random(1).bytes(500)]));
    const { leftovers } = await recover(spool.directory, { onDamage: () => undefined });
    assert.deepEqual(leftovers.flatMap(seqsOf), [[1, 3], [4, 7, 'unreadable'], [8, 9]]); // prettier-ignore
  });

  test('writes no end of a session whose last records may be lost', async () => {
    using spool = await leaveSpool();
    const [path = ''] = spool.segments();
    writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(300)]));
    await recover(spool.directory, { onDamage: () => undefined });
    const [, last = ''] = spool.segments().filter((name) => name.endsWith('.frames'));
    const kinds = [...parseFrames(readFileSync(last))].map(({ header }) => header.kind);
    assert.deepEqual(kinds, ['gap', 'stream.end']);
  });

  test('leaves alone what is not a stream, and removes empty ones', async () => {
    using spool = openSpool();
    mkdirSync(join(spool.directory, spool.writer.stream));
    mkdirSync(join(spool.directory, 'lost+found'));
    writeFileSync(join(spool.directory, 'note'), 'x');
    chmodSync(join(spool.directory, 'note'), 0o600);
    const { leftovers, shipped, previous } = await recover(spool.directory);
    assert.deepEqual([leftovers, shipped, previous], [[], [], undefined]);
    assert.deepEqual(readdirSync(spool.directory).sort(), ['lost+found', 'note']);
  });
});
