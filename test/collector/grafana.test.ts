import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { startCollectors, type Collectors } from '../support/collectors.ts';
import { recordShop } from '../support/recorded-shop.ts';
import { until } from '../support/until.ts';

type Row = Readonly<Record<string, unknown>>;

describe('what Grafana sees', () => {
  let collectors: Collectors;
  const logins = new Map<string, Client>();

  before(async () => {
    collectors = await startCollectors({ pods: ['agent'] });
    const { db, store } = collectors;
    for (const [role, namespace] of [
      ['all', '*'],
      ['ns', 'ns'],
      ['none', undefined],
    ] as const) {
      await db.query(`CREATE ROLE g_${role} LOGIN IN ROLE chaperone_grafana`);
      if (namespace !== undefined)
        await db.query('INSERT INTO grafana.access VALUES ($1, $2)', [`g_${role}`, namespace]);
      const client = new Client({ ...store, user: `g_${role}` });
      await client.connect();
      logins.set(role, client);
    }
  });
  after(async () => {
    for (const client of logins.values()) await client.end();
    await collectors[Symbol.asyncDispose]();
  });

  const rows = async (login: string, text: string, values: readonly unknown[] = []): Promise<Row[]> =>
    ((await logins.get(login)?.query<Row>(text, [...values]))?.rows) ?? []; // prettier-ignore
  const timeline = (session: string, login = 'all'): Promise<Row[]> =>
    rows(login, 'SELECT * FROM grafana.timeline WHERE session = $1 ORDER BY time, seq', [session]);
  const shaped = async (session: string): Promise<Row[]> => {
    await until('all texts have a shape', async () => {
      const { rows: [row] } = await collectors.db.query<{ n: string }>(
        `SELECT count(*) AS n FROM texts t WHERE NOT EXISTS (SELECT FROM shapes h WHERE h.id = t.id)`); // prettier-ignore
      return row?.n === '0';
    });
    return timeline(session);
  };

  test('is a session with who, where, how and its counts', async () => {
    const { session } = await recordShop(collectors.first);
    const [row] = await rows('all', 'SELECT * FROM grafana.sessions WHERE session = $1', [session]);
    const { started, ended, ...rest } = row ?? {};
    assert.ok(started instanceof Date && ended instanceof Date && started <= ended);
    assert.deepEqual(rest, {
      session, principal: 'ada@example.com', namespace: 'ns', pod: 'agent', service_account: 'sa',
      attachment: 'Namespace', protocol: 'Postgres', backend: 'shop', database: 'shop',
      end_reason: 'agent-closed', requests: '4', denied: '1', errors: '1', rows: '3',
    }); // prettier-ignore
  });

  test('is its timeline: statements without constants, verdicts, rules, endings', async () => {
    const { session } = await recordShop(collectors.first);
    const shown = (await shaped(session)).map(({ statement, verdict, rule, status, error, rows, duration_ms: ms }) =>
      [statement, verdict, rule, status, error, rows, ms && Number(ms)]); // prettier-ignore
    assert.deepEqual(shown, [
      ['select * from customers where email = $1', 'Allow', null, 'ok', null, '2', 1.5],
      ['select name from orders where id = $1', 'Allow', null, 'ok', null, '1', 1.5],
      ['drop table orders', 'Deny', 'no-ddl', null, null, null, null],
      ['(not readable)', 'Allow', null, 'error', '42601', '0', 1.5],
    ]);
  });

  test('is nothing of rows, parameters and constants', async () => {
    const { session, secrets } = await recordShop(collectors.first);
    await shaped(session);
    const { rows: views } = await collectors.db.query<{ name: string }>(
      `SELECT table_name AS name FROM information_schema.views WHERE table_schema = 'grafana'`,
    );
    assert.equal(views.length, 3);
    for (const { name } of views) {
      const text = JSON.stringify(await rows('all', `SELECT * FROM grafana.${name}`));
      assert.ok(text.includes(session), name);
      for (const secret of secrets) assert.ok(!text.includes(secret), `${name}: ${secret}`);
    }
    for (const table of ['records', 'texts', 'sessions', 'operations', 'shapes', 'statements', 'streams', 'grafana.access'])
      await assert.rejects(rows('all', `SELECT * FROM ${table}`), /permission denied/, table); // prettier-ignore
  });

  test('is for each login what its namespaces have, whatever role it sets', async () => {
    const inNs = await recordShop(collectors.first);
    const elsewhere = await recordShop(collectors.first, { pod: 'local' });
    await shaped(inNs.session);
    const seen = async (login: string): Promise<boolean[]> => {
      const found: boolean[][] = [];
      for (const { session } of [inNs, elsewhere]) {
        const each: boolean[] = [];
        for (const view of ['sessions', 'statements', 'timeline']) {
          const seen = await rows(login, `SELECT FROM grafana.${view} WHERE session = $1`, [
            session,
          ]);
          each.push(seen.length > 0);
        }
        found.push(each);
      }
      return found.map((each) => {
        assert.equal(new Set(each).size, 1, 'all views agree');
        return each[0] === true;
      });
    };
    assert.deepEqual(await seen('all'), [true, true]);
    assert.deepEqual(await seen('ns'), [true, false]);
    assert.deepEqual(await seen('none'), [false, false]);
    await rows('none', 'SET ROLE chaperone_grafana');
    assert.deepEqual(await seen('none'), [false, false]);
    await rows('none', 'RESET ROLE');
  });

  test('does not leave the barrier by a function of who asks', async () => {
    const { session } = await recordShop(collectors.first, { pod: 'local' });
    const notices: string[] = [];
    logins.get('ns')?.on('notice', ({ message }) => notices.push(message ?? ''));
    await rows('ns', `CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001
      AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$`); // prettier-ignore
    for (const view of ['sessions', 'statements', 'timeline'])
      await rows('ns', `SELECT FROM grafana.${view} WHERE pg_temp.leak(session::text)`);
    assert.ok(notices.length > 0 && !notices.includes(session));
  });
});
