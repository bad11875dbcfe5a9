import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { maxItemBytes } from '#core/record/export.ts';
import { parseFrames } from '#core/record/frame.ts';
import { tryParseLedgerLine } from '#core/record/ledger.ts';
import { startCollectors, type Collectors } from '../support/collectors.ts';
import { StreamAuthor } from '../support/stream-author.ts';
import { until } from '../support/until.ts';

const order = { who: 'privacy officer', why: 'request 12' };

describe('an erasure', () => {
  let collectors: Collectors;
  before(async () => {
    collectors = await startCollectors();
  });
  after(() => collectors[Symbol.asyncDispose]());

  const erase = (body: object) =>
    collectors.first.order('POST', '/v1/erasures', { ...order, ...body });
  const found = async (text: string): Promise<string[]> => {
    const { body } = await collectors.first.get(`/v1/sessions?text=${encodeURIComponent(text)}`);
    return (body['sessions'] as { id: string }[]).map(({ id }) => id).sort();
  };
  interface Stored { seq: string; header: Buffer; salt: Buffer | null; payload: Buffer | null } // prettier-ignore
  const stored = async (stream: string): Promise<Stored[]> =>
    (await collectors.db.query<Stored>('SELECT seq, header, salt, payload FROM records WHERE stream = $1 ORDER BY seq', [stream])).rows; // prettier-ignore

  /** Two sessions in turns, which share a text. */
  async function twoSessions(): Promise<{
    author: StreamAuthor;
    own: string;
    other: string;
    secret: string;
    frames: Buffer[];
  }> {
    const author = new StreamAuthor();
    const [own, other, secret] = [randomUUID(), randomUUID(), `SELECT "secret ${randomUUID()}"`];
    const frames = [
      author.start(),
      ...author.session([secret, 'SELECT shared'], 'a', own),
      ...author.session(['SELECT shared', `other ${secret}`], 'b', other),
      author.checkpoint(),
    ];
    assert.equal((await collectors.first.put(frames)).status, 200);
    return { author, own, other, secret, frames };
  }

  test('removes payloads, salts and what was derived from them, and leaves headers and chain', async () => {
    const { author, own, other, secret, frames } = await twoSessions();
    const { db } = collectors;
    const shown = async (): Promise<(string | null)[]> =>
      (await db.query<{ shape: string | null }>('SELECT shape FROM operations o LEFT JOIN shapes h ON h.id = o.text WHERE o.stream = $1 ORDER BY seq', [author.stream])).rows.map(({ shape }) => shape); // prettier-ignore
    await until('texts have shapes', async () => (await shown()).includes(secret));
    assert.deepEqual(await shown(), [secret, 'SELECT shared', 'SELECT shared', null]);
    const before = await stored(author.stream);
    assert.deepEqual(await found(secret), [own, other].sort());
    const { status, body } = await erase({ session: own });
    assert.equal(status, 200);
    assert.deepEqual(body['erased'], [{ stream: author.stream, ranges: [[2, 3], [5, 5]], records: 3 }]); // prettier-ignore
    const after = await stored(author.stream);
    assert.deepEqual(after.map(({ header }) => header), before.map(({ header }) => header)); // prettier-ignore
    for (const [index, { seq, salt, payload }] of after.entries()) {
      const erased = ['2', '3', '5'].includes(seq);
      assert.deepEqual([salt, payload], erased ? [null, null] : [before[index]?.salt, before[index]?.payload]); // prettier-ignore
    }
    assert.deepEqual(await found(secret), [other]);
    assert.ok((await found('SELECT shared')).includes(other));
    const { rows } = await collectors.db.query('SELECT text FROM texts WHERE text = $1', [secret]);
    assert.deepEqual(rows, []);
    assert.deepEqual(await shown(), [null, null, 'SELECT shared', null]);
    const { rowCount } = await db.query('SELECT FROM shapes WHERE shape = $1', [secret]);
    assert.equal(rowCount, 0);
    const summary = (await collectors.first.get(`/v1/sessions/${own}`)).body;
    assert.deepEqual([summary['database'], summary['user']], [null, 'a']);
    const kept = (await collectors.first.get(`/v1/sessions/${other}`)).body;
    assert.equal(kept['database'], 'shop');
    // The frames of the session are still there, without content, and one that is sent again is recognised.
    const read = await collectors.first.get(`/v1/sessions/${own}/frames`);
    assert.ok(!read.text.includes(secret));
    assert.equal([...parseFrames(frames[1] ?? Buffer.alloc(0))].length, 1);
    assert.equal((await collectors.first.put(frames)).status, 200);
    assert.equal((await stored(author.stream))[1]?.payload, null);
  });

  test('is in the ledger with who ordered it and why, once', async () => {
    const { author, own } = await twoSessions();
    await erase({ session: own });
    assert.deepEqual((await erase({ session: own })).body['erased'], []);
    const { text } = await collectors.first.get('/v1/ledger');
    const entries = text
      .split('\n')
      .flatMap((line) => tryParseLedgerLine(line) ?? [])
      .flatMap((entry) =>
        entry.kind === 'erasure' && entry.stream === author.stream ? [entry] : [],
      );
    assert.deepEqual(entries.map(({ ranges, who, why }) => ({ ranges, who, why })), [{ ranges: [[2, 3], [5, 5]], ...order }]); // prettier-ignore
  });

  test('of very many single records is in entries that an export can hold', async () => {
    const [author, session, records] = [new StreamAuthor(), randomUUID(), 100_000];
    await collectors.first.put([author.start(), author.checkpoint()]);
    // Every second record of a stream is of the session: as rows alone, which is cheaper than sending them.
    await collectors.db.query(
      `INSERT INTO records (stream, seq, session, header, header_hash, salt, payload, received_at)
       SELECT $1, 1 + 2 * n, $2, '{}', '', '', 'x', s.last_received_at
       FROM generate_series(1, $3::int) AS n, streams s WHERE s.stream = $1`,
      [author.stream, session, records],
    );
    const { status, body } = await erase({ session });
    assert.equal(status, 200);
    assert.equal((body['erased'] as { ranges: unknown[] }[])[0]?.ranges.length, records);
    const { rows } = await collectors.db.query<{ line: string }>(
      `SELECT line FROM ledger WHERE stream = $1 AND kind = 'erasure' ORDER BY n`,
      [author.stream],
    );
    assert.ok(rows.every(({ line }) => Buffer.byteLength(line) <= maxItemBytes.L));
    const ranges = rows.flatMap(({ line }) => {
      const entry = tryParseLedgerLine(line);
      return entry?.kind === 'erasure' ? entry.ranges : [];
    });
    assert.deepEqual(
      ranges,
      Array.from({ length: records }, (_, n) => [3 + 2 * n, 3 + 2 * n]),
    );
  });

  test('takes its locks in the order of all others', async () => {
    const { author } = await twoSessions();
    const { db } = collectors;
    await db.query('BEGIN; LOCK TABLE records IN ACCESS EXCLUSIVE MODE');
    const erased = erase({ stream: author.stream, ranges: [[1, 3]] });
    await until('the erasure waits', async () => {
      const { rows } = await db.query(`SELECT FROM pg_locks WHERE NOT granted AND relation = 'records'::regclass`); // prettier-ignore
      return rows.length > 0;
    });
    await db.query('LOCK TABLE texts, statements IN ACCESS EXCLUSIVE MODE; COMMIT');
    assert.equal((await erased).status, 200);
  });

  test('takes ranges of a stream, and keeps what the rest of a session says', async () => {
    const { author, own, secret } = await twoSessions();
    const { body } = await erase({ stream: author.stream, ranges: [[1, 1], [3, 4]] }); // prettier-ignore
    assert.deepEqual(body['erased'], [{ stream: author.stream, ranges: [[3, 3]], records: 1 }]);
    assert.ok(!(await found(secret)).includes(own));
    assert.ok((await found('SELECT shared')).includes(own));
    assert.equal((await collectors.first.get(`/v1/sessions/${own}`)).body['database'], 'shop');
  });

  test('reaches what was set aside of the stream', async () => {
    const { author, own } = await twoSessions();
    await collectors.first.put([Buffer.concat(author.records(2)).subarray(0, -1)]);
    await erase({ session: own });
    const { rows } = await collectors.db.query('SELECT bytes FROM quarantine WHERE stream = $1', [author.stream]); // prettier-ignore
    assert.deepEqual(rows, [{ bytes: null }]);
  });

  test('is refused under a legal hold, and to those who only read or write', async () => {
    const { author, own } = await twoSessions();
    const before = await stored(author.stream);
    const hold = (held: boolean) =>
      collectors.first.order('PUT', '/v1/legal-hold', { held, ...order });
    await hold(true);
    const { status, body } = await erase({ session: own });
    assert.deepEqual([status, body['title']], [409, 'legal-hold']);
    await hold(false);
    for (const token of ['reader', 'token-local', 'nobody', '']) {
      const sent = { token, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify({ session: own, ...order })) }; // prettier-ignore
      assert.equal((await collectors.first.send('POST', '/v1/erasures', sent)).status, 401);
    }
    assert.equal((await collectors.first.send('GET', '/v1/sessions', { token: 'operator' })).status, 401); // prettier-ignore
    assert.deepEqual(await stored(author.stream), before);
  });

  test('that is not a proper order is refused', async () => {
    const session = randomUUID();
    assert.equal((await erase({ session })).status, 404);
    for (const body of [
      {},
      { session, stream: session, ranges: [[1, 2]] },
      { session, who: '' },
      { stream: session },
      { stream: session, ranges: [] },
      { stream: session, ranges: [[0, 1]] },
      { stream: session, ranges: [[1]] },
      { session: 'x' },
      { session, further: 1 },
    ])
      assert.equal((await erase(body)).status, 400, JSON.stringify(body));
  });
});
