import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { encodeFrame } from '#core/record/frame.ts';
import {
  isSignedAnswer,
  podIdentity,
  startCollectors,
  type Collectors,
} from '../support/collectors.ts';
import { Random, scaled } from '../support/random.ts';
import { batchOf, flipped, StreamAuthor } from '../support/stream-author.ts';

const kilobyte = 1024;

describe('what does not verify', () => {
  let collectors: Collectors;
  before(async () => {
    const env = {
      CHAPERONE_QUARANTINE_MAX_BYTES: String(300 * kilobyte),
      CHAPERONE_QUARANTINE_POD_BYTES: String(200 * kilobyte),
      CHAPERONE_QUARANTINE_POD_BATCHES: '40',
    };
    collectors = await startCollectors({ env, pods: ['honest', 'hostile', 'third', 'flood'] });
  });
  after(() => collectors[Symbol.asyncDispose]());

  const author = (pod = 'local'): StreamAuthor => new StreamAuthor({ identity: podIdentity(pod) });
  interface Kept {
    readonly bytes: Buffer | null;
    readonly size: string;
    readonly sha256: string;
    readonly after_seq: string;
    readonly pod: string;
  }
  const kept = async (stream: string): Promise<Kept[]> =>
    (await collectors.db.query<Kept>('SELECT * FROM quarantine WHERE stream = $1 ORDER BY id', [stream])).rows; // prettier-ignore

  test('is kept verbatim, acknowledged, alarmed, and the stream goes on behind it', async () => {
    const { first } = collectors;
    const own = author();
    await first.put([own.start(), ...own.records(3), own.checkpoint()]);
    const told = own.head;
    const [one = Buffer.alloc(0), ...others] = own.records(4);
    const body = batchOf(one, ...others.map((frame) => flipped(frame, 200)));
    const before = await first.metric('chaperone_collector_findings_total', 'quarantine');
    const answer = await first.post(body);
    assert.deepEqual(
      [answer.status, answer.body['quarantined'], answer.body['seq'], answer.body['link']],
      [202, true, 5, told.link],
    );
    assert.ok(isSignedAnswer(collectors.publicKey, answer));
    const [row] = await kept(own.stream);
    assert.ok(row !== undefined && row.bytes?.equals(body));
    assert.equal(row.sha256, createHash('sha256').update(body).digest('hex'));
    assert.deepEqual([row.after_seq, row.pod], ['5', 'local']);
    assert.equal(
      await first.metric('chaperone_collector_findings_total', 'quarantine'),
      before + 1,
    );
    assert.match(first.log, new RegExp(`"kind":"quarantine","stream":"${own.stream}"`));
    assert.ok(!first.log.includes('payload'), 'a log has no content');
    // Once it may jump: to where the sidecar goes on. What comes then is unproven, until a checkpoint proves it.
    const gap = own.record({ kind: 'gap', from: 6, to: 9, reason: 'quarantined' });
    const next = await first.put([...own.records(0), gap, ...own.records(2)]);
    assert.deepEqual([next.status, next.body['seq'], next.body['link']], [200, 12, undefined]);
    assert.ok(isSignedAnswer(collectors.publicKey, next));
    const later = own.records(5);
    assert.equal((await first.put(later.slice(3))).status, 409);
    assert.equal((await first.put(later)).body['link'], undefined);
    const proven = await first.put([own.checkpoint()]);
    assert.deepEqual([proven.status, proven.body['link']], [200, own.head.link]);
    assert.deepEqual(await first.findings(own.stream), ['quarantine 6', 'gap 6 9']);
  });

  test('gives the stream its link back, where a signed checkpoint in it leads to its end', async () => {
    const own = author();
    await collectors.first.put([own.start(), ...own.records(3), own.checkpoint()]);
    const damaged = own.records(2).map((frame) => flipped(frame, 150));
    const rest = [own.checkpoint(), ...own.records(2)];
    assert.equal((await collectors.first.put([...damaged, ...rest])).status, 202);
    const next = await collectors.first.put(own.records(2));
    assert.deepEqual([next.status, next.body['link']], [200, own.head.link]);
  });

  test('is stored as far as a signed checkpoint proves it', async () => {
    const own = author();
    const proven = [own.start(), ...own.records(3), own.checkpoint()];
    const [a = Buffer.alloc(0), b = Buffer.alloc(0)] = own.records(2);
    const { status, body } = await collectors.first.put([...proven, a, flipped(b, 99)]);
    assert.deepEqual([status, body['seq']], [202, 5]);
    const { rows } = await collectors.db.query('SELECT max(seq) FROM records WHERE stream = $1', [own.stream]); // prettier-ignore
    assert.deepEqual(rows, [{ max: '5' }]);
    // The same once more, made well on the way: it is taken without a jump.
    const again = await collectors.first.put([a, b, own.checkpoint()]);
    assert.deepEqual([again.status, again.body['link']], [200, own.head.link]);
  });

  test('that is sent again is one finding, and one entry of the ledger', async () => {
    const own = author();
    await collectors.first.put([own.start(), own.checkpoint()]);
    const body = batchOf(...own.records(2).map((frame) => flipped(frame, 120)));
    for (let round = 0; round < 3; round += 1)
      assert.equal((await collectors.first.post(body)).status, 202);
    assert.equal((await kept(own.stream)).length, 1);
    assert.deepEqual(await collectors.first.findings(own.stream), ['quarantine 3']);
    const { text } = await collectors.first.get('/v1/ledger');
    const entries = text.split('\n').filter((line) => line.includes(own.stream) && line.includes('"quarantine"')); // prettier-ignore
    assert.equal(entries.length, 1);
  });

  test('is bounded per pod and in all: beyond that its hash and size are kept', async () => {
    const noisy = author('hostile');
    for (let round = 0; round < 5; round += 1) {
      const body = batchOf(
        flipped(noisy.record({ kind: 'part' }, randomBytes(60 * kilobyte)), 300),
      );
      assert.equal((await collectors.first.post(body, 'hostile')).status, 202);
    }
    const rows = await kept(noisy.stream);
    assert.deepEqual(rows.map(({ bytes }) => bytes !== null), [true, true, true, false, false]); // prettier-ignore
    assert.ok(
      rows.every(({ size, sha256 }) => Number(size) > 60 * kilobyte && sha256.length === 64),
    );
    const other = author('third');
    for (let round = 0; round < 2; round += 1) {
      const body = batchOf(
        flipped(other.record({ kind: 'part' }, randomBytes(60 * kilobyte)), 300),
      );
      assert.equal((await collectors.first.post(body, 'third')).status, 202);
    }
    const bytes = (await kept(other.stream)).map((row) => row.bytes !== null);
    assert.deepEqual(bytes, [true, false], 'the whole is bounded as well');
  });

  test('is set aside so many times an hour for each pod, then refused, which is one finding', async () => {
    const { first, db } = collectors;
    const own = author('flood');
    const before = await first.findings(undefined);
    const bodies = Array.from({ length: 44 }, () => batchOf(flipped(own.record({ kind: 'part' }, 'x'), 200))); // prettier-ignore
    const sent = async (body: Buffer): Promise<number> => (await first.post(body, 'flood')).status;
    const statuses: number[] = [];
    for (const body of bodies) statuses.push(await sent(body));
    assert.deepEqual(
      statuses,
      bodies.map((_, index) => (index < 40 ? 202 : 503)),
    );
    assert.equal((await kept(own.stream)).length, 40);
    assert.deepEqual((await first.findings(undefined)).slice(before.length), ['quarantine']);
    assert.equal(await first.metric('chaperone_collector_quarantine_refused_total'), 4);
    const { rows } = await db.query(`SELECT FROM ledger WHERE stream = $1 AND kind = 'quarantine'`, [own.stream]); // prettier-ignore
    assert.equal(rows.length, 40);
    assert.equal(await sent(bodies[0] ?? Buffer.alloc(0)), 202, 'what is there already is known');
    assert.equal((await first.put([author('flood').start()], 'flood')).status, 200, 'what verifies is taken'); // prettier-ignore
    await db.query(`UPDATE quarantine SET received_at = received_at - interval '1 hour' WHERE pod = 'flood'`); // prettier-ignore
    assert.equal(await sent(bodies.at(-1) ?? Buffer.alloc(0)), 202);
  });

  test('cannot be read at all: it is kept for its sender, and refused', async () => {
    const body = zstdCompressSync(randomBytes(500));
    assert.equal((await collectors.first.post(body)).status, 422);
    const { rows } = await collectors.db.query<Kept>(
      'SELECT * FROM quarantine WHERE stream IS NULL',
    );
    assert.ok(rows.some(({ bytes }) => bytes?.equals(body)));
  });

  test('does no harm to others, whatever it is, and costs no memory', async () => {
    const { first } = collectors;
    const random = new Random(11);
    const stop = { asked: false };
    const honest = author('honest');
    const work = (async (): Promise<number> => {
      let answered = 0;
      for (
        let frames = [honest.start()];
        !stop.asked;
        frames = [...honest.records(20), honest.checkpoint()]
      ) {
        for (let status = 0; status !== 200;) {
          const answer = await first.put(frames, 'honest');
          ({ status } = answer);
          assert.ok(status === 200 || status === 503, `${status}: ${answer.text}`);
        }
        answered += 1;
      }
      return answered;
    })();
    const bomb = zstdCompressSync(Buffer.alloc(256 * 1024 * kilobyte));
    const longHeader = (): Buffer => {
      const own = author('hostile');
      const header = { v: 1, kind: 'part', stream: own.stream, seq: 1, time: new Date().toISOString(), monoNs: 1, x: 'y'.repeat(8 * 1024 * kilobyte) }; // prettier-ignore
      return batchOf(
        encodeFrame(Buffer.from(JSON.stringify(header)), Buffer.alloc(0), Buffer.alloc(0)),
      );
    };
    const attacks: [statuses: number[], body: () => Buffer][] = [
      [[413], () => bomb],
      [[422], () => randomBytes(100_000)],
      [[202, 422], () => flipped(batchOf(author('hostile').start()), 20 + random.below(60))],
      [[202], longHeader],
      [[422], () => Buffer.alloc(8 * 1024 * kilobyte - 1)],
      [[413], () => Buffer.alloc(8 * 1024 * kilobyte + 1)],
      [[202], () => batchOf(author('third').start())],
      [[202], () => batchOf(author('hostile').start({ publicKey: 7 }), author('hostile').start())],
    ];
    for (let round = 0; round < scaled(60); round += 1) {
      await Promise.all(
        attacks.map(async ([statuses, body]) => {
          const answer = await first.post(body(), 'hostile').catch(() => undefined); // a body that is too large may be cut off
          if (answer && answer.status !== 503) assert.ok(statuses.includes(answer.status), `${answer.status}, want ${statuses.join()}`); // prettier-ignore
        }),
      );
    }
    stop.asked = true;
    assert.ok((await work) > 1);
    assert.deepEqual(await first.findings(honest.stream), []);
    const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${first.pid}/status`, 'utf8'))?.[1];
    assert.ok(Number(peak) < 700 * kilobyte, `${peak} kB at the most`);
  });

  test('a verbatim batch holds what was sent', async () => {
    const own = author();
    const frames = [
      own.start(),
      flipped(own.record({ kind: 'part', session: randomUUID() }, 'x'), 99),
    ];
    await collectors.first.put(frames);
    const [row] = await kept(own.stream);
    if (row?.bytes) assert.ok(zstdDecompressSync(row.bytes).equals(Buffer.concat(frames)));
  });
});
