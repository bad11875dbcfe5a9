import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { firstLink, hashHeader, nextLink } from '#core/record/chain.ts';
import { encodeFrame, hashPayload, parseFrames, payloadMatches } from '#core/record/frame.ts';
import { createClock } from '../../../sidecar/spool/clock.ts';
import type { Draft } from '../../../sidecar/spool/writer.ts';
import { openSpool, type TestSpool } from '../../support/sidecar-session.ts';

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
    assert.deepEqual(
      texts(spool),
      Array.from({ length: 50 }, (_, n) => `record ${n}`),
    );
    // The hash that a header names is the one of its own salt and payload, and of no other record's.
    const named = frames.map(({ header }) => header.payload?.hash);
    assert.deepEqual(
      frames.map(({ salt, payload }) => hashPayload(salt, payload)),
      named,
    );
    assert.equal(new Set(named).size, 50);
    assert.equal(new Set(frames.map(({ headerBytes }) => hashHeader(headerBytes).toString('hex'))).size, 50); // prettier-ignore
  });

  test('writes what a reader refuses once any one byte of it is changed', async () => {
    using spool = openSpool();
    for (let n = 0; n < 3; n += 1) spool.writer.append(record(`record ${n}`));
    await spool.writer.turn();
    const bytes = readFileSync(spool.segments()[0] ?? '');
    const linkOf = (stored: Buffer): string =>
      [...parseFrames(stored)]
        .reduce(
          (link, { headerBytes }) => nextLink(link, hashHeader(headerBytes)),
          firstLink(spool.writer.stream),
        )
        .toString('hex');
    const honest = linkOf(bytes);
    for (let at = 0; at < bytes.length; at += 1) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
      assert.throws(() => linkOf(changed), { code: 'record-invalid' }, `byte ${at}`);
    }
    // Whoever changes a header and mends its CRC changes the link.
    const [first, ...rest] = parseFrames(bytes);
    if (!first) throw new Error('nothing was written');
    const forged = Buffer.from(first.headerBytes.toString().replace('"rows"', '"copy"'));
    const others = bytes.subarray(first.length);
    assert.equal(rest.length, 2);
    const mended = encodeFrame(forged, first.salt, first.payload);
    assert.notEqual(linkOf(Buffer.concat([mended, others])), honest);
    assert.equal(linkOf(Buffer.concat([bytes.subarray(0, first.length), others])), honest);
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

  test('begins with what it is to begin with, though other things gave up waiting before', async () => {
    let waitMs = 60_000;
    using spool = openSpool({ waitMs: () => waitMs });
    const folder = join(spool.directory, spool.writer.stream);
    writeFileSync(folder, '');
    spool.writer.begin(record('the first', true));
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    assert.equal(spool.troubles.length, 1);
    waitMs = 0;
    spool.writer.append(record('an ending', true));
    assert.equal((await spool.writer.turn())?.refusal.code, 'audit-unavailable');
    rmSync(folder);
    spool.writer.append(record('after'));
    assert.equal(await spool.writer.turn(), undefined);
    assert.deepEqual(texts(spool), ['the first', 'an ending', 'after']);
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
    assert.equal(spool.segments().length, 2);
    for (const path of spool.segments()) assert.equal(statSync(path).mode & 0o777, 0o600);
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
