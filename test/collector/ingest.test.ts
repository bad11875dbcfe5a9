import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { after, before, describe, test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { firstLink, hashHeader, nextLink } from '#core/record/chain.ts';
import { encodeFrame, hashPayload, tryParseFrame } from '#core/record/frame.ts';
import { startInstance, type TestInstance } from '../support/instance.ts';
import { Random, scaled } from '../support/random.ts';
import { until } from '../support/until.ts';

const salts = (): Buffer => randomBytes(16);

/** A record of a made-up sidecar. */
function record(stream: string, seq: number, fields: object = {}, text = `payload ${seq}`): Buffer {
  const payload = Buffer.from(text);
  const salt = salts();
  const header = {
    v: 1, kind: 'part', stream, seq, time: new Date().toISOString(), monoNs: seq, ...fields,
    payload: { length: payload.length, hash: hashPayload(salt, payload) },
  }; // prettier-ignore
  return encodeFrame(Buffer.from(JSON.stringify(header)), salt, payload);
}

const records = (stream: string, from: number, to: number): Buffer[] =>
  Array.from({ length: to - from + 1 }, (_, index) => record(stream, from + index));

function linkOf(stream: string, frames: readonly Buffer[]): string {
  const hashes = frames.map((bytes) =>
    hashHeader(tryParseFrame(bytes)?.headerBytes ?? Buffer.alloc(0)),
  );
  return hashes.reduce((link, hash) => nextLink(link, hash), firstLink(stream)).toString('hex');
}

describe('the collector', () => {
  const secrets = {
    backendPassword: 'a'.repeat(40),
    storePassword: 'b'.repeat(40),
    ingestToken: 'c'.repeat(40),
    readToken: 'd'.repeat(40),
    operatorToken: 'e'.repeat(40),
  };
  let instance: TestInstance;
  before(async () => {
    instance = await startInstance({ secrets });
  });
  after(async () => instance[Symbol.asyncDispose]());

  interface Answer {
    readonly status: number;
    readonly body: Record<string, unknown>;
  }
  const send = (
    path: string,
    method: string,
    headers: Record<string, string>,
    body?: Buffer,
  ): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const { url, caFile } = instance.instance.collector;
      const outgoing = request(
        new URL(path, url),
        { method, headers, ca: readFileSync(caFile), agent: false },
        (response) => {
          let text = '';
          response.on('data', (piece: Buffer) => (text += piece.toString()));
          response.on('end', () => {
            const isJson = /json/.test(response.headers['content-type'] ?? '');
            resolve({
              status: response.statusCode ?? 0,
              body: isJson ? (JSON.parse(text) as Record<string, unknown>) : {},
            });
          });
        },
      );
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  /** Says that a body of so many bytes follows, and returns the status that comes before any of it was sent. */
  const announce = (length: number): Promise<number> =>
    new Promise((resolve, reject) => {
      const { url, caFile } = instance.instance.collector;
      const headers = {
        authorization: `Bearer ${secrets.ingestToken}`,
        'content-type': 'application/vnd.chaperone.frames',
        'content-encoding': 'zstd',
        'content-length': length,
      };
      const options = { method: 'POST', headers, ca: readFileSync(caFile), agent: false };
      const outgoing = request(new URL('/v1/records', url), options, (response) => {
        resolve(response.statusCode ?? 0);
        outgoing.destroy();
      });
      outgoing.on('error', reject);
      outgoing.flushHeaders();
    });
  const post = (bytes: Buffer, headers: Record<string, string> = {}): Promise<Answer> =>
    send('/v1/records', 'POST', {
      authorization: `Bearer ${secrets.ingestToken}`,
      'content-type': 'application/vnd.chaperone.frames',
      'content-encoding': 'zstd',
      ...headers,
    }, bytes); // prettier-ignore
  const put = (...frames: readonly Buffer[]): Promise<Answer> =>
    post(zstdCompressSync(Buffer.concat(frames)));
  /** An answer without its signature, which another test looks at. */
  const unsigned = ({ status, body: { signature, ...body } }: Answer): Answer => {
    assert.match(String(signature), /^[0-9a-f]{128}$/);
    return { status, body };
  };
  const get = (path: string, token = secrets.readToken): Promise<Answer> =>
    send(path, 'GET', { authorization: `Bearer ${token}` });

  test('commits a batch and answers with seq and link', async () => {
    const stream = randomUUID();
    const frames = records(stream, 1, 10);
    assert.deepEqual(unsigned(await put(...frames)), {
      status: 200,
      body: { stream, seq: 10, link: linkOf(stream, frames) },
    });
    const { body } = await get(`/v1/streams/${stream}`);
    assert.deepEqual(
      [body['ackedSeq'], body['headLink'], body['pod']],
      [10, linkOf(stream, frames), 'local'],
    );
  });

  test('takes a batch twice and stores it once, also when it overlaps', async () => {
    const stream = randomUUID();
    const frames = records(stream, 1, 20);
    await put(...frames.slice(0, 10));
    assert.equal((await put(...frames.slice(0, 10))).body['seq'], 10);
    assert.deepEqual(unsigned(await put(...frames.slice(5, 20))).body, {
      stream,
      seq: 20,
      link: linkOf(stream, frames),
    });
  });

  test('refuses a gap, and says where the stream goes on', async () => {
    const stream = randomUUID();
    await put(...records(stream, 1, 3));
    const { status, body } = await put(...records(stream, 5, 6));
    assert.deepEqual([status, body['ackedSeq']], [409, 3]);
  });

  test('sets aside a record that differs from the one that is stored', async () => {
    const stream = randomUUID();
    await put(...records(stream, 1, 3));
    const { status, body } = await put(
      record(stream, 2, {}, 'another'),
      record(stream, 3),
      record(stream, 4),
    );
    assert.deepEqual([status, body['quarantined'], body['seq']], [202, true, 3]);
    assert.equal((await get(`/v1/streams/${stream}`)).body['ackedSeq'], 3);
  });

  test('sets aside a batch with any byte flipped, and stores nothing of it', async () => {
    const stream = randomUUID();
    const honest = Buffer.concat(records(stream, 1, 3));
    const random = new Random(3);
    // Fewer than are set aside of a pod within an hour.
    for (let round = 0; round < scaled(900); round += 1) {
      const flipped = Buffer.from(honest);
      const at = random.below(flipped.length);
      flipped.writeUInt8(flipped.readUInt8(at) ^ (1 << random.below(8)), at);
      const { status, body } = await post(zstdCompressSync(flipped));
      assert.deepEqual([status, body['seq'], body['stream']], [202, 0, stream], `byte ${at}`);
    }
    assert.equal((await get(`/v1/streams/${stream}`)).body['ackedSeq'], 0);
  });

  const first = randomUUID();
  const twoStreams = (): Buffer[] => [record(first, 1), record(randomUUID(), 2)];
  const fresh = randomUUID;
  const setAside: [what: string, frames: () => Buffer[]][] = [
    ['one of two streams', twoStreams],
    ['one with records swapped', () => records(fresh(), 1, 4).reverse()],
    ['one with a record left out', () => records(fresh(), 1, 4).toSpliced(2, 1)],
    ['one cut short', () => [Buffer.concat(records(fresh(), 1, 4)).subarray(0, -3)]],
    ['one with a session that is no UUID', () => [record(fresh(), 1, { session: 'x', n: 1 })]],
    ['one with a time that is none', () => [record(fresh(), 1, { time: 'yesterday' })]],
    ['one with a time that only some know', () => [record(fresh(), 1, { time: '1 Jan 2026' })]],
    ['one with seq 0', () => [record(fresh(), 0), record(fresh(), 1)]],
  ];
  for (const [what, frames] of setAside) {
    test(`sets aside ${what}, or asks for what is missing before it`, async () => {
      const { status, body } = await put(...frames());
      assert.ok(status === 202 || (status === 409 && body['ackedSeq'] === 0), `${status}`);
    });
  }

  const refused: [what: string, frames: () => Buffer[]][] = [
    ['an empty one', () => []],
    ['one with a stream that is no UUID', () => [record("x'; DROP TABLE records; --", 1)]],
    ['noise', () => [randomBytes(1_000)]],
  ];
  for (const [what, frames] of refused) {
    test(`refuses ${what}`, async () => assert.equal((await put(...frames())).status, 422));
  }

  test('refuses what is not compressed, and what is too large compressed or inflated', async () => {
    assert.equal((await post(Buffer.from('not zstd'))).status, 422);
    assert.equal(await announce(9 * 1024 * 1024), 413);
    assert.equal((await post(zstdCompressSync(Buffer.alloc(200 * 1024 * 1024)))).status, 413);
    assert.equal((await post(Buffer.alloc(10), { 'content-encoding': 'gzip' })).status, 400);
  });

  test('a token that writes cannot read, one that reads cannot write, and none can do nothing', async () => {
    assert.equal((await get('/v1/sessions', secrets.ingestToken)).status, 401);
    assert.equal(
      (await post(Buffer.alloc(1), { authorization: `Bearer ${secrets.readToken}` })).status,
      401,
    );
    assert.equal((await post(Buffer.alloc(1), { authorization: '' })).status, 401);
    assert.equal((await get('/v1/sessions', '')).status, 401);
  });

  test('serves reads that are wrong with what is wrong', async () => {
    for (const path of [
      '/v1/sessions?limit=0',
      '/v1/sessions?since=x',
      '/v1/sessions?nonsense=1',
      '/v1/sessions?before=x',
    ]) {
      assert.equal((await get(path)).status, 400, path);
    }
    for (const path of [
      '/v1/sessions/x',
      `/v1/sessions/${randomUUID()}`,
      '/v1/streams/x',
      '/nothing',
    ]) {
      assert.equal((await get(path)).status, 404, path);
    }
  });

  test('stores headers and texts that PostgreSQL could not take as text', async () => {
    const own = randomUUID();
    const session = randomUUID();
    const start = record(
      own,
      1,
      {
        kind: 'session.start',
        session,
        n: 1,
        backend: 'b\0c',
        protocol: 'Postgres',
        principal: { user: 'u\0' },
      },
      JSON.stringify({ database: `${'a'.repeat(1_023)}😀\0` }), // cut in the middle of a surrogate pair
    );
    const query = record(
      own,
      2,
      { kind: 'request', session, n: 2, payloadType: 'postgres.query', verdict: {} },
      'select \0 1',
    );
    const broken = encodeBroken(own, session);
    assert.equal((await put(start, query, broken)).status, 200);
    assert.equal((await get(`/v1/sessions/${session}`)).body['requests'], 2);
    const stored: Buffer[] = [];
    for await (const { header } of instance.collector().frames(session))
      stored.push(Buffer.from(String(header.seq)));
    assert.equal(stored.length, 3);
  });

  function encodeBroken(own: string, session: string): Buffer {
    const payload = Buffer.from([0xff, 0xfe, 0x00, 0xc3]);
    const salt = salts();
    const header = {
      v: 1,
      kind: 'request',
      stream: own,
      seq: 3,
      session,
      n: 3,
      time: new Date().toISOString(),
      monoNs: 1,
      payloadType: 'postgres.query',
      verdict: {},
      payload: { length: 4, hash: hashPayload(salt, payload) },
    };
    return encodeFrame(Buffer.from(JSON.stringify(header)), salt, payload);
  }

  test('gives frames back byte for byte', async () => {
    const own = randomUUID();
    const session = randomUUID();
    const frames = Array.from({ length: 300 }, (_, index) =>
      record(own, index + 1, { session, n: index + 1 }, 'x'.repeat(index * 50 + 1)),
    );
    frames[0] = record(
      own,
      1,
      { kind: 'session.start', session, n: 1, principal: { user: 'u' } },
      '{}',
    );
    await put(...frames);
    const back: Buffer[] = [];
    for await (const { headerBytes, salt, payload } of instance.collector().frames(session))
      back.push(encodeFrame(headerBytes, salt, payload));
    assert.ok(Buffer.concat(back).equals(Buffer.concat(frames)));
  });

  test('takes batches of one stream from several senders at once, in order and once', async () => {
    const own = randomUUID();
    const frames = records(own, 1, 200);
    const batches = Array.from({ length: 40 }, (_, index) =>
      frames.slice(index * 5, index * 5 + 5),
    );
    const sender = async (seed: number): Promise<void> => {
      const random = new Random(seed);
      for (let acked = 0; acked < 200;) {
        const from = Math.max(0, Math.min(39, Math.floor(acked / 5) + random.below(3) - 1));
        const { status, body } = await put(...(batches[from] ?? []));
        if (status === 200) acked = Math.max(acked, Number(body['seq']));
        else if (status === 409) acked = Number(body['ackedSeq']);
        else assert.equal(status, 503);
      }
    };
    await Promise.all([1, 2, 3, 4].map(sender));
    assert.equal((await get(`/v1/streams/${own}`)).body['headLink'], linkOf(own, frames));
  });

  test('loses nothing that it acknowledged when it is killed in the middle of it', async () => {
    const own = randomUUID();
    const frames = records(own, 1, scaled(20_000));
    let acked = 0;
    let kills = 0;
    const batch = 100;
    const { pids } = instance.instance;
    while (acked < frames.length) {
      const answer = put(...frames.slice(acked, acked + batch)).catch(() => undefined);
      if (acked > 0 && acked % 500 === 0 && kills < acked / 500) {
        kills += 1;
        process.kill(instance.instance.pids.collector, 'SIGKILL');
      }
      const result = await answer;
      if (result?.status === 200) acked = Number(result.body['seq']);
      else await until('it answers again', () => get('/v1/sessions?limit=1').then(({ status }) => status === 200, () => false)); // prettier-ignore
      const { body } = await get(`/v1/streams/${own}`).catch(() => ({ body: { ackedSeq: acked } }));
      assert.ok(Number(body['ackedSeq'] ?? acked) >= acked, 'an acknowledged record is missing');
    }
    assert.notEqual(instance.instance.pids.collector, pids.collector);
    assert.equal((await get(`/v1/streams/${own}`)).body['headLink'], linkOf(own, frames));
  });
});
