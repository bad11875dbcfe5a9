import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { buildExecute, buildFlush, buildSync } from '#core/postgres/frontend.ts';
import { startBackendServer, type BackendServer } from '../support/backend-server.ts';
import { bind, parse } from '../support/extended-query.ts';
import { denyReadingHr } from '../support/policy-file.ts';
import { RawClient } from '../support/raw-client.ts';
import { startThrough, type Through } from '../support/through.ts';

const secret = 'only-for-hr';
const open = 'for-everybody';

const run = (sql: string): Buffer[] => [parse('', sql), bind(''), buildExecute('', 0)];
const runNamed = (name: string): Buffer[] => [bind(name), buildExecute('', 0)];
const flush = buildFlush();
const sync = buildSync();

/** Messages that are sent together, once what came before them is answered. */
type Step = readonly Buffer[];

/** What a pipeline sets or defines before its Sync, and what is left of it behind that. */
const tries: readonly (readonly [what: string, steps: readonly Step[]])[] = [
  [
    'a path that was set for the pipeline alone, behind its Sync',
    [[...run('SET LOCAL search_path = open'), flush], [parse('a', 'SELECT * FROM orders'), flush], [sync], [...runNamed('a'), sync]],
  ],
  [
    'a path that was set for the pipeline alone, in what is sent with its Sync',
    [[...run('SET LOCAL search_path = open'), flush], [parse('a', 'SELECT * FROM orders'), flush], [sync, ...runNamed('a'), sync]],
  ],
  [
    'a path that an error takes back',
    [[...run('SET search_path = open'), flush], [parse('a', 'SELECT * FROM orders'), flush], [...run('SELECT 1/0'), sync], [...runNamed('a'), sync]],
  ],
  [
    'a path that an error takes back, in what is sent with it',
    [[...run('SET search_path = open'), flush], [parse('a', 'SELECT * FROM orders'), flush], [...run('SELECT 1/0'), sync, ...runNamed('a'), sync]],
  ],
  [
    'a table by a name that it was given in the pipeline',
    [[...run('ALTER TABLE hr.salaries RENAME TO moved'), flush], [...run('SELECT * FROM hr.moved'), sync]],
  ],
  [
    'a table in a schema that it was brought to in the pipeline',
    [[...run('ALTER TABLE hr.salaries SET SCHEMA open'), flush], [...run('SELECT * FROM open.salaries'), sync]],
  ],
  [
    'a table that shows when another of its name is dropped',
    [[...run('SET search_path = open, hr'), sync], [...run('DROP TABLE orders'), flush], [...run('SELECT * FROM orders'), sync]],
  ],
]; // prettier-ignore

describe('a pipeline without its Sync', () => {
  let server: BackendServer;
  let through: Through;

  before(async () => {
    server = await startBackendServer({ version: 18, authentication: 'password' });
    through = await startThrough(server, { prepare: denyReadingHr });
    const { host, port, user, password } = server;
    const admin = new Client({ host, port, user, password, database: 'postgres' });
    await admin.connect();
    await admin.query('CREATE DATABASE template');
    const client = new Client({ host, port, user, password, database: 'template' });
    await client.connect();
    await client.query(`CREATE SCHEMA hr; CREATE SCHEMA open;
      CREATE TABLE hr.orders AS SELECT '${secret}' AS value; CREATE TABLE hr.salaries AS SELECT '${secret}' AS value;
      CREATE TABLE open.orders AS SELECT '${open}' AS value`);
    await client.end();
    for (const index of tries.keys()) {
      for (const route of ['direct', 'through']) {
        await admin.query(`CREATE DATABASE ${route}_${index} TEMPLATE template`);
        await admin.query(`ALTER DATABASE ${route}_${index} SET search_path = hr`);
      }
    }
    await admin.end();
  });
  after(async () => {
    await through[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  async function play(route: 'direct' | 'through', index: number): Promise<string> {
    const { host, port, password } = route === 'direct' ? server : through;
    const database = `${route}_${index}`;
    const client = await RawClient.connect({ host, port, password, user: 'postgres', database });
    const answers: string[] = [];
    for (const frames of tries[index]?.[1] ?? []) {
      client.send(...frames);
      const syncs = frames.filter((frame) => frame.equals(sync)).length;
      // A Flush is answered up to the last message before it; each is one that has an answer of its own.
      const wanted = syncs > 0 ? 'Z' : frames.length > 2 ? 'C' : '1';
      const isLast = (answer: string): boolean =>
        answer.startsWith(wanted) || (syncs === 0 && answer.startsWith('E'));
      for (let left = Math.max(1, syncs); left > 0; left -= 1)
        answers.push(...(await client.read(isLast)));
    }
    client.destroy();
    return answers.join('\n');
  }

  for (const [index, [what]] of tries.entries()) {
    test(`shows nothing of ${what}`, async () => {
      assert.ok((await play('direct', index)).includes(secret), 'it shows where nobody refuses');
      assert.ok(!(await play('through', index)).includes(secret));
    });
  }
});
