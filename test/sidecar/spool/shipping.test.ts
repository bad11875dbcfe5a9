import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { parseFrames } from '#core/record/frame.ts';
import { Background } from '../../../sidecar/spool/background.ts';
import { unrecordable } from '../../../sidecar/spool/writer.ts';
import { openLiveSpool, type LiveSpool, type LiveSpoolOptions } from '../../support/live-spool.ts';
import { startPeerCollector, type PeerCollector } from '../../support/peer-collector.ts';
import { checkStream } from '../../support/stream-check.ts';
import { until } from '../../support/until.ts';

let directory = '';
let peer: PeerCollector;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'chaperone-shipping-'));
  peer = await startPeerCollector();
});
afterEach(async () => {
  await peer[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

const open = (options: Partial<LiveSpoolOptions> = {}): Promise<LiveSpool> =>
  openLiveSpool({ directory, collector: peer, ...options });

async function record({ spool: { writer } }: LiveSpool, count: number, bytes = 100): Promise<void> {
  for (let n = 0; n < count; n += 1)
    writer.append({
      ending: false,
      seal: () => ({
        fields: { kind: 'part', direction: 'down', channel: 'rows', payloadType: 'json' },
        payload: [Buffer.alloc(bytes, 'x')],
      }),
    });
  assert.equal(await writer.turn(), undefined);
}

const segmentsOf = (stream: string): string[] => {
  const folder = join(directory, stream);
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.frames')) : [];
};
const untilAcked = (stream: string, seq: number): Promise<unknown> =>
  until(`record ${seq} is committed`, () => (peer.streams.get(stream)?.ackedSeq ?? 0) >= seq);

describe('a stream', () => {
  test('is signed at least every thousand records, and to its end when it is stopped', async () => {
    const live = await open({ publicKey: peer.publicKey });
    const { stream } = live.spool.writer;
    for (let round = 0; round < 5; round += 1) await record(live, 700);
    await live.spool.close(20_000);
    const frames = peer.framesOf(stream);
    const check = checkStream(frames);
    assert.equal(check.ended, 'stopped');
    assert.equal(check.signedSeq, check.head.seq - 1);
    assert.deepEqual(check.unsigned, []);
    const checkpoints = frames.filter(({ header }) => header.kind === 'checkpoint');
    for (const [index, { header }] of checkpoints.entries())
      assert.ok(header.seq - (checkpoints[index - 1]?.header.seq ?? 0) <= 1_000);
    assert.deepEqual(segmentsOf(stream), []);
    assert.equal(live.spool.writer.totalBytes, 0);
    assert.equal(live.log.at(-1)?.msg, 'stopped; the spool is shipped');
  });

  test('is signed while nothing is recorded, and while the collector is away', async () => {
    peer.intercept = () => ({ status: 503, body: {} });
    const live = await open();
    const { stream } = live.spool.writer;
    await record(live, 1);
    const [segment = ''] = segmentsOf(stream);
    const signed = (): number =>
      [...parseFrames(readFileSync(join(directory, stream, segment)))].filter(
        ({ header }) => header.kind === 'checkpoint' && !/^0+$/.test(header.signature),
      ).length;
    await until('the records are signed', () => signed() === 1);
    await until('it is signed again', () => signed() === 2);
    peer.intercept = undefined;
    await live.spool.close(20_000);
    assert.deepEqual(checkStream(peer.framesOf(stream)).unsigned, []);
  });

  test('names the one before as it was left, of which nothing is left once that is committed', async () => {
    const first = await open();
    await record(first, 10);
    await first.spool.close(20_000);
    const before = checkStream(peer.framesOf(first.spool.writer.stream)).head;
    assert.deepEqual(readdirSync(join(directory, before.stream)), ['head.json']);
    peer.intercept = () => ({ status: 503, body: {} });
    const second = await open();
    const { stream } = second.spool.writer;
    await until('it was refused', () => second.log.some(({ msg }) => /is busy/.test(msg)));
    assert.ok(existsSync(join(directory, before.stream)));
    peer.intercept = undefined;
    await untilAcked(stream, 1);
    await until('the head is gone', () => !existsSync(join(directory, before.stream)));
    await second.spool.close(20_000);
    assert.deepEqual(checkStream(peer.framesOf(stream)).previous, before);
  });

  test('is shipped in batches that are bounded, however much there is of it', async () => {
    let largest = 0;
    peer.intercept = ({ bytes }) => {
      largest = Math.max(largest, bytes.length);
      return undefined;
    };
    const live = await open();
    for (let round = 0; round < 20; round += 1) await record(live, 40, 60_000);
    await live.spool.close(60_000);
    assert.ok(largest <= 2 * 1024 * 1024, `${largest} bytes`);
    assert.ok(peer.batches >= 24);
    assert.equal(checkStream(peer.framesOf(live.spool.writer.stream)).ended, 'stopped');
  });
});

describe('nothing is deleted', () => {
  async function refused(live: LiveSpool, why: string): Promise<void> {
    const { stream } = live.spool.writer;
    await record(live, 10);
    const said = await until('it is refused', () =>
      live.log.find(({ msg }) => msg.startsWith('an acknowledgement cannot be believed')),
    );
    assert.equal(said.why, why);
    assert.ok((await live.metric('chaperone_acknowledgements_rejected_total')) > 0);
    await live.spool.close(300);
    assert.equal(live.log.at(-1)?.msg, 'stopped; part of the spool is kept for the next start');
    const kept = segmentsOf(stream).flatMap((name) => [
      ...parseFrames(readFileSync(join(directory, stream, name))),
    ]);
    assert.equal(checkStream(kept).ended, 'stopped');
  }

  const answer = (change: object) => (): undefined => {
    peer.intercept = ({ stream, frames }) => ({
      status: 200,
      body: { stream, seq: frames.length, link: '1'.repeat(64), signature: '', ...change },
    });
  };
  test('when the link is another than ours', async () => {
    answer({})();
    await refused(await open(), 'link');
  });
  test('when nobody has signed, though the collector’s key is given', async () => {
    answer({})();
    await refused(await open({ publicKey: peer.publicKey }), 'signature');
  });
  test('when somebody else has signed', async () => {
    const { publicKey } = generateKeyPairSync('ed25519');
    const pem = publicKey.export({ format: 'pem', type: 'spki' }) as string; // as PEM it is text
    await refused(await open({ publicKey: pem }), 'signature');
  });
  test('when more is acknowledged than there is', async () => {
    answer({ seq: 1_000_000 })();
    await refused(await open(), 'unwritten');
  });
  test('when another stream is acknowledged', async () => {
    answer({ stream: 'another' })();
    await refused(await open(), 'stream');
  });
});

describe('the collector', () => {
  test('that sets a batch aside gets what comes behind it, with a gap that names it', async () => {
    const live = await open({ publicKey: peer.publicKey });
    const { stream } = live.spool.writer;
    await untilAcked(stream, 1);
    let last = 0;
    peer.intercept = ({ frames }) => {
      peer.intercept = undefined;
      last = frames.at(-1)?.header.seq ?? 0;
      frames[0]?.payload.fill(0); // as if it had changed on the way
      return undefined;
    };
    const from = (peer.streams.get(stream)?.ackedSeq ?? 0) + 1;
    await record(live, 10);
    await until('it is set aside', () => (peer.streams.get(stream)?.quarantined.length ?? 0) > 0);
    await record(live, 10);
    await until('the gap is committed', () =>
      peer.framesOf(stream).some(({ header }) => header.kind === 'gap'),
    );
    await live.spool.close(20_000);
    const { quarantined = [], link } = peer.streams.get(stream) ?? {};
    assert.equal(quarantined.length, 1);
    assert.ok(link, 'a signed checkpoint has proven what came behind');
    const gaps = peer.framesOf(stream).flatMap(({ header }) => (header.kind === 'gap' ? [header] : [])); // prettier-ignore
    assert.deepEqual(gaps.map((gap) => [gap.from, gap.to, gap.reason]), [[from, last, 'quarantined']]); // prettier-ignore
    assert.equal(await live.metric('chaperone_batches_quarantined_total'), 1);
    assert.deepEqual(segmentsOf(stream), []);
  });

  test('that sets records aside has not committed them for who waits for that', async () => {
    const live = await open({ waitMs: 60_000 });
    const { stream } = live.spool.writer;
    await untilAcked(stream, 1);
    peer.intercept = ({ frames }) => {
      peer.intercept = undefined;
      frames[0]?.payload.fill(0);
      return undefined;
    };
    await record(live, 1);
    const seq = live.spool.writer.lastSeq;
    assert.equal(await live.spool.committed.committed(seq), unrecordable);
    await record(live, 1);
    assert.equal(await live.spool.committed.committed(live.spool.writer.lastSeq), undefined);
    await live.spool.close(20_000);
    assert.equal(peer.streams.get(stream)?.quarantined.length, 1);
  });

  test('that has less than it said gets it again, while it is here', async () => {
    const live = await open();
    const { stream } = live.spool.writer;
    await record(live, 10);
    await untilAcked(stream, 11);
    await until('it is known', () => live.metric('chaperone_records_shipped_total').then((n) => n >= 11)); // prettier-ignore
    // As if it was restored from a backup.
    peer.intercept = ({ frames }) =>
      (frames[0]?.header.seq ?? 0) > 2 ? { status: 409, body: { ackedSeq: 1 } } : undefined;
    await record(live, 5);
    await until('it goes back', () => live.log.some(({ msg }) => /has less/.test(msg)));
    peer.intercept = undefined;
    await live.spool.close(20_000);
    assert.equal(checkStream(peer.framesOf(stream)).ended, 'stopped');
  });

  for (const status of [400, 503])
    test(`that answers ${status} is asked again, and how long that goes on is counted`, async () => {
      peer.intercept = () => ({ status, body: {} });
      const live = await open();
      await record(live, 10);
      const failures = (): Promise<number> => live.metric('chaperone_ship_failures_total');
      await until('it was asked again', async () => (await failures()) >= 3);
      assert.ok((await live.metric('chaperone_ship_stalled_seconds')) > 0);
      peer.intercept = undefined;
      await untilAcked(live.spool.writer.stream, 11);
      await until('it is over', async () => (await live.metric('chaperone_ship_stalled_seconds')) === 0); // prettier-ignore
      await live.spool.close(20_000);
      assert.equal(live.log.some(({ level }) => level === 50), status === 400); // prettier-ignore
    });

  test('is sent what cannot be read, and then what can be read behind it', async () => {
    peer.intercept = () => ({ status: 503, body: {} });
    const first = await open();
    const { stream } = first.spool.writer;
    await record(first, 20);
    await first.spool.close(0);
    const path = join(directory, stream, segmentsOf(stream)[0] ?? '');
    const bytes = readFileSync(path);
    const frames = [...parseFrames(bytes)];
    const offset = frames.slice(0, 9).reduce((sum, { length }) => sum + length, 0);
    bytes.writeUInt8(bytes.readUInt8(offset + 50) ^ 1, offset + 50);
    writeFileSync(path, bytes);
    peer.intercept = undefined;
    const second = await open();
    await untilAcked(second.spool.writer.stream, 1);
    await second.spool.close(20_000);
    const { quarantined = [], ackedSeq } = peer.streams.get(stream) ?? {};
    assert.equal(ackedSeq, frames.length);
    const length = frames[9]?.length ?? 0;
    assert.ok(quarantined[0]?.includes(bytes.subarray(offset, offset + length)));
    assert.deepEqual(segmentsOf(stream), []);
    assert.ok(existsSync(`${path}.damaged`));
  });
});

describe('what has to be committed first', () => {
  test('is committed at once, and known to be', async () => {
    const live = await open({ waitMs: 20_000 });
    const { writer, committed } = live.spool;
    const ref = writer.append({ ending: true, seal: () => ({ fields: { kind: 'policy.changed', revision: 'r' } }) }); // prettier-ignore
    await writer.turn();
    assert.equal(await committed.committed(ref.seq ?? 0), undefined);
    assert.ok((peer.streams.get(writer.stream)?.ackedSeq ?? 0) >= (ref.seq ?? Infinity));
    assert.equal(committed.committed(ref.seq ?? 0), undefined);
    await live.spool.close(20_000);
  });

  test('is refused after the policy’s wait, then at once, until the collector is back', async () => {
    peer.intercept = () => ({ status: 503, body: {} });
    const live = await open({ waitMs: 200 });
    const { committed } = live.spool;
    await record(live, 1);
    const ready = committed.committed(2);
    assert.ok(ready instanceof Promise);
    assert.equal((await ready)?.reason, 'audit-unavailable');
    const again = committed.committed(2);
    assert.ok(again && 'reason' in again, 'at once');
    peer.intercept = undefined;
    await until('it is back', () => committed.committed(2) === undefined);
    assert.ok(committed.committed(1_000_000) instanceof Promise);
    await live.spool.close(20_000);
  });

  test('is refused after the wait as well when the collector says nothing', async () => {
    peer.intercept = () => 'hang';
    const live = await open({ waitMs: 200 });
    await record(live, 1);
    const stop = await live.spool.committed.committed(2);
    assert.equal(stop?.reason, 'audit-unavailable');
    await live.spool.close(0);
  });
});

test('a worker that fails is noticed: nothing is signed or shipped without it', async () => {
  const background = new Background({
    onCommitted: () => undefined,
    onDeleted: () => undefined,
    onTrouble: () => undefined,
  });
  background.start({
    directory,
    stream: 's',
    leftovers: [],
    shipped: [],
    collector: { url: peer.url, addresses: undefined, ca: peer.ca, token: { value: 't' } },
    collectorKey: 'this is no key',
  });
  await assert.rejects(background.failed, /worker of the spool failed/);
  await assert.rejects(background.stop(1_000));
});
