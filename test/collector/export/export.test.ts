import assert from 'node:assert/strict';
import { createPrivateKey, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pino from 'pino';
import { StoreSource } from '../../../collector/export/source.ts';
import { Database } from '../../../collector/store/database.ts';
import { appendLedger } from '../../../collector/store/ledger.ts';
import { podIdentity, startCollectors, type Collectors } from '../../support/collectors.ts';
import { exported, honestLog, sessions, short, verified } from '../../support/logs.ts';
import { scaled } from '../../support/random.ts';
import { StreamAuthor } from '../../support/stream-author.ts';
import { MemoryStore, StreamBuilder } from '../../support/stream-builder.ts';
import { until } from '../../support/until.ts';

describe('exports of a store', () => {
  let collectors: Collectors;
  let database: Database;
  let source: StoreSource;
  const log = honestLog();
  before(async () => {
    collectors = await startCollectors({
      env: { CHAPERONE_LEDGER_SECONDS: '1' },
      pods: ['hostile'],
    });
    database = new Database(() => collectors.store, pino({ level: 'silent' }));
    source = new StoreSource(database);
    await until('the database is ready', () => database.ready);
    for (const { frames } of [log.first, log.next])
      assert.equal((await collectors.first.put(frames)).status, 200);
  });
  after(async () => {
    await database.close();
    await collectors[Symbol.asyncDispose]();
  });

  const ledgered = (stream: string, seq: number): Promise<unknown> =>
    until(`${stream} is in the ledger up to ${seq}`, async () => {
      const text = `SELECT FROM ledger WHERE stream = $1 AND line LIKE '%"seq":' || $2 || ',%'`;
      return (await collectors.db.query(text, [stream, seq])).rowCount === 1;
    });

  test('are byte for byte those that the format asks for', async () => {
    await ledgered(log.first.stream, 33);
    await ledgered(log.next.stream, 3);
    const { rows } = await collectors.db.query<{ line: string }>('SELECT line FROM ledger ORDER BY n'); // prettier-ignore
    log.store.lines = rows.map(({ line }) => line);
    for (const session of [undefined, ...Object.values(sessions)]) {
      const wanted = { stream: log.first.stream, session };
      const bytes = await exported(source, wanted);
      assert.ok(bytes.equals(await exported(log.store, wanted)), session);
      const { verdict } = await verified(bytes, { keys: [collectors.publicKey] });
      assert.equal(short(verdict), 'complete');
    }
  });

  test('of a stream without an end take nothing from another pod that names it', async () => {
    const { first, publicKey } = collectors;
    const trust = { keys: [publicKey] };
    for (const beyond of [0, 5]) {
      const own = new StreamAuthor();
      await first.put([own.start(), ...own.records(3), own.checkpoint()]);
      const previous = { ...own.head, seq: own.seq + beyond };
      const other = new StreamAuthor({ identity: podIdentity('hostile') });
      const frames = [other.start({ previous }), ...other.records(1), other.checkpoint()];
      assert.equal((await first.put(frames, 'hostile')).status, 200);
      await ledgered(own.stream, own.seq);
      await ledgered(other.stream, other.seq);
      const { verdict } = await verified(await exported(source, { stream: own.stream }), trust);
      assert.deepEqual(verdict, { kind: 'unbroken', upTo: own.seq });
    }
  });

  test('are for those who may read, and of what there is', async () => {
    const { first } = collectors;
    const path = `/v1/streams/${log.first.stream}/export`;
    assert.equal((await first.send('GET', path, { token: 'token-local' })).status, 401);
    assert.equal((await first.send('GET', path, { token: 'operator' })).status, 401);
    assert.equal((await first.get(path)).status, 200);
    for (const missing of [randomUUID(), 'x', sessions.early]) {
      assert.equal((await first.get(`/v1/streams/${missing}/export`)).status, 404);
      assert.equal((await first.get(`/v1/sessions/${randomUUID()}/export`)).status, 404);
    }
    assert.equal(
      (await first.get(`/v1/sessions/${sessions.early.slice(0, 8)}/export`)).status,
      409,
    );
  });

  test('follow a session through a long stream of others without their records', async () => {
    const stream = new StreamBuilder().start();
    const [own, other] = [randomUUID(), randomUUID()];
    stream.begin(own).begin(other).checkpoint();
    const rounds = scaled(300);
    for (let round = 0; round < rounds; round += 1) {
      for (let count = 0; count < 100; count += 1) stream.query(other, `select ${round * count}`);
      if (round % 10 === 5) stream.query(own, `select ${round}`);
      stream.checkpoint();
    }
    stream.finish(own).finish(other).checkpoint().end().checkpoint();
    for (let at = 0; at < stream.seq; at += 5_000)
      assert.equal((await collectors.first.put(stream.frames.slice(at, at + 5_000))).status, 200);
    await ledgered(stream.stream, stream.seq);
    const trust = { keys: [collectors.publicKey] };
    const ofSession = await exported(source, { stream: stream.stream, session: own });
    const ofStream = await exported(source, { stream: stream.stream });
    for (const bytes of [ofSession, ofStream])
      assert.equal(short((await verified(bytes, trust)).verdict), 'complete');
    assert.ok(ofSession.length * 10 < ofStream.length, `${ofSession.length} of ${ofStream.length}`);
    const memory = new MemoryStore().put(stream);
    const { rows } = await collectors.db.query<{ line: string }>('SELECT line FROM ledger ORDER BY n'); // prettier-ignore
    memory.lines = rows.map(({ line }) => line);
    assert.ok(ofSession.equals(await exported(memory, { stream: stream.stream, session: own })));
  });

  test('begin where retention has cut, and are complete from there', async () => {
    const { db } = collectors;
    const stream = new StreamBuilder().start();
    const [cutThrough, late] = [randomUUID(), randomUUID()];
    stream.begin(cutThrough).checkpoint().query(cutThrough, 'select 1');
    const { seq, link } = stream;
    stream.checkpoint().begin(late).query(cutThrough, 'select 2').finish(cutThrough).finish(late);
    stream.checkpoint().end().checkpoint();
    await collectors.first.put(stream.frames);
    await ledgered(stream.stream, stream.seq);
    await db.query('DELETE FROM records WHERE stream = $1 AND seq <= $2', [stream.stream, seq]);
    await db.query(`UPDATE streams SET cut_seq = $2, cut_link = decode($3, 'hex') WHERE stream = $1`, [stream.stream, seq, link]); // prettier-ignore
    const keys = [collectors.publicKey];
    const verdicts = async (): Promise<string[]> => {
      const found: string[] = [];
      for (const session of [undefined, late, cutThrough]) {
        const bytes = await exported(source, { stream: stream.stream, session });
        found.push(short((await verified(bytes, { keys })).verdict));
      }
      return found;
    };
    assert.deepEqual(await verdicts(), ['broken 1', 'broken 1', 'broken 1'], 'not in the ledger');
    const key = createPrivateKey(readFileSync(join(collectors.directory, 'collector.key')));
    const { publicKey } = stream;
    await database.transaction((client) =>
      appendLedger(client, key, [{ kind: 'cut', stream: stream.stream, seq, link, publicKey }]),
    );
    assert.deepEqual(await verdicts(), ['complete', 'complete', 'consistent']);
  });
});

describe('a store as it grows', () => {
  test('says how far streams have come, and gives what is new in them', async () => {
    await using collectors = await startCollectors();
    const { first } = collectors;
    const stream = new StreamBuilder().start().begin(sessions.early).begin(sessions.long);
    await first.put(stream.frames);
    const { body } = await first.get('/v1/activity');
    assert.deepEqual(body['streams'], [{ stream: stream.stream, ackedSeq: 3 }]);
    stream.query(sessions.early, 'select 1').query(sessions.long, 'select 2');
    await first.put(stream.frames.slice(3));
    const since = encodeURIComponent(String(body['time']));
    const later = await first.get(`/v1/activity?since=${since}`);
    assert.deepEqual(later.body['streams'], [{ stream: stream.stream, ackedSeq: 7 }]);
    const path = `/v1/streams/${stream.stream}/frames`;
    const seqsOf = async (query: string): Promise<number[]> => {
      const { text } = await first.get(`${path}?${query}`);
      return Array.from(text.matchAll(/"seq":(\d+)/g), ([, seq]) => Number(seq));
    };
    assert.deepEqual(await seqsOf('from=4'), [4, 5, 6, 7]);
    assert.deepEqual(await seqsOf(`from=4&session=${sessions.long}`), [6, 7]);
    assert.deepEqual(await seqsOf('from=8'), []);
    for (const wrong of [
      '',
      'from=0',
      'from=x',
      'from=1&session=x',
      `from=1&session=${sessions.long.toUpperCase()}`,
    ])
      assert.equal((await first.get(`${path}?${wrong}`)).status, 400, wrong);
    assert.equal((await first.get('/v1/activity?since=x')).status, 400);
    // Who begins to follow is told of streams that may go on, and of those that ended just now.
    const told = async (): Promise<number> =>
      ((await first.get('/v1/activity')).body['streams'] as object[]).length;
    assert.equal(await told(), 1);
    await collectors.db.query(`UPDATE streams SET ended = true`);
    assert.equal(await told(), 1);
    await collectors.db.query(`UPDATE streams SET last_received_at = last_received_at - interval '2 minutes'`); // prettier-ignore
    assert.equal(await told(), 0);
  });
});
