import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { startCollectors, type Collectors } from '../support/collectors.ts';
import { expandSql, type Chosen } from '../support/grafana-sql.ts';
import { recordShop, type RecordedShop } from '../support/recorded-shop.ts';
import { until } from '../support/until.ts';
import { dashboardFile, dashboardJson } from '../../tools/dashboard.ts';

type Row = Readonly<Record<string, unknown>>;

interface Panel {
  readonly title: string;
  readonly type: string;
  readonly targets?: readonly { readonly rawSql: string; readonly datasource: object }[];
  readonly fieldConfig?: { readonly overrides: readonly Override[] };
}
interface Override {
  readonly matcher: { readonly options: string };
  readonly properties: readonly { readonly id: string; readonly value: unknown }[];
}
interface Variable {
  readonly name: string;
  readonly type: string;
  readonly query: string;
  readonly allValue?: string;
}

describe('the dashboard “Sessions”', () => {
  const dashboard = JSON.parse(readFileSync(dashboardFile, 'utf8')) as {
    readonly uid: string;
    readonly panels: readonly Panel[];
    readonly templating: { readonly list: readonly Variable[] };
  };
  const variables = dashboard.templating.list;
  const panelOf = (title: string): Panel =>
    dashboard.panels.find((panel) => panel.title === title) ?? assert.fail(title);
  const all = Object.fromEntries(
    variables.map(({ name, allValue }) => [name, allValue === undefined ? '' : { all: allValue }]),
  );
  let collectors: Collectors;
  let grafana: Client;
  let own: RecordedShop;
  let other: RecordedShop;

  before(async () => {
    collectors = await startCollectors({ pods: ['agent', 'batch'] });
    const { db, first, store } = collectors;
    await db.query('CREATE ROLE dashboards LOGIN IN ROLE chaperone_grafana');
    await db.query(`INSERT INTO grafana.access VALUES ('dashboards', 'ns')`);
    grafana = new Client({ ...store, user: 'dashboards' });
    await grafana.connect();
    own = await recordShop(first, { pod: 'agent', principal: "o'hara@example.com" });
    other = await recordShop(first, { pod: 'batch', principal: 'bob@example.com', backend: 'stock' }); // prettier-ignore
    await until('all texts have shapes', async () => {
      const { rowCount } = await db.query('SELECT FROM texts t WHERE NOT EXISTS (SELECT FROM shapes h WHERE h.id = t.id)'); // prettier-ignore
      return rowCount === 0;
    });
  });
  after(async () => {
    await grafana.end();
    await collectors[Symbol.asyncDispose]();
  });

  const run = async (sql: string, values: Chosen['values'], ago = 0): Promise<Row[]> => {
    const to = new Date(Date.now() + 60_000 - ago);
    const chosen = { from: new Date(to.getTime() - 3_600_000), to, intervalSeconds: 30, values: { ...all, ...values } }; // prettier-ignore
    return (await grafana.query<Row>(expandSql(sql, chosen))).rows;
  };
  const show = (title: string, values: Chosen['values'] = {}, ago = 0): Promise<Row[]> =>
    run(panelOf(title).targets?.[0]?.rawSql ?? assert.fail(title), values, ago);
  const listed = async (values: Chosen['values'] = {}, ago = 0): Promise<unknown[]> =>
    (await show('Sessions', values, ago)).map(({ Session }) => Session);

  test('is what its source says', () => {
    assert.equal(readFileSync(dashboardFile, 'utf8'), dashboardJson());
  });

  test('offers what there is to choose from', async () => {
    const offered = new Map<string, unknown[]>();
    for (const { name, type, query } of variables)
      if (type === 'query')
        offered.set(
          name,
          (await run(query, {})).flatMap((row) => Object.values(row)),
        );
    assert.deepEqual(Object.fromEntries(offered), {
      principal: ['bob@example.com', "o'hara@example.com"],
      pod: ['agent', 'batch'],
      backend: ['shop', 'stock'],
    });
  });

  test('lists sessions of the time, newest first', async () => {
    assert.deepEqual(await listed(), [other.session, own.session]);
    assert.deepEqual(await listed({}, 7_200_000), []);
  });

  test('finds a session by each variable, and not by another value of it', async () => {
    const finding: readonly Chosen['values'][] = [
      { principal: ["o'hara@example.com"] },
      { pod: ['agent'] },
      { backend: ['shop'] },
      { principal: ["o'hara@example.com", 'eve@example.com'], text: 'FROM CUSTOMERS' },
    ];
    for (const values of finding) assert.deepEqual(await listed(values), [own.session]);
    assert.deepEqual(await listed({ text: 'customers' }), [other.session, own.session]);
    for (const values of [{ principal: ['eve@example.com'] }, { pod: ['agent'], backend: ['stock'] }])
      assert.deepEqual(await listed(values), [], JSON.stringify(values)); // prettier-ignore
  });

  test('finds nothing by what is a constant', async () => {
    for (const text of own.secrets) assert.deepEqual(await listed({ text }), []);
  });

  test('takes any text for what it is', async () => {
    for (const text of ["'", "''; DROP TABLE records --", '%', '\\', '"', 'id = $2'])
      assert.deepEqual(await listed({ text }), [], text);
    assert.equal((await listed({ text: 'id = $1' })).length, 2);
    for (const session of ['', 'x', "'", own.session.slice(1), `${own.session}'`])
      assert.deepEqual(await show('Timeline', { session }), [], session);
  });

  test('leads from the list to the timeline of a session by its variable', async () => {
    const { overrides } = panelOf('Sessions').fieldConfig ?? assert.fail();
    const properties = overrides.find(({ matcher }) => matcher.options === 'Session')?.properties;
    const links = properties?.find(({ id }) => id === 'links')?.value ?? assert.fail();
    const [link] = links as { url: string }[];
    const [path, query = ''] = link?.url.split('?') ?? [];
    assert.equal(path, `/d/${dashboard.uid}`);
    const given = query.split('&').map((part) => /^\$\{(\w+)(?::queryparam)?\}$|^var-(\w+)=\$\{__value\.raw\}$/.exec(part) ?? assert.fail(part)); // prettier-ignore
    const names = new Set(given.map(([, kept, taken]) => kept ?? taken));
    assert.deepEqual(names, new Set(['__url_time_range', ...variables.map(({ name }) => name)]));
    const [, , taken = ''] = given.at(-1) ?? [];
    const shown = await show('Timeline', { [taken]: own.session });
    assert.deepEqual(
      shown.map((row) => [row['Statement'], row['Verdict'], row['Rule'], row['Rows'], row['Duration']]),
      [
        ['select * from customers where email = $1', 'Allow', null, '2', 1.5],
        ['select name from orders where id = $1', 'Allow', null, '1', 1.5],
        ['drop table orders', 'Deny', 'no-ddl', null, null],
        ['(not readable)', 'Allow', null, '0', 1.5],
      ],
    ); // prettier-ignore
    assert.deepEqual((await show('Of whom', { session: own.session })).map((row) => row['Principal']), ["o'hara@example.com"]); // prettier-ignore
  });

  test('counts what it lists', async () => {
    const counts = { Open: '0', Requests: '4', Denied: '1', Errors: '1', Rows: '3' };
    assert.deepEqual(await show('In this time', { pod: ['agent'] }), [
      { Sessions: '1', ...counts },
    ]);
    const shown = await show('Requests by backend, by when their session began');
    assert.deepEqual(
      new Set(shown.map((row) => `${String(row['metric'])} ${String(row['Requests'])}`)),
      new Set(['shop 4', 'stock 4']),
    );
  });

  test('shows nothing of rows, parameters and constants in any panel', async () => {
    const withSql = dashboard.panels.filter(({ targets }) => targets);
    assert.equal(withSql.length, 5);
    for (const { title } of withSql) {
      const text = JSON.stringify(await show(title, { session: own.session }));
      for (const secret of [...own.secrets, ...other.secrets])
        assert.ok(!text.includes(secret), `${title}: ${secret}`);
    }
  });
});
