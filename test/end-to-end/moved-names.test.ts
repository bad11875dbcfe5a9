import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { buildExecute, buildQuery, buildSync } from '#core/postgres/frontend.ts';
import { buildMessage } from '#core/postgres/reader.ts';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { bind, parse } from '../support/extended-query.ts';
import { denyReadingHr } from '../support/policy-file.ts';
import { RawClient } from '../support/raw-client.ts';
import { startThrough, type Through } from '../support/through.ts';

const secret = 'only-for-hr';

const database = `
  CREATE SCHEMA open; CREATE SCHEMA hr; CREATE SCHEMA other;
  CREATE TABLE hr.orders AS SELECT '${secret}' AS value;
  CREATE TABLE hr.salaries AS SELECT '${secret}' AS value FROM generate_series(1, 2);
  ANALYZE hr.salaries;
  CREATE EXTENSION postgres_fdw;
  GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO keeper;
  CREATE TABLE open.orders AS SELECT 'for-everybody' AS value;
  CREATE TABLE open.parent (value text);
  CREATE TABLE open.parts (value text) PARTITION BY LIST (value);
  CREATE VIEW open.report AS SELECT * FROM open.parent;
  CREATE TABLE other.things (orders text);
  ALTER DATABASE "$DB" SET search_path = open, hr;
`;

const sync = buildSync();

const run = buildExecute('', 0);

const raw = (name: string, sql: string): Buffer =>
  buildMessage('P', Buffer.from(name, 'latin1'), Buffer.of(0), Buffer.from(`${sql}\0`), Buffer.alloc(2)); // prettier-ignore

/** What is sent at once, once what came before is answered. Texts are simple Queries. */
type Step = string | readonly (string | Buffer)[];

const tries: readonly (readonly [what: string, ...steps: Step[]])[] = [
  ['a table by its name', 'SELECT * FROM hr.orders'],
  ['a table by the path', 'SET search_path = hr', 'SELECT * FROM orders'],
  [
    'a COPY that was bound before the path was set',
    'BEGIN',
    [parse('', 'COPY orders TO STDOUT'), bind('', { portal: 'p' }), sync],
    'SET LOCAL search_path = hr',
    [buildExecute('p', 0), sync],
  ],
  [
    'a COPY that was bound before the path was set, in one pipeline',
    [
      parse('', 'COPY orders TO STDOUT'),
      bind('', { portal: 'p' }),
      parse('', 'SET LOCAL search_path = hr'),
      bind(''),
      run,
      buildExecute('p', 0),
      sync,
    ],
  ],
  [
    'a COPY that was bound before its table was exchanged',
    'BEGIN',
    [parse('', 'COPY open.orders TO STDOUT'), bind('', { portal: 'p' }), sync],
    'ALTER TABLE open.orders RENAME TO before; ALTER TABLE hr.orders SET SCHEMA open',
    [buildExecute('p', 0), sync],
  ],
  [
    'an EXECUTE that was bound before the path was set',
    'BEGIN',
    'PREPARE s AS SELECT * FROM orders',
    [parse('', 'EXECUTE s'), bind('', { portal: 'p' }), sync],
    'SET LOCAL search_path = hr',
    [buildExecute('p', 0), sync],
  ],
  [
    'a table that shows when another of its name is renamed',
    'BEGIN',
    'ALTER TABLE open.orders RENAME TO before',
    'SELECT * FROM orders',
  ],
  [
    'a table that shows when another of its name is renamed, in one text',
    'ALTER TABLE open.orders RENAME TO before; SELECT * FROM orders',
  ],
  [
    'a table that shows when another of its name moves away',
    'BEGIN',
    'ALTER TABLE open.orders SET SCHEMA other',
    'SELECT * FROM orders',
  ],
  [
    'a table that shows when the schema of another is renamed',
    'BEGIN',
    'ALTER SCHEMA open RENAME TO before',
    'SELECT * FROM orders',
  ],
  [
    'a table by the name of another that was there',
    'BEGIN',
    'ALTER TABLE open.orders RENAME TO before',
    'ALTER TABLE hr.orders SET SCHEMA open',
    'SELECT * FROM open.orders',
  ],
  [
    'a table by the name of another, in one text',
    'ALTER TABLE open.orders RENAME TO before; ALTER TABLE hr.orders SET SCHEMA open; SELECT * FROM open.orders',
  ],
  [
    'a schema by the name of another',
    'BEGIN',
    'ALTER SCHEMA open RENAME TO before',
    'ALTER SCHEMA hr RENAME TO open',
    'SELECT * FROM open.orders',
  ],
  [
    'a table that a parent has got',
    'BEGIN',
    'ALTER TABLE hr.salaries INHERIT open.parent',
    'SELECT * FROM open.parent',
  ],
  [
    'a table that a parent behind a view has got',
    'BEGIN',
    'ALTER TABLE hr.salaries INHERIT open.parent',
    'SELECT * FROM open.report',
  ],
  [
    'a table that a parent has got, in one text',
    'ALTER TABLE hr.salaries INHERIT open.parent; SELECT * FROM open.parent',
  ],
  [
    'a partition that was attached',
    'BEGIN',
    'ALTER TABLE open.parts ATTACH PARTITION hr.salaries DEFAULT',
    'SELECT * FROM open.parts',
  ],
  [
    'a table that shows when a right goes',
    'BEGIN',
    'REVOKE USAGE ON SCHEMA open FROM keeper',
    'SELECT * FROM orders',
  ],
  [
    'a table that shows when a right goes, in one text',
    'REVOKE USAGE ON SCHEMA open FROM keeper; SELECT * FROM orders',
  ],
  [
    'a table that shows when another goes, though one of its name comes elsewhere',
    'BEGIN',
    'DROP TABLE open.orders',
    'CREATE TABLE other.orders (value text)',
    'SELECT * FROM orders',
  ],
  [
    'a table that shows when another goes, though something of its name gets an index',
    'CREATE TABLE other.orders (value text)',
    'BEGIN',
    'DROP TABLE open.orders',
    'CREATE INDEX ON other.orders (value)',
    'SELECT * FROM orders',
  ],
  [
    'a table that shows when another goes, though one came where the path led then',
    'BEGIN',
    'DROP TABLE orders',
    'SET LOCAL search_path = other',
    'CREATE TABLE orders (value text)',
    'SET LOCAL search_path = open, hr',
    'SELECT * FROM orders',
  ],
  [
    'a value in the statistics of a table',
    `SELECT most_common_vals FROM pg_stats WHERE schemaname = 'hr'`,
  ],
  [
    'a table that a foreign one leads to',
    `CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '$PORT', dbname '$DB')`,
    `CREATE USER MAPPING FOR keeper SERVER here OPTIONS (user 'keeper', password 'kept')`,
    `CREATE FOREIGN TABLE open.again (value text) SERVER here OPTIONS (schema_name 'hr', table_name 'salaries')`,
    'SELECT * FROM open.again',
  ],
  [
    'a statement that SQL prepared, whose table is gone since',
    'PREPARE s AS SELECT * FROM orders',
    'BEGIN',
    'DROP TABLE open.orders',
    'EXECUTE s',
  ],
  [
    'a statement by a name whose bytes are those of another',
    [raw('\u00c3\u0083\u00c2\u00a9', 'SELECT * FROM orders'), sync],
    [raw('\u00c3\u00a9', 'SELECT 1'), sync],
    'SET search_path = hr',
    [buildMessage('Q', Buffer.from('EXECUTE "\u00c3\u00a9"\0'))],
  ],
]; // prettier-ignore

describe('a name that comes to stand for something else', () => {
  let server: BackendServer;
  let through: Through;

  async function asOwner(name: string, sql: string): Promise<void> {
    const { host, port, user, password } = server;
    const client = new Client({ host, port, user, password, database: name });
    await client.connect();
    await client.query(sql);
    await client.end();
  }

  before(async () => {
    server = await startBackendServer({ version: 18, authentication: 'password' });
    await asOwner('postgres', `CREATE ROLE keeper LOGIN PASSWORD 'kept'`);
    for (const index of tries.keys())
      for (const route of ['direct', 'through']) {
        const name = `${route}_${index}`;
        await asOwner('postgres', `CREATE DATABASE ${name}`);
        await asOwner(name, database.replace('$DB', name) + owning);
        await asOwner('postgres', `ALTER DATABASE ${name} OWNER TO keeper`);
      }
    through = await startThrough(server, {
      credential: { type: 'Password', username: 'keeper', password: 'kept' },
      prepare: denyReadingHr,
    });
  });
  after(async () => {
    await through[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  async function play(route: 'direct' | 'through', index: number): Promise<string> {
    const { host, port } = route === 'direct' ? server : through;
    const password = route === 'direct' ? 'kept' : through.password;
    const name = `${route}_${index}`;
    const client = await RawClient.connect({
      host,
      port,
      password,
      user: 'keeper',
      database: name,
    });
    const answers: string[] = [];
    const [, ...steps] = tries[index] ?? [];
    for (const step of steps) {
      const parts = typeof step === 'string' ? [step] : step;
      const frames = parts.map((part) =>
        typeof part === 'string'
          ? buildQuery(part.replace('$DB', name).replace('$PORT', String(server.port)))
          : part,
      );
      client.send(...frames);
      const ends = frames.filter((frame) => 'QS'.includes(String.fromCharCode(frame[0] ?? 0)));
      for (let left = ends.length; left > 0 && !client.closed; left -= 1)
        answers.push(...(await client.read((answer) => answer.startsWith('Z'))));
    }
    client.destroy();
    return answers.join('\n');
  }

  for (const [index, [what]] of tries.entries()) {
    test(`shows nothing of ${what}`, async () => {
      const direct = await play('direct', index);
      assert.ok(direct.includes(secret), `it shows where nobody refuses: ${direct}`);
      const answers = await play('through', index);
      assert.ok(!answers.includes(secret), answers);
    });
  }
});

/** Everything that a database begins with here belongs to the role that agents log in as. */
const owning = ['open', 'hr', 'other']
  .map((schema) => `ALTER SCHEMA ${schema} OWNER TO keeper;`)
  .concat(
    [
      'hr.orders',
      'hr.salaries',
      'open.orders',
      'open.parent',
      'open.parts',
      'open.report',
      'other.things',
    ].map((relation) => `ALTER TABLE ${relation} OWNER TO keeper;`),
  )
  .join('\n');
