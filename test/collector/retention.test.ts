import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import pino from 'pino';
import { tryParseLedgerLine, type LedgerEntry } from '#core/record/ledger.ts';
import { unlinked } from '#core/record/checkpoint.ts';
import { Database } from '../../collector/store/database.ts';
import { ensurePartitions } from '../../collector/store/partitions.ts';
import { dropExpired, type Retained } from '../../collector/store/retention.ts';
import { startCollectors, type Collectors } from '../support/collectors.ts';
import { StreamAuthor } from '../support/stream-author.ts';
import { until } from '../support/until.ts';

const hour = 3_600;
const held = { held: true, who: 'counsel', why: 'case 7' };

describe('retention', () => {
  let collectors: Collectors;
  let database: Database;
  beforeEach(async () => {
    collectors = await startCollectors({
      version: 15,
      // A partition that ended an hour ago, and the one that takes what comes now.
      prepare: async (store) => {
        const first = new Database(() => store, pino({ level: 'silent' }));
        await until('the schema is there', () => first.ready);
        await first.transaction(async (client) => {
          const { rows } = await client.query<{ suffix: string }>('SELECT suffix FROM partitions');
          for (const { suffix } of rows)
            await client.query(
              `DROP TABLE records_${suffix}, texts_${suffix}, statements_${suffix}, operations_${suffix}, shapes_${suffix}`,
            );
          await client.query('DELETE FROM partitions');
          await ensurePartitions(client, {
            widthSeconds: 24 * hour,
            aheadSeconds: hour,
            firstUntil: new Date(Date.now() - hour * 1_000),
          });
        });
        await first.close();
      },
    });
    database = new Database(() => collectors.store, pino({ level: 'silent' }));
    await until('the database is ready', () => database.ready);
  });
  afterEach(async () => {
    await database.close();
    await collectors[Symbol.asyncDispose]();
  });

  const drop = (keepSeconds = 60): Promise<readonly string[]> =>
    retain(keepSeconds).then(({ dropped }) => dropped);
  const retain = (keepSeconds = 60): Promise<Retained> =>
    dropExpired(database, createPrivateKey(readFileSync(join(collectors.directory, 'collector.key'))), keepSeconds); // prettier-ignore
  /** Makes what a stream has up to a record two hours older. */
  const age = async ({ stream }: StreamAuthor, upTo = 1e9): Promise<void> => {
    const { db } = collectors;
    await db.query(`UPDATE records SET received_at = received_at - interval '2 hours' WHERE stream = $1 AND seq <= $2`, [stream, upTo]); // prettier-ignore
    await db.query(`UPDATE streams SET first_seen = first_seen - interval '2 hours' WHERE stream = $1`, [stream]); // prettier-ignore
    const old = `(SELECT low FROM partitions ORDER BY high LIMIT 1)`;
    await db.query(`UPDATE texts SET period = ${old}`);
    await db.query(`UPDATE shapes SET period = ${old}`);
    for (const table of ['statements', 'operations'])
      await db.query(`UPDATE ${table} SET period = ${old} WHERE stream = $1`, [stream]);
  };
  const count = async (table: string): Promise<number> =>
    Number((await collectors.db.query<{ count: string }>(`SELECT count(*) FROM ${table}`)).rows[0]?.count); // prettier-ignore
  const cuts = async (): Promise<LedgerEntry[]> =>
    (await collectors.first.get('/v1/ledger')).text
      .split('\n')
      .flatMap((line) => tryParseLedgerLine(line) ?? [])
      .filter(({ kind }) => kind === 'cut');

  test('drops a partition once its last records are in the ledger, with their links', async () => {
    const { first } = collectors;
    const author = new StreamAuthor();
    const frames = [author.start(), ...author.session(['SELECT 1']), author.checkpoint()];
    assert.equal((await first.put([...frames, ...author.records(3)])).status, 200);
    const cut = author.head;
    const unsigned = new StreamAuthor();
    await first.put([unsigned.start({ publicKey: '' }), ...unsigned.records(4)]);
    const whole = unsigned.head;
    await first.put([...author.records(2), author.checkpoint()]);
    await until('its text has a shape', async () => (await count('shapes')) === 1);
    await age(author, cut.seq);
    await age(unsigned);
    assert.equal(await count('operations'), 1);
    assert.ok((await drop()).length > 0);
    assert.deepEqual(
      new Map((await cuts()).map((entry) => [entry.stream, entry.kind === 'cut' && [entry.seq, entry.link, entry.publicKey]])),
      new Map([
        [author.stream, [cut.seq, cut.link, undefined]],
        [unsigned.stream, [whole.seq, whole.link, undefined]],
      ]),
    ); // prettier-ignore
    assert.equal(await count('records'), 3);
    for (const table of ['sessions', 'texts', 'statements', 'operations', 'shapes'])
      assert.equal(await count(table), 0, table);
    const { body } = await first.get(`/v1/streams/${author.stream}`);
    assert.deepEqual([body['cutSeq'], body['cutLink']], [cut.seq, cut.link]);
    // The stream goes on, and what is sent again of what was dropped is passed over.
    const next = await first.put(author.records(1));
    assert.deepEqual([next.status, next.body['link']], [200, author.head.link]);
    assert.deepEqual(await drop(), [], 'what is not old enough stays');
  });

  test('cuts a stream again where it was cut before', async () => {
    const author = new StreamAuthor();
    await collectors.first.put([author.start({ publicKey: '' }), ...author.records(4)]);
    const earlier = author.head;
    await collectors.db.query('UPDATE streams SET cut_seq = 3, cut_link = $1', [Buffer.alloc(32)]);
    await age(author);
    await drop();
    const [entry] = await cuts();
    assert.ok(entry?.kind === 'cut' && entry.seq === earlier.seq && entry.link !== earlier.link);
  });

  test('gives no link for a place that nothing leads to', async () => {
    const author = new StreamAuthor();
    await collectors.first.put([author.start({ publicKey: '' }), ...author.records(1)]);
    await collectors.first.put([Buffer.concat(author.records(2)).subarray(0, -1)]);
    await collectors.first.put(author.records(2));
    await age(author);
    await drop();
    const [entry] = await cuts();
    assert.ok(entry?.kind === 'cut' && entry.seq === 6 && entry.link === unlinked);
  });

  test('has the link behind a gap again, once a checkpoint is there', async () => {
    const author = new StreamAuthor();
    await collectors.first.put([author.start(), ...author.records(1)]);
    await collectors.first.put([Buffer.concat(author.records(2)).subarray(0, -1)]);
    await collectors.first.put([...author.records(2), author.checkpoint(), ...author.records(1)]);
    await age(author);
    await drop();
    const [entry] = await cuts();
    assert.ok(entry?.kind === 'cut' && entry.seq === 8 && entry.link === author.head.link);
  });

  test('drops nothing under a legal hold, which is on record', async () => {
    const { first } = collectors;
    const author = new StreamAuthor();
    await first.put([author.start(), author.checkpoint()]);
    await age(author);
    assert.equal((await first.order('PUT', '/v1/legal-hold', held)).status, 200);
    assert.deepEqual(await drop(), []);
    assert.equal(await count('records'), 2);
    const { body } = await first.get('/v1/legal-hold');
    assert.deepEqual([body['held'], body['who'], body['why']], [true, held.who, held.why]);
    await first.stop();
    await first.start();
    assert.deepEqual(await drop(), [], 'it outlives the collector');
    await first.order('PUT', '/v1/legal-hold', { ...held, held: false });
    assert.ok((await drop()).length > 0);
    assert.equal(await count('legal_holds'), 2);
  });

  test('that a hold stops on its way drops nothing that is not cut', async () => {
    const { first, db } = collectors;
    const author = new StreamAuthor();
    await first.put([author.start(), author.checkpoint()]);
    await age(author);
    const hold = (isOn: boolean) => `INSERT INTO legal_holds (held, who, why) VALUES (${isOn}, 'x', 'y')`; // prettier-ignore
    // A hold that comes when the partition was found, and is lifted when its streams are to be cut.
    const steps: (() => Promise<unknown>)[] = [
      async () => undefined,
      () => db.query(hold(true)),
      () => db.query(hold(false)),
    ];
    const transaction = database.transaction.bind(database);
    database.transaction = async (work) => {
      await steps.shift()?.();
      return transaction(work);
    };
    assert.deepEqual(await retain(), { dropped: [], left: 'held' });
    database.transaction = transaction;
    assert.equal(await count('records'), 2);
    assert.ok((await drop()).length > 0);
    assert.equal((await cuts()).length, 1);
  });

  test('waits for what is read for long, and does the rest meanwhile', async () => {
    const { first, db } = collectors;
    const author = new StreamAuthor();
    await first.put([author.start(), ...author.session(['SELECT 1']), author.checkpoint()]);
    await first.put([Buffer.concat(author.records(2)).subarray(0, -1)]);
    await age(author);
    await db.query(`UPDATE quarantine SET received_at = received_at - interval '1 hour'`);
    for (const table of ['records', 'texts', 'statements']) {
      await db.query(`BEGIN; LOCK TABLE ${table} IN ACCESS SHARE MODE`);
      assert.deepEqual(await retain(), { dropped: [], left: 'locked' }, table);
      await db.query('COMMIT');
    }
    assert.equal(await count('quarantine WHERE bytes IS NOT NULL'), 0);
    assert.equal(await count('sessions'), 1, 'a session of which there are records stays');
    assert.ok((await drop()).length > 0);
  });

  test('is done by one collector, which another is no trouble to', async () => {
    const author = new StreamAuthor();
    await collectors.first.put([author.start(), author.checkpoint()]);
    await age(author);
    const all = await Promise.all([retain(), retain(), retain()]);
    assert.equal(new Set(all.flatMap(({ dropped }) => dropped)).size, all.flatMap(({ dropped }) => dropped).length); // prettier-ignore
    assert.equal((await cuts()).length, 1);
    // One that found a partition which another has dropped when it is to be cut.
    const { db } = collectors;
    const { rows } = await db.query<{ suffix: string }>('SELECT suffix FROM partitions ORDER BY high LIMIT 1'); // prettier-ignore
    const suffix = rows[0]?.suffix ?? '';
    await db.query(`UPDATE partitions SET low = low - interval '2 days', high = high - interval '2 days'`); // prettier-ignore
    const transaction = database.transaction.bind(database);
    let calls = 0;
    database.transaction = async (work) => {
      calls += 1;
      const isCut = calls === 2;
      if (isCut) await db.query(`DROP TABLE records_${suffix}, texts_${suffix}, statements_${suffix}, operations_${suffix}, shapes_${suffix}; DELETE FROM partitions WHERE suffix = '${suffix}'`); // prettier-ignore
      return transaction(work);
    };
    assert.deepEqual(await retain(), { dropped: [], left: 'taken' });
    database.transaction = transaction;
  });

  test('empties what was set aside, but for its hash', async () => {
    const author = new StreamAuthor();
    await collectors.first.put([Buffer.concat([author.start()]).subarray(0, -1)]);
    await collectors.db.query(
      `UPDATE quarantine SET received_at = received_at - interval '1 hour'`,
    );
    await drop();
    const { rows } = await collectors.db.query(
      'SELECT bytes, length(sha256) AS hash FROM quarantine',
    );
    assert.deepEqual(rows, [{ bytes: null, hash: 64 }]);
  });

  test('takes batches while it drops', async () => {
    const old = Array.from({ length: 30 }, () => new StreamAuthor());
    for (const author of old) {
      await collectors.first.put([author.start(), ...author.records(50), author.checkpoint()]);
      await age(author);
    }
    const author = new StreamAuthor();
    const dropped = drop();
    let done = false;
    void dropped.finally(() => (done = true));
    await collectors.first.put([author.start()]);
    while (!done) {
      const { status, body } = await collectors.first.put([
        ...author.records(5),
        author.checkpoint(),
      ]);
      assert.deepEqual([status, body['link']], [200, author.head.link]);
    }
    assert.ok((await dropped).length > 0);
    assert.equal((await cuts()).length, 30);
  });
});

describe('a store of schema 1', () => {
  let collectors: Collectors;
  const stream = '0197f3a0-0000-7000-8000-000000000001';
  const session = '0197f3a0-0000-7000-8000-000000000002';
  const author = new StreamAuthor({ stream });
  before(async () => {
    collectors = await startCollectors({ version: 15, prepare: fill });
  });
  after(() => collectors[Symbol.asyncDispose]());

  async function fill(store: Collectors['store']): Promise<void> {
    const { Client } = await import('pg');
    const { schema1 } = await import('../../collector/store/migrations.ts');
    const { tryParseFrame } = await import('#core/record/frame.ts');
    const { hashHeader } = await import('#core/record/chain.ts');
    const client = new Client(store);
    await client.connect();
    await client.query(schema1);
    await client.query('CREATE TABLE schema_version (version int NOT NULL); INSERT INTO schema_version VALUES (1)'); // prettier-ignore
    const frames = [author.start({ publicKey: '' }), ...author.session(['SELECT café', 'SELECT 2'], 'u', session)]; // prettier-ignore
    await client.query('INSERT INTO streams VALUES ($1, $2, $2, $2, $3, $4)', [stream, 'local', author.seq, author.link]); // prettier-ignore
    for (const bytes of frames) {
      const frame = tryParseFrame(bytes);
      if (!frame) throw new Error('no frame');
      const { header, headerBytes, salt, payload } = frame;
      const content = payload.length > 0 ? [salt, payload] : [null, null];
      await client.query('INSERT INTO records (stream, seq, session, header, header_hash, salt, payload) VALUES ($1, $2, $3, $4, $5, $6, $7)', [
        stream, header.seq, header.session ?? null, headerBytes, hashHeader(headerBytes), ...content,
      ]); // prettier-ignore
    }
    await client.query(`INSERT INTO sessions (stream, id, principal, started_at, requests) VALUES ($1, $2, 'u', now(), 2)`, [stream, session]); // prettier-ignore
    await client.query(`INSERT INTO statements VALUES ($1, 3, $2, 'SELECT café'), ($1, 5, $2, 'SELECT 2'), ($1, 6, $2, 'SELECT 2')`, [stream, session]); // prettier-ignore
    await client.end();
  }

  test('is carried over: sessions, texts, records and heads', async () => {
    const { first } = collectors;
    const { body } = await first.get('/v1/sessions?text=CAF%C3%A9');
    assert.deepEqual((body['sessions'] as { id: string }[]).map(({ id }) => id), [session]); // prettier-ignore
    const stored = await first.get(`/v1/streams/${stream}`);
    assert.deepEqual([stored.body['ackedSeq'], stored.body['headLink']], [author.seq, author.head.link]); // prettier-ignore
    const frames = await first.get(`/v1/sessions/${session}/frames`);
    assert.ok(frames.text.includes('SELECT café'));
    const next = await first.put(author.records(2));
    assert.deepEqual([next.status, next.body['link']], [200, author.head.link]);
    const { rows } = await collectors.db.query('SELECT last_seq FROM sessions');
    assert.deepEqual(rows, [{ last_seq: '7' }]);
  });
});
