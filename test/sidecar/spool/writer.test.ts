import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { firstLink, hashHeader, nextLink } from '#core/record/chain.ts';
import { payloadMatches } from '#core/record/frame.ts';
import { createClock } from '../../../sidecar/spool/clock.ts';
import { recoverLeftovers } from '../../../sidecar/spool/recover.ts';
import type { Draft } from '../../../sidecar/spool/writer.ts';
import { openSpool, type TestSpool } from '../../support/sidecar-session.ts';
import { Random } from '../../support/random.ts';

const record = (text: string, ending = false): Draft => ({
  ending,
  seal: () => ({
    fields: { kind: 'part', direction: 'down', channel: 'rows', payloadType: 'postgres.messages' },
    payload: [Buffer.from(text)],
  }),
});
const texts = (spool: TestSpool): string[] =>
  spool.frames().map(({ payload }) => payload.toString());

describe('SpoolWriter', () => {
  test('writes one unbroken chain with the payloads that its headers name', async () => {
    using spool = openSpool();
    for (let n = 0; n < 50; n += 1) {
      spool.writer.append(record(`record ${n}`));
      if (n % 7 === 0) assert.equal(await spool.writer.turn(), undefined);
    }
    assert.equal(await spool.writer.turn(), undefined);
    const frames = spool.frames();
    assert.deepEqual(
      frames.map(({ header }) => header.seq),
      Array.from({ length: 50 }, (_, index) => index + 1),
    );
    assert.ok(frames.every(payloadMatches));
    assert.ok(
      frames.reduce(
        (link, { headerBytes }) => nextLink(link, hashHeader(headerBytes)),
        firstLink(spool.writer.stream),
      ),
    );
  });

  test('writes once a turn, and gives the turn’s records their seq together', async () => {
    let writes = 0;
    using spool = openSpool({ onWritten: () => (writes += 1) });
    const refs = Array.from({ length: 20 }, (_, n) => spool.writer.append(record(String(n))));
    assert.equal(refs[0]?.seq, undefined);
    await spool.writer.turn();
    assert.equal(writes, 1);
    assert.deepEqual(
      refs.map(({ seq }) => seq),
      Array.from({ length: 20 }, (_, n) => n + 1),
    );
  });

  test('has nothing to wait for when nothing was appended', () => {
    using spool = openSpool();
    assert.equal(spool.writer.turn(), undefined);
  });

  test('refuses what cannot be written, keeps endings, and goes on without a gap when it can be written again', async () => {
    using spool = openSpool();
    spool.writer.append(record('before'));
    await spool.writer.turn();
    // A file in the place of the stream's folder: the next segment cannot be made.
    const folder = join(spool.directory, spool.writer.stream);
    fillSegment(spool);
    await spool.writer.turn();
    rmSync(folder, { recursive: true });
    writeFileSync(folder, '');
    const lost = spool.writer.append(record('lost'));
    spool.writer.append(record('an ending', true));
    const stop = await spool.writer.turn();
    assert.equal(stop?.refusal.code, 'audit-unavailable');
    assert.equal(lost.seq, undefined);
    rmSync(folder);
    mkdirSync(folder);
    spool.writer.append(record('after'));
    assert.equal(await spool.writer.turn(), undefined);
    assert.deepEqual(texts(spool), ['an ending', 'after']);
    const [ending, after] = spool.frames();
    assert.equal(after?.header.seq, (ending?.header.seq ?? 0) + 1);
    assert.deepEqual(
      spool.troubles.map((trouble) => trouble === undefined),
      [false, true],
    );
  });

  test('waits for a spool that recovers in time', async () => {
    using spool = openSpool({ waitMs: () => 5_000 });
    const folder = join(spool.directory, spool.writer.stream);
    writeFileSync(folder, '');
    spool.writer.append(record('patient'));
    const ready = spool.writer.turn();
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    assert.equal(spool.troubles.length, 1);
    rmSync(folder);
    assert.equal(await ready, undefined);
    assert.deepEqual(texts(spool), ['patient']);
  });

  test('refuses at its limit, and has room for endings beyond it', async () => {
    using spool = openSpool({ maxBytes: 100_000, reserveBytes: 100_000 });
    spool.writer.append(record('x'.repeat(99_000)));
    assert.equal(await spool.writer.turn(), undefined);
    spool.writer.append(record('y'.repeat(5_000)));
    assert.equal((await spool.writer.turn())?.refusal.code, 'audit-unavailable');
    spool.writer.append(record('z'.repeat(5_000), true));
    assert.equal(await spool.writer.turn(), undefined);
  });

  test('begins a new segment when one is long, and every file is for its owner alone', async () => {
    using spool = openSpool();
    fillSegment(spool);
    await spool.writer.turn();
    spool.writer.append(record('in the next'));
    await spool.writer.turn();
    assert.equal(spool.writer.segments.length, 2);
    for (const { path } of spool.writer.segments) assert.equal(statSync(path).mode & 0o777, 0o600);
  });

  test('says when closing loses records', () => {
    const spool = openSpool();
    writeFileSync(join(spool.directory, spool.writer.stream), '');
    spool.writer.append(record('lost'));
    assert.equal(spool.writer.close(), false);
    spool[Symbol.dispose]();
  });
});

function fillSegment(spool: TestSpool): void {
  for (let n = 0; n < 140; n += 1) spool.writer.append(record('s'.repeat(65_000)));
}

describe('recoverLeftovers', () => {
  async function written(): Promise<TestSpool> {
    const spool = openSpool();
    for (let n = 0; n < 10; n += 1) spool.writer.append(record(`record ${n}`));
    await spool.writer.turn();
    return spool;
  }

  test('finds whole what was written', async () => {
    using spool = await written();
    const [leftover] = await recoverLeftovers(spool.directory);
    assert.equal(leftover?.segments[0]?.lastSeq, 10);
  });

  test('cuts a torn tail at every length, and keeps what is whole before it', async () => {
    using spool = await written();
    const path = spool.writer.segments[0]?.path ?? '';
    const lengths = spool.frames().map(({ length }) => length);
    for (let size = statSync(path).size; size > 0; size -= 37) {
      truncateSync(path, size);
      const [leftover] = await recoverLeftovers(spool.directory);
      let whole = 0;
      let count = 0;
      for (const length of lengths) {
        if (whole + length > size) break;
        whole += length;
        count += 1;
      }
      assert.equal(leftover?.segments[0]?.lastSeq ?? 0, count, `${size} bytes`);
      if (count === 0) break;
    }
  });

  test('does not take noise behind the last record for one', async () => {
    using spool = await written();
    const path = spool.writer.segments[0]?.path ?? '';
    const { size } = statSync(path);
    appendFileSync(path, new Random(1).bytes(500));
    await recoverLeftovers(spool.directory);
    assert.equal(statSync(path).size, size);
  });

  test('leaves alone what is not a stream, and removes empty ones', async () => {
    using spool = openSpool();
    mkdirSync(join(spool.directory, 'empty'));
    writeFileSync(join(spool.directory, 'note'), 'x');
    chmodSync(join(spool.directory, 'note'), 0o600);
    assert.deepEqual(await recoverLeftovers(spool.directory), []);
    assert.deepEqual(readdirSync(spool.directory), ['note']);
  });
});

describe('the clock', () => {
  test('has microseconds, and follows a wall clock that is set back or forward', () => {
    let wall = Date.parse('2026-01-01T00:00:00.500Z');
    let mono = 1_000;
    const now = createClock(() => wall, () => mono); // prettier-ignore
    assert.equal(now().time, '2026-01-01T00:00:00.500000Z');
    mono += 0.25;
    assert.equal(now().time, '2026-01-01T00:00:00.500250Z');
    wall -= 3_600_000;
    assert.equal(now().time.slice(0, 19), '2025-12-31T23:00:00');
    assert.ok(now().monoNs > 1_000_000_000);
  });

  test('writes endings while everything else still finds no room, and keeps none of what was never recorded', async () => {
    using spool = openSpool({ maxBytes: 2_000, reserveBytes: 10_000 });
    const { writer } = spool;
    const recorded = writer.append(record('a request'));
    assert.equal(await writer.turn(), undefined);
    writer.append(record('x'.repeat(3_000)));
    assert.equal((await writer.turn())?.reason, 'audit-unavailable');
    const unrecorded = writer.append(record('y'.repeat(3_000)));
    writer.append({ ...record('its end', true), request: unrecorded });
    writer.append({ ...record('the end', true), request: recorded });
    assert.equal((await writer.turn())?.reason, 'audit-unavailable');
    assert.deepEqual(texts(spool), ['a request', 'the end']);
  });
});
