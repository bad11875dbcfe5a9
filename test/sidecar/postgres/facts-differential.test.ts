import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { loadModule, parseSync } from 'libpg-query';
import { Client } from 'pg';
import type { TableFact } from '#core/facts.ts';
import { buildCatalogue, Catalogue } from '#core/postgres/sql/catalogue.ts';
import { resolveSurvey } from '#core/postgres/sql/resolve.ts';
import { surveyTree } from '#core/postgres/sql/survey-tree.ts';
import { startBackendServer, type BackendServer } from '../../support/backend-server.ts';
import { queryCatalogue } from '../../support/queried-catalogue.ts';
import { Random, scaled } from '../../support/random.ts';
import { StatementGenerator } from '../../support/statement-generator.ts';
import { quoted, type GeneratedStatement } from '../../support/statement-names.ts';
import { schemaDefinition, situations, type Situation } from '../../support/statement-schema.ts';

/** What PostgreSQL says that a statement uses. */
interface Answer {
  /** Of the plan, as `schema.name`, and whether rows of it are changed. */
  readonly planned: readonly { readonly name: string; readonly isWritten: boolean }[];
  /** Of a view made of it: `schema.name`, and columns of that; undefined where no view can be made. */
  readonly depended: ReadonlyMap<string, readonly string[]> | undefined;
}

/** Names that the session's temporary relations have: which one is meant, the facts leave open. */
const temporary: ReadonlySet<string> = new Set(['scratch', 'items', 'seen']);

const dependencies = `
  select case when n.nspname like 'pg\\_temp\\_%' then 'pg_temp' else n.nspname end || '.' || c.relname,
    array(select a.attname::text from pg_catalog.pg_depend e join pg_catalog.pg_attribute a
      on a.attrelid = c.oid and a.attnum = e.refobjsubid
      where e.objid = w.oid and e.classid = d.classid and e.refobjid = c.oid and e.refobjsubid > 0
        and e.refclassid = d.refclassid)
  from pg_catalog.pg_rewrite w
    join pg_catalog.pg_depend d on d.objid = w.oid
      and d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
      and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    join pg_catalog.pg_class c on c.oid = d.refobjid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where w.ev_class = 'pg_temp.compared'::pg_catalog.regclass and c.oid <> w.ev_class
  group by w.oid, d.classid, d.refclassid, c.oid, c.relname, n.nspname`;

for (const version of [18, 15] as const) {
  describe(`facts and PostgreSQL ${version}`, () => {
    let server: BackendServer;
    let client: Client;
    let catalogue: Catalogue;
    let compared = 0;
    let views = 0;
    const refusals: string[] = [];
    const differences: string[] = [];

    before(async () => {
      await loadModule();
      server = await startBackendServer({ version, authentication: 'trust' });
      const { host, port, user } = server;
      client = new Client({ host, port, user, database: 'postgres' });
      await client.connect();
      await client.query(schemaDefinition);
      const built = buildCatalogue(await queryCatalogue(client));
      assert.ok(built instanceof Catalogue);
      catalogue = built;
      const count = scaled(2_000);
      for (let seed = 0; seed < count; seed += 1) {
        const random = new Random(seed);
        const situation = random.pick(situations);
        const statement = new StatementGenerator(random, version, situation).statement();
        const answer = await ask(client, situation, statement);
        if (typeof answer === 'string') {
          refusals.push(`seed ${seed}: ${answer}: ${statement.text}`);
          continue;
        }
        compared += 1;
        if (answer.depended) views += 1;
        const found = differencesOf(factsOf(statement.text, situation, catalogue), answer);
        const { role, path } = situation;
        if (found.length > 0)
          differences.push(
            `seed ${seed}, ${role}, path ${path.join()}: ${found.join('; ')}\n${statement.text}`,
          );
      }
    });
    after(async () => {
      await client.end();
      await server[Symbol.asyncDispose]();
    });

    test('nearly all generated statements are valid', (context) => {
      context.diagnostic(`${compared} compared, ${views} as views, ${refusals.length} refused`);
      assert.ok(refusals.length * 10 <= compared + refusals.length, refusals.join('\n'));
      assert.ok(views * 2 > compared);
    });

    test('the facts have what plans use and exactly what views depend on', () => {
      assert.equal(differences.length, 0, differences.slice(0, 20).join('\n\n'));
    });
  });
}

/** Has the server plan a statement and make a view of it; a text says why it refused. */
async function ask(
  client: Client,
  { role, path }: Situation,
  { explained, query }: GeneratedStatement,
): Promise<Answer | string> {
  const written = path.map((schema) => (schema === '$user' ? '"$user"' : quoted(schema)));
  await client.query(`begin; set local role ${role}; set local search_path = ${written.join()}`);
  try {
    const { rows } = await client.query<{ 'QUERY PLAN': unknown }>(
      `explain (verbose, format json) ${explained}`,
    );
    const planned = [...plannedIn(rows.map((row) => row['QUERY PLAN']))];
    if (query === undefined) return { planned, depended: undefined };
    await client.query(`create temp view compared as select exists (${query}) as found`);
    const depended = await client.query<[string, string[]]>({
      text: dependencies,
      rowMode: 'array',
    });
    return { planned, depended: new Map(depended.rows) };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await client.query('rollback');
  }
}

/** Walks a plan for the relations of its nodes. */
function* plannedIn(
  node: unknown,
  isTarget = false,
): Generator<{ readonly name: string; readonly isWritten: boolean }> {
  if (typeof node !== 'object' || node === null) return;
  const fields = new Map<string, unknown>(Object.entries(node));
  const name = fields.get('Relation Name');
  if (typeof name === 'string') {
    const schema = String(fields.get('Schema')).replace(/^pg_temp_\d+$/, 'pg_temp');
    const isWritten = isTarget || fields.get('Node Type') === 'ModifyTable';
    yield { name: `${schema}.${name}`, isWritten };
  }
  for (const [key, value] of fields)
    yield* plannedIn(value, key === 'Target Tables' || (isTarget && Array.isArray(node)));
}

function factsOf(
  text: string,
  { role, path }: Situation,
  catalogue: Catalogue,
): readonly TableFact[] {
  const [statement, ...more] = surveyTree(parseSync(text)).statements;
  assert.ok(statement && more.length === 0);
  const meaning = { searchPath: path, currentUser: role };
  const { facts, unknown } = resolveSurvey(statement, meaning, catalogue);
  assert.deepEqual(unknown, [], text);
  return facts.tables;
}

function differencesOf(tables: readonly TableFact[], { planned, depended }: Answer): string[] {
  const nameOf = (fact: TableFact): string => `${fact.schema ?? ''}.${fact.name}`;
  const all = new Set(tables.map(nameOf));
  const written = new Set(tables.filter(({ access }) => access === 'Write').map(nameOf));
  const found = planned
    .filter(({ name, isWritten }) => !(isWritten ? written : all).has(name))
    .map(({ name, isWritten }) => `the plan ${isWritten ? 'writes' : 'uses'} ${name}`);
  if (!depended) return found;
  const direct = tables.filter(({ access, through }) => access === 'Read' && !through);
  for (const [name, columns] of depended) {
    const fact = direct.find((one) => nameOf(one) === name);
    const missing = columns.filter(
      (column) => !fact?.columns.includes(column) && !fact?.columns.includes('*'),
    );
    if (!fact) found.push(`the view depends on ${name}`);
    else if (missing.length > 0) found.push(`the view depends on ${name}(${missing.join()})`);
  }
  // pg_depend leaves out what was made with the database.
  for (const fact of direct) {
    if (depended.has(nameOf(fact)) || fact.schema === 'pg_catalog') continue;
    if (!temporary.has(fact.name)) found.push(`the view does not depend on ${nameOf(fact)}`);
  }
  return found;
}
