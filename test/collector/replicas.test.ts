import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hashOfLine, isSignedLine, ledgerStart, tryParseLedgerLine } from '#core/record/ledger.ts';
import { startCollectors, type Collectors } from '../support/collectors.ts';
import { Random, scaled } from '../support/random.ts';
import { StreamAuthor } from '../support/stream-author.ts';
import { until } from '../support/until.ts';

/** Sends a stream's batches to both collectors as a network that loses, repeats and mixes would. */
async function sendBadly(
  collectors: Collectors,
  frames: readonly Buffer[],
  seed: number,
): Promise<void> {
  const random = new Random(seed);
  let acked = 0;
  const deadline = performance.now() + 60_000;
  while (acked < frames.length && performance.now() < deadline) {
    const sent = Array.from({ length: 3 }, async () => {
      const from = Math.max(0, Math.min(frames.length - 1, acked + random.below(30) - 20));
      const batch = frames.slice(from, from + 1 + random.below(40));
      const answer = await random.pick(collectors.all).put(batch);
      if (answer.status === 200) acked = Math.max(acked, Number(answer.body['seq']));
      else if (answer.status === 409) assert.ok(Number(answer.body['ackedSeq']) < from);
      else assert.equal(answer.body['title'], 'busy', answer.text); // who meets another waits for it
    });
    await Promise.all(sent);
  }
}

describe('two collectors on one database', () => {
  test('store each record once and in order, and write one ledger', async () => {
    await using collectors = await startCollectors({ count: 2, env: { CHAPERONE_LEDGER_SECONDS: '1' } }); // prettier-ignore
    const streams = Array.from({ length: 3 }, () => {
      const author = new StreamAuthor();
      const frames = [author.start()];
      while (frames.length < scaled(3_000)) frames.push(...author.records(9), author.checkpoint());
      frames.push(author.end(), author.checkpoint());
      return { author, frames };
    });
    await Promise.all(streams.map(({ frames }, index) => sendBadly(collectors, frames, index + 1)));
    for (const { author, frames } of streams) {
      const { body } = await collectors.first.get(`/v1/streams/${author.stream}`);
      assert.deepEqual([body['ackedSeq'], body['headLink']], [frames.length, author.head.link]);
      const { rows } = await collectors.db.query<{ count: string; places: string; bytes: string }>(
        `SELECT count(*), count(DISTINCT seq) AS places, sum(length(header)) AS bytes FROM records WHERE stream = $1`,
        [author.stream],
      );
      assert.deepEqual([rows[0]?.count, rows[0]?.places], [String(frames.length), String(frames.length)]); // prettier-ignore
      assert.deepEqual(await collectors.first.findings(author.stream), []);
    }
    await until('all heads are in the ledger', async () => {
      const { text } = await collectors.first.get('/v1/ledger');
      return streams.every(({ author }) => text.includes(`"seq":${author.seq},"link":"${author.head.link}"`)); // prettier-ignore
    });
    let previous = ledgerStart;
    for (const line of (await collectors.first.get('/v1/ledger')).text.trim().split('\n')) {
      assert.ok(isSignedLine(collectors.publicKey, line));
      assert.equal(tryParseLedgerLine(line)?.previous, previous);
      previous = hashOfLine(line);
    }
  });

  test('give each text one shape, also those that one of them left as it was killed', async () => {
    await using collectors = await startCollectors({ count: 2 });
    const [one, two] = collectors.all;
    assert.ok(one && two);
    const shapes = async (): Promise<number> =>
      Number((await collectors.db.query<{ n: string }>('SELECT count(shape) AS n FROM shapes')).rows[0]?.n); // prettier-ignore
    const texts = Array.from({ length: 300 }, (_, n) => `SELECT ${n} AS c${n}, '${n}'`);
    const sent = [one, two, one, two].map(async (collector) => {
      const author = new StreamAuthor();
      const { status } = await collector.put([author.start(), ...author.session(texts)]);
      assert.equal(status, 200);
    });
    await Promise.all(sent);
    await until('all texts have shapes', async () => (await shapes()) === texts.length);
    const author = new StreamAuthor();
    const late = Array.from({ length: 2_000 }, (_, n) => `SELECT ${n} AS d${n}, '${n}'`);
    await collectors.db.query('BEGIN; LOCK TABLE shapes IN EXCLUSIVE MODE');
    await one.put([author.start(), ...author.session(late)]);
    await one.kill();
    await collectors.db.query('COMMIT');
    assert.ok((await shapes()) < texts.length + late.length);
    await one.start();
    await until(
      'those have shapes too',
      async () => (await shapes()) === texts.length + late.length,
    );
    assert.ok(!`${one.log}${two.log}`.includes('a task failed'));
  });

  test('lose nothing that was acknowledged when one of them is killed', async () => {
    await using collectors = await startCollectors({ count: 2 });
    const author = new StreamAuthor();
    const frames = [author.start()];
    while (frames.length < scaled(2_000)) frames.push(...author.records(19), author.checkpoint());
    let acked = 0;
    const [one, two] = collectors.all;
    assert.ok(one && two);
    for (let turn = 0; acked < frames.length; turn += 1) {
      if (turn === 3) await one.kill();
      const collector = turn >= 3 || turn % 2 === 1 ? two : one;
      const answer = await collector.put(frames.slice(acked, acked + 20)).catch(() => undefined);
      if (answer?.status === 200) acked = Number(answer.body['seq']);
    }
    const { body } = await two.get(`/v1/streams/${author.stream}`);
    assert.deepEqual([body['ackedSeq'], body['headLink']], [frames.length, author.head.link]);
  });
});
