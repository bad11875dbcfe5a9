import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startCollectors, type Collectors } from '../support/collectors.ts';
import { recordShop, type RecordedShop } from '../support/recorded-shop.ts';

interface Read {
  readonly id: number;
  readonly who: string;
  readonly what: string;
  readonly first: string;
  readonly last: string;
  readonly times: number;
}

describe('a read', () => {
  let collectors: Collectors;
  let shop: RecordedShop;
  before(async () => {
    collectors = await startCollectors({ count: 2, pods: ['agent'] });
    shop = await recordShop(collectors.first);
  });
  after(() => collectors[Symbol.asyncDispose]());

  const reads = async (query = ''): Promise<Read[]> =>
    (await collectors.first.get(`/v1/reads${query}`)).body['reads'] as Read[];
  const readsOf = async (what: string): Promise<Read[]> =>
    (await reads()).filter((read) => read.what === what);

  test('is on record with who, what and when', async () => {
    const paths = [
      `/v1/sessions/${shop.session}/frames`,
      `/v1/sessions/${shop.session}/export`,
      `/v1/streams/${shop.stream}/export`,
      '/v1/sessions?who=ada@example.com',
      '/v1/sessions/00000000-0000-4000-8000-000000000000',
    ];
    const began = Date.now();
    for (const path of paths) {
      await collectors.first.get(path);
      const [read] = await readsOf(path);
      assert.equal(read?.who, 'reader', path);
      assert.ok(Date.parse(read.last) >= began - 1_000 && read.first <= read.last);
    }
  });

  test('does not say what text was searched for', async () => {
    await collectors.first.get('/v1/sessions?text=secret%20text&limit=5');
    const text = JSON.stringify(await reads());
    assert.ok(text.includes('/v1/sessions?text=(not recorded)') && !text.includes('secret'));
  });

  test('again within a minute is counted, by all collectors at once', async () => {
    const path = `/v1/streams/${shop.stream}`;
    const { all, first } = collectors;
    await Promise.all(Array.from({ length: 20 }, (_, n) => (all[n % 2] ?? first).get(path)));
    const found = await readsOf(path);
    assert.ok(found.length <= 2, 'a row a minute');
    assert.equal(
      found.reduce((sum, { times }) => sum + times, 0),
      20,
    );
  });

  test('of a stream from wherever on is the same', async () => {
    for (const from of [1, 2, 3]) await collectors.first.get(`/v1/streams/${shop.stream}/frames?from=${from}`); // prettier-ignore
    const found = await readsOf(`/v1/streams/${shop.stream}/frames`);
    assert.equal(
      found.reduce((sum, { times }) => sum + times, 0),
      3,
    );
  });

  test('by somebody who may not is none, and neither is what is no proper question', async () => {
    const before = (await reads('?limit=1000')).length;
    await collectors.first.send('GET', '/v1/findings?limit=7', { token: 'operator' });
    await collectors.first.get('/v1/findings?limit=none');
    assert.ok((await reads('?limit=1000')).length <= before + 1, 'that of the list itself');
  });

  test('that cannot be put on record is not answered', async () => {
    const { db, first } = collectors;
    await db.query('ALTER TABLE reads RENAME TO elsewhere');
    const answer = await first.get(`/v1/sessions/${shop.session}/frames`);
    await db.query('ALTER TABLE elsewhere RENAME TO reads');
    assert.deepEqual([answer.status, answer.body['title']], [503, 'store-unavailable']);
  });

  test('is listed newest first, page by page', async () => {
    const all = await reads('?limit=1000');
    const first = await collectors.first.get('/v1/reads?limit=2');
    const next = Number(first.body['next']);
    const page = [...(first.body['reads'] as Read[]), ...(await reads(`?limit=2&before=${next}`))];
    const ids = page.map(({ id }) => id);
    assert.deepEqual(
      ids,
      ids.toSorted((a, b) => b - a),
    );
    assert.equal(new Set(ids).size, 4);
    assert.ok(all.length >= 4);
  });
});
