import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { judgeClock } from '../../collector/clock-skew.ts';
import { findingKinds } from '../../collector/store/findings.ts';
import { podIdentity, startCollectors, type Collectors } from '../support/collectors.ts';
import { StreamAuthor } from '../support/stream-author.ts';
import { until } from '../support/until.ts';

describe('findings', () => {
  let collectors: Collectors;
  before(async () => {
    collectors = await startCollectors({ env: { CHAPERONE_STREAM_SILENT_SECONDS: '1' }, count: 2, pods: ['other'] }); // prettier-ignore
  });
  after(() => collectors[Symbol.asyncDispose]());

  const findings = ({ stream }: StreamAuthor): Promise<string[]> =>
    collectors.first.findings(stream);
  const unfinished = (author: StreamAuthor): Promise<unknown> =>
    until('it is found unfinished', async () =>
      (await findings(author)).includes(`stream-unfinished ${author.seq}`),
    );
  const open = async ({ stream }: StreamAuthor): Promise<number> => {
    const { rows } = await collectors.db.query<{ count: string }>(
      `SELECT count(*) FROM findings WHERE stream = $1 AND kind = 'stream-unfinished' AND resolved_at IS NULL`,
      [stream],
    );
    return Number(rows[0]?.count);
  };

  test('a stream without an end that falls silent is one, until its successor comes', async () => {
    const author = new StreamAuthor();
    await collectors.first.put([author.start(), author.checkpoint()]);
    const ended = new StreamAuthor();
    await collectors.first.put([ended.start(), ended.end(), ended.checkpoint()]);
    await unfinished(author);
    assert.deepEqual(await findings(ended), []);
    assert.equal((await findings(author)).length, 1, 'two collectors find it once');
    // Another pod's stream cannot call itself the successor.
    const thief = new StreamAuthor({ identity: podIdentity('other') });
    assert.equal((await collectors.first.put([thief.start({ previous: author.head }), thief.end()], 'other')).status, 200); // prettier-ignore
    assert.equal(await open(author), 1);
    const successor = new StreamAuthor();
    await collectors.first.put([successor.start({ previous: author.head }), successor.end(), successor.checkpoint()]); // prettier-ignore
    assert.equal(await open(author), 0);
    const { body } = await collectors.first.get('/v1/findings');
    const found = (body['findings'] as { stream: string; resolvedAt?: string }[]).find(
      ({ stream }) => stream === author.stream,
    );
    assert.match(found?.resolvedAt ?? '', /^\d{4}-.*Z$/);
    assert.deepEqual(await findings(author), ['stream-unfinished 2']);
  });

  test('a successor that is being committed while others look resolves it in the end', async () => {
    const author = new StreamAuthor();
    await collectors.first.put([author.start(), author.checkpoint()]);
    const { db } = collectors;
    await db.query('BEGIN');
    await db.query(
      `INSERT INTO streams (stream, pod, namespace, service_account, previous_stream, ended)
       SELECT $2, pod, namespace, service_account, stream, true FROM streams WHERE stream = $1`,
      [author.stream, randomUUID()],
    );
    await unfinished(author);
    await db.query('COMMIT');
    await until('it is resolved', async () => (await open(author)) === 0);
  });

  test('a stream that speaks again, or ends after all, is unfinished no more', async () => {
    const author = new StreamAuthor();
    await collectors.first.put([author.start(), author.checkpoint()]);
    await unfinished(author);
    await collectors.first.put(author.records(1));
    assert.equal(await open(author), 0);
    await unfinished(author);
    await collectors.first.put([author.end('recovered')]);
    assert.equal(await open(author), 0);
  });

  test('a gap that a sidecar records is one, whatever its fields are', async () => {
    const author = new StreamAuthor();
    const gap = (fields: object): Buffer => author.record({ kind: 'gap', ...fields });
    await collectors.first.put([
      author.start(),
      gap({ from: 3, to: 9, reason: 'damaged' }),
      gap({ from: 5, reason: 'damaged' }),
      gap({ from: 'x', to: 9 }),
      gap({ from: 1e30 }),
      gap({}),
      author.end(),
    ]);
    assert.deepEqual(await findings(author), ['gap 3 9', 'gap 5']);
  });

  test('a stream whose successor names another link for its end is broken', async () => {
    const author = new StreamAuthor();
    await collectors.first.put([author.start(), author.end(), author.checkpoint()]);
    for (const [previous, found] of [
      [author.head, []],
      [{ ...author.head, link: 'ab'.repeat(32) }, [`break ${author.seq} ${author.seq}`]],
    ] as const) {
      const next = new StreamAuthor();
      await collectors.first.put([next.start({ previous }), next.end(), next.checkpoint()]);
      assert.deepEqual(await findings(author), found);
    }
    for (const previous of [
      5,
      {},
      { stream: 'x', seq: 1, link: '' },
      null,
      { stream: randomUUID(), seq: -1, link: '0'.repeat(64) },
    ]) {
      const next = new StreamAuthor();
      assert.equal((await collectors.first.put([next.start({ previous }), next.end()])).status, 200); // prettier-ignore
    }
  });

  test('a clock that is ahead is found once an hour', async () => {
    const author = new StreamAuthor({ now: () => Date.now() + 60_000 });
    await collectors.first.put([author.start()]);
    await collectors.first.put([author.end()]);
    assert.deepEqual(await findings(author), ['clock-skew 1']);
    await collectors.db.query(`UPDATE streams SET skew_at = skew_at - interval '1 hour' WHERE stream = $1`, [author.stream]); // prettier-ignore
    await collectors.first.put([author.checkpoint()]);
    assert.deepEqual(await findings(author), ['clock-skew 1', 'clock-skew 3']);
  });

  test('a clock that stays behind is found, a backlog is not', async () => {
    const behind = new StreamAuthor({ now: () => Date.now() - 60_000 });
    await collectors.first.put([behind.start()]);
    assert.deepEqual(await findings(behind), []);
    await collectors.db.query(`UPDATE streams SET lag_at = lag_at - interval '6 seconds' WHERE stream = $1`, [behind.stream]); // prettier-ignore
    await collectors.first.put([behind.checkpoint()]);
    assert.deepEqual(await findings(behind), ['clock-skew 2']);
    let late = 60_000;
    const backlog = new StreamAuthor({ now: () => Date.now() - late });
    await collectors.first.put([backlog.start()]);
    for (late = 50_000; late > 0; late -= 10_000) {
      await collectors.db.query(`UPDATE streams SET lag_at = lag_at - interval '6 seconds' WHERE stream = $1`, [backlog.stream]); // prettier-ignore
      await collectors.first.put([backlog.checkpoint()]);
    }
    assert.ok(!(await findings(backlog)).some((found) => found.startsWith('clock-skew')));
  });

  test('are listed page by page, newest first, and are in the metrics from the start', async () => {
    const all = (await collectors.first.get('/v1/findings')).body;
    const ids = (all['findings'] as { id: number }[]).map(({ id }) => id);
    assert.deepEqual(
      ids,
      ids.toSorted((a, b) => b - a),
    );
    const page = (await collectors.first.get('/v1/findings?limit=2')).body;
    assert.deepEqual((page['findings'] as { id: number }[]).map(({ id }) => id), ids.slice(0, 2)); // prettier-ignore
    const next = (await collectors.first.get(`/v1/findings?limit=2&before=${String(page['next'])}`)).body; // prettier-ignore
    assert.deepEqual((next['findings'] as { id: number }[]).map(({ id }) => id), ids.slice(2, 4)); // prettier-ignore
    assert.equal((await collectors.first.get('/v1/findings?limit=0')).status, 400);
    for (const kind of findingKinds)
      assert.ok(Number.isFinite(await collectors.first.metric('chaperone_collector_findings_total', `"${kind}"`)), kind); // prettier-ignore
  });

  test('streams are listed page by page, newest first', async () => {
    const seen: string[] = [];
    for (let before = ''; before !== 'null';) {
      const query = before === '' ? '' : `&before=${encodeURIComponent(before)}`;
      const { body } = await collectors.first.get(`/v1/streams?limit=3${query}`);
      seen.push(...(body['streams'] as { stream: string }[]).map(({ stream }) => stream));
      before = String(body['next']);
    }
    const { rows } = await collectors.db.query<{ stream: string }>('SELECT stream FROM streams ORDER BY first_seen DESC, stream DESC'); // prettier-ignore
    assert.deepEqual(seen, rows.map(({ stream }) => stream)); // prettier-ignore
  });
});

describe('a clock', () => {
  const at = Date.parse('2026-01-01T00:01:00Z') * 1_000;
  const judged = (late: number, lag?: { ms: number; agoMs: number }, bytes = 100) =>
    judgeClock({ receivedUs: at, lag, skewKnown: false }, new Date(at / 1_000 - late).toISOString(), bytes); // prettier-ignore

  test('within 5 s is right, and forgets that it was not', () => {
    assert.deepEqual(judged(4_900), { lagMs: 4_900, lag: undefined, skewed: false });
    assert.deepEqual(judged(-4_900, { ms: 9_000, agoMs: 1 }), { lagMs: -4_900, lag: 'none', skewed: false }); // prettier-ignore
  });
  test('that is ahead is wrong at once', () => assert.ok(judged(-5_100).skewed));
  test('that is behind is wrong when it stays so, and not behind a full batch', () => {
    assert.deepEqual(judged(9_000), { lagMs: 9_000, lag: 'anew', skewed: false });
    assert.ok(!judged(9_000, { ms: 9_500, agoMs: 4_000 }).skewed);
    assert.ok(judged(9_000, { ms: 9_500, agoMs: 6_000 }).skewed);
    assert.equal(judged(9_000, { ms: 14_000, agoMs: 6_000 }).lag, 'anew');
    assert.ok(!judged(9_000, { ms: 9_500, agoMs: 6_000 }, 2_000_000).skewed);
  });
});

test('every kind of finding is documented, and no other', () => {
  const text = readFileSync('docs/findings.md', 'utf8');
  const rows = Array.from(text.matchAll(/^\| `([a-z-]+)` /gm), ([, kind]) => kind);
  assert.deepEqual(rows, [...findingKinds]);
});
