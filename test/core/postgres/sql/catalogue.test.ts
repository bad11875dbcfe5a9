import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { largeObjectFunctions } from '#core/postgres/large-object-functions.ts';
import {
  buildCatalogue,
  Catalogue,
  madeRowsOf,
  withOwnRows,
  type Relation,
} from '#core/postgres/sql/catalogue.ts';
import { maxCatalogueRows, ownCatalogueQueries } from '#core/postgres/sql/catalogue-queries.ts';
import { harmlessFunctions, harmlessInformation } from '#core/policy/harmless-functions.ts';
import { startBackendServer, type BackendServer } from '../../../support/backend-server.ts';
import { madeRows } from '../../../support/made-catalogue.ts';
import { queryCatalogue } from '../../../support/queried-catalogue.ts';

const definitions = `
  create role reader login;
  create role owner_role;
  create role member login in role owner_role;
  create schema app;
  grant usage on schema app to reader;
  create schema hidden;
  create schema owned authorization owner_role;
  create schema "Odd ""Schema.\\\\ é";
  create table app.orders (id int primary key, ssn text, total numeric, "Odd, ""Column" int);
  create table "Odd ""Schema.\\\\ é"."t.u" (a int);
  create function app.mask(text) returns text language sql immutable as 'select $1';
  create function app.mask(int) returns text language sql volatile as 'select ''x''';
  create function app.full_name(app.orders) returns text language sql stable as 'select $1.ssn';
  create function app.any_row(anyelement, int default 1) returns text language sql stable as 'select ''x''';
  create function app.two_rows(app.orders, app.orders) returns text language sql stable as 'select ''x''';
  create function hidden.f() returns int language sql stable as 'select 1';
  create function hidden.in_c() returns timestamptz language internal stable as 'now';
  create function app.plus(state int, x int) returns int language plpgsql volatile
    as 'begin return state + x; end';
  create aggregate app.add_up(int) (sfunc = app.plus, stype = int, initcond = '0');
  create function app.near(text, text) returns boolean language sql immutable as 'select true';
  create operator app.=== (leftarg = text, rightarg = text, function = app.near);
  create view app.report as select id, app.mask(ssn) as ssn from app.orders;
  create view app.over_report as select r.id from app.report r where exists (select from app.orders o where o.total > 1);
  create view app.whole as select o, id from app.orders o;
  create view app.counted as select count(*) from app.orders;
  create view app.quoted as select "Odd, ""Column" from app.orders;
  create view app.passwords as select rolname, rolpassword from pg_catalog.pg_authid;
  create view app.files as select pg_read_file('x') as f, f(o) as g from (select 1 as f) o;
  create view app.compared as select id from app.orders where ssn operator(app.===) 'x';
  create view app.lookup as select id from app.orders where id in (select a from "Odd ""Schema.\\\\ é"."t.u");
  create materialized view app.totals as select sum(total) from app.report r join app.orders using (id);
  create table app.log (at timestamptz, what text);
  create rule keep as on insert to app.orders do also insert into app.log values (clock_timestamp(), new.ssn);
  create table app.parts (id int) partition by range (id);
  create table app.part_1 partition of app.parts for values from (0) to (100) partition by range (id);
  create table app.part_1a partition of app.part_1 for values from (0) to (10);
  create index on app.parts (id);
  create table app.triggered (id int references app.orders);
  create function app.tick() returns trigger language plpgsql as 'begin return new; end';
  create trigger tick before insert on app.triggered for each row execute function app.tick();
  create sequence app.numbers;
`;

for (const version of [18, 15] as const) {
  describe(`the catalogue of PostgreSQL ${version}`, () => {
    let server: BackendServer;
    let other: Client;
    let catalogue: Catalogue;

    const connect = async (user: string): Promise<Client> => {
      const { host, port } = server;
      const client = new Client({ host, port, user, database: 'postgres' });
      await client.connect();
      return client;
    };
    const only = (schema: string, name: string): Relation => {
      const [relation, ...more] = catalogue.relations(schema, name);
      assert.ok(relation && more.length === 0, `${schema}.${name}`);
      return relation;
    };
    const reads = (name: string): Record<string, readonly string[]> =>
      Object.fromEntries(
        only('app', name).view.uses.map(({ relation, columns }) => [
          `${relation.schema}.${relation.name}`,
          columns,
        ]),
      );
    const calls = (name: string): string[] =>
      only('app', name)
        .view.calls.map((called) => `${called.schema}.${called.name}`)
        .sort();

    before(async () => {
      server = await startBackendServer({ version, authentication: 'trust' });
      other = await connect('postgres');
      await other.query(definitions);
      await other.query(
        'create temp table scratch (a int); create temp view seen as table scratch',
      );
      await other.query('alter role reader set standard_conforming_strings = off');
      const reader = await connect('reader'); // any login, with nothing on its path
      await reader.query('set search_path = nowhere');
      const built = buildCatalogue(await queryCatalogue(reader));
      await reader.end();
      assert.ok(built instanceof Catalogue);
      catalogue = built;
    });
    after(async () => {
      await other.end();
      await server[Symbol.asyncDispose]();
    });

    test('has names as they are, whatever is in them', () => {
      assert.equal(only('Odd "Schema.\\\\ é', 't.u').kind, 'r');
      assert.equal(catalogue.hasSchema('Odd "Schema.\\\\ é'), true);
      assert.deepEqual(reads('quoted'), { 'app.orders': ['Odd, "Column'] });
    });

    test('knows which schemas a role may use', () => {
      const mayUse = (role: string, schema: string) => catalogue.mayUse(role, schema);
      assert.equal(mayUse('reader', 'app'), true);
      assert.equal(mayUse('reader', 'hidden'), false);
      assert.equal(mayUse('reader', 'owned'), false);
      assert.equal(mayUse('member', 'owned'), true);
      assert.equal(mayUse('postgres', 'hidden'), true);
      assert.equal(mayUse('no such role', 'app'), undefined);
    });

    test('knows kinds, and which writes run code', () => {
      const kinds = ['orders', 'report', 'totals', 'parts', 'numbers', 'orders_pkey'];
      const { kind } = only('pg_catalog', 'pg_class');
      assert.deepEqual(
        kinds.map((name) => only('app', name).kind),
        ['r', 'v', 'm', 'p', 'S', 'i'],
      );
      assert.equal(kind, 'r');
      const code = ['orders', 'triggered', 'log', 'report'].map(
        (name) => only('app', name).runsCode,
      );
      assert.deepEqual(code, [true, true, false, false]);
      assert.equal(only('app', 'orders_pkey').table, only('app', 'orders'));
    });

    test('knows what views read, columns and all', () => {
      assert.deepEqual(reads('report'), { 'app.orders': ['id', 'ssn'] });
      assert.deepEqual(reads('over_report'), { 'app.report': ['id'], 'app.orders': ['total'] });
      assert.deepEqual(reads('totals'), { 'app.report': ['id'], 'app.orders': ['id', 'total'] });
      assert.deepEqual(reads('counted'), { 'app.orders': [] });
      assert.deepEqual(reads('whole'), { 'app.orders': ['*'] });
      assert.deepEqual(reads('passwords'), { 'pg_catalog.pg_authid': ['*'] });
      assert.deepEqual(Object.keys(reads('lookup')), ['app.orders', 'Odd "Schema.\\\\ é.t.u']);
      const { uses } = only('pg_catalog', 'pg_user').view;
      assert.deepEqual(uses.map(({ relation }) => relation.name).slice(0, 1), ['pg_shadow']);
    });

    test('knows what views call', () => {
      assert.deepEqual(calls('report'), ['app.mask']);
      assert.deepEqual(calls('files'), ['pg_catalog.pg_read_file']);
      assert.deepEqual(calls('compared'), ['app.near']);
      assert.deepEqual(calls('counted'), ['pg_catalog.count']);
    });

    test('knows what rules use', () => {
      const { rules } = only('app', 'orders');
      assert.deepEqual(
        rules.uses.map(({ relation }) => relation.name),
        ['log'],
      );
      assert.deepEqual(rules.calls, [{ schema: 'pg_catalog', name: 'clock_timestamp' }]);
    });

    test('knows partitions of partitions, of tables and of indexes', () => {
      const parts = only('app', 'parts');
      const leaf = only('app', 'part_1a');
      assert.deepEqual(parts.children[0]?.children, [leaf]);
      assert.deepEqual(leaf.parents[0]?.parents, [parts]);
      assert.equal(only('app', 'part_1a_id_idx').parents[0]?.name, 'part_1_id_idx');
    });

    test('takes the worst of functions with one name, and of what an aggregate is made of', () => {
      assert.equal(catalogue.volatility('app', 'mask'), 'v');
      assert.equal(catalogue.volatility('app', 'add_up'), 'v');
      assert.equal(catalogue.volatility('hidden', 'in_c'), 's');
      assert.equal(catalogue.volatility('pg_catalog', 'sum'), 'i');
      assert.equal(catalogue.volatility('pg_catalog', 'set_config'), 'v');
      assert.equal(catalogue.volatility('public', 'sum'), undefined);
    });

    test('believes nothing in SQL that it only reads, whatever it says', () => {
      assert.equal(catalogue.volatility('hidden', 'f'), 'v');
    });

    test('knows which functions a dot may call', () => {
      const names = ['full_name', 'any_row', 'two_rows', 'mask', 'f', 'count'];
      assert.deepEqual(
        names.map((name) => catalogue.ofRows(name).join()),
        ['app', 'app', '', '', '', 'pg_catalog'],
      );
    });

    test('knows operators that were added, and no others', () => {
      const near = { schema: 'app', name: 'near' };
      assert.deepEqual(catalogue.operators('==='), [{ schema: 'app', calls: near }]);
      assert.deepEqual(catalogue.operators('='), []);
    });

    test('knows that operators of extensions in C do nothing but compute', async () => {
      await other.query(`create extension citext schema app`);
      const built = buildCatalogue(await queryCatalogue(other));
      assert.ok(built instanceof Catalogue);
      assert.deepEqual(built.operators('='), [{ schema: 'app', calls: undefined }]);
      const near = { schema: 'app', name: 'near' };
      assert.deepEqual(built.operators('==='), [{ schema: 'app', calls: near }]);
      await other.query('drop extension citext');
    });

    test('knows temporary relations of other sessions', () => {
      assert.equal(only('pg_temp', 'scratch').kind, 'r');
      assert.equal(only('pg_temp', 'seen').view.uses[0]?.relation, only('pg_temp', 'scratch'));
      assert.equal(catalogue.hasSchema('pg_temp'), false);
    });

    test('holds two thousand tables', async () => {
      await other.query(
        `do $$ begin for i in 1..2000 loop execute format('create table app.many_%s (a int)', i); end loop; end $$`,
      );
      const built = buildCatalogue(await queryCatalogue(other));
      assert.ok(built instanceof Catalogue);
      assert.equal(built.relations('app', 'many_2000').length, 1);
    });

    test('finds each harmless function, which changes nothing', async () => {
      const { rows } = await other.query<{ name: string; volatile: boolean }>(
        `select proname as name, bool_or(provolatile = 'v') as volatile from pg_proc
         where pronamespace = 'pg_catalog'::regnamespace group by 1`,
      );
      const volatile = new Map(rows.map((row) => [row.name, row.volatile]));
      const missing = [...harmlessFunctions].filter((name) => !volatile.has(name));
      if (version === 18) assert.deepEqual(missing, []);
      const found = [...harmlessFunctions].filter((name) => volatile.get(name)).sort();
      const named = found.filter((name) => !harmlessVolatile.has(name));
      assert.deepEqual(named, []);
    });

    test('is the same where only what somebody made is read anew', async () => {
      const all = await queryCatalogue(other);
      const own = await queryCatalogue(other, ownCatalogueQueries);
      const sorted = (rows: typeof all): unknown =>
        Object.entries(rows).map(([name, each]) => [name, each.map((row) => JSON.stringify(row)).sort()]); // prettier-ignore
      assert.deepEqual(sorted(withOwnRows(madeRowsOf(all), own)), sorted(all));
      assert.ok(own.functions.length > 3 && own.functions.length < 100);
      assert.ok(own.uses.length > 3 && own.uses.length < 100);
    });

    test('knows by which OIDs libpq calls the functions of large objects', async () => {
      const { rows } = await other.query<{ oid: number; name: string }>(
        `select oid, proname as name from pg_proc where pronamespace = 'pg_catalog'::regnamespace
         and (proname ~ '^lo_(creat|create|open|close|lseek|tell|unlink|truncate)(64)?$' or proname ~ '^lo(read|write)$')`,
      );
      const names = new Map(rows.map(({ oid, name }) => [oid, { schema: 'pg_catalog', name }]));
      assert.deepEqual(largeObjectFunctions, names);
    });

    test('finds each harmless function of information_schema, which is not volatile', async () => {
      const { rows } = await other.query<{ name: string }>(
        `select proname as name from pg_proc
         where pronamespace = 'information_schema'::regnamespace and provolatile <> 'v'`,
      );
      const names = new Set(rows.map(({ name }) => name));
      assert.deepEqual(
        [...harmlessInformation].filter((name) => !names.has(name)),
        [],
      );
    });
  });
}

const harmlessVolatile = new Set([
  'array_sample',
  'array_shuffle',
  'clock_timestamp',
  'currval',
  'gen_random_uuid',
  'lastval',
  'pg_indexes_size',
  'pg_is_in_recovery',
  'pg_partition_ancestors',
  'pg_partition_tree',
  'pg_relation_size',
  'pg_table_size',
  'pg_total_relation_size',
  'random',
  'random_normal',
  'timeofday',
  'uuidv4',
  'uuidv7',
]);

describe('harmless functions', () => {
  const dangerous =
    /^(lo_|pg_read|pg_ls|pg_stat_|pg_advisory|pg_try_advisory|pg_terminate|pg_cancel|pg_reload|pg_rotate|pg_logical|pg_create|pg_drop|pg_switch|pg_export|pg_replication|pg_wal_(?!lsn_diff)|pg_backup|pg_start|pg_stop|pg_promote|pg_notify|pg_sleep|pg_show(?!_all_settings$)|pg_config|pg_file|pg_hba|pg_ident_|pg_import|pg_lock|pg_blocking|pg_sync|pg_get_wal|pg_get_replication|pg_log|binary_upgrade|ts_stat|ts_rewrite|set_config|setval|nextval|setseed|txid_current$|pg_current_xact_id$|dblink|inet_server_secret|brin_|gin_clean|query_to|cursor_to|table_to|schema_to|database_to|currtid|pg_nextoid|pg_event|fmgr_|plpgsql_|pg_tablespace|pg_relation_file|pg_stop|pg_clear|pg_restore|pg_set_)|loread|lowrite|_to_xml/;
  test('are none that reach outside the session', () => {
    assert.deepEqual(
      [...harmlessFunctions].filter((name) => dangerous.test(name)),
      [],
    );
  });
  for (const name of ['count', 'lower', 'now', 'current_setting', 'pg_get_viewdef', 'format_type'])
    test(`are ${name} and the like`, () => assert.ok(harmlessFunctions.has(name)));
});

describe('a database with more than is taken into memory', () => {
  for (const query of ['relations', 'uses', 'functions', 'schemas'] as const)
    test(`has no catalogue: too many ${query}`, () => {
      const rows = Array.from({ length: maxCatalogueRows + 1 }, () => [null, null]);
      const built = buildCatalogue({ ...madeRows({}), [query]: rows });
      assert.deepEqual(built, { kind: 'overflow', query });
    });

  test('has one if it has too many roles: of those left out it is not known what they may use', () => {
    const roles = Array.from({ length: maxCatalogueRows + 1 }, (_, index) => [`r${index}`, null]);
    const built = buildCatalogue({ ...madeRows({}), roles });
    assert.ok(built instanceof Catalogue);
    assert.equal(built.mayUse('r1', 'app'), undefined);
  });
});
