import { buildExecute, buildSync } from '#core/postgres/frontend.ts';
import { buildMessage, int16, int32 } from '#core/postgres/reader.ts';
import { bind, parse } from './extended-query.ts';

/** A try to become bob. Texts are simple Queries; each step is sent at once. RECONNECT logs in again. */
export interface PinnedTry {
  readonly what: string;
  readonly steps: readonly (string | readonly (string | Buffer)[])[];
  readonly startup?: Readonly<Record<string, string>>;
  /** Whether PostgreSQL itself keeps the setting from being changed so. */
  readonly inVain?: true;
}

/** What the tries find: rows that only their owner sees, and a role that may define what it likes. */
export const pinnedDatabase = `
  CREATE ROLE other;
  CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'kept' IN ROLE other;
  ALTER DATABASE postgres OWNER TO keeper;
  CREATE TABLE notes (owner text, body text);
  INSERT INTO notes VALUES ('alice', 'body of alice'), ('bob', 'body of bob');
  ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON notes USING (owner = current_setting('app.agent'));
`;

/** What keeper has, and loses with all that it owns. */
export const pinnedRights = `
  GRANT ALL ON SCHEMA public TO keeper;
  GRANT SELECT ON notes TO keeper, other;
  GRANT SET ON PARAMETER app.agent TO keeper;
  CREATE FUNCTION mine() RETURNS SETOF text LANGUAGE sql AS 'SELECT body FROM notes';
  ALTER FUNCTION mine() OWNER TO keeper;
`;

const sync = buildSync();
const run = buildExecute('', 0);
const text = (value: string): Buffer => Buffer.from(value);
const prepared = (query: string): Buffer[] => [parse('', query), bind(''), run, sync];
const call = `set_config('app.agent', 'bob', false)`;
const change = `SELECT ${call}`;

const texts: readonly [what: string, ...steps: (string | readonly (string | Buffer)[])[]][] = [
  ['SET', `SET app.agent = 'bob'`],
  ['SET TO', `SET app.agent TO bob`],
  ['SET SESSION', `SET SESSION app.agent = 'bob'`],
  ['SET LOCAL', 'BEGIN', `SET LOCAL app.agent = 'bob'`],
  ['SET in capitals', `SET APP.AGENT = 'bob'`],
  ['SET with quotes', `SET "app"."agent" = 'bob'`],
  ['SET with quotes and capitals', `SET "App.Agent" = 'bob'`],
  ['SET with half of it in quotes', `SET app."AGENT" = 'bob'`],
  ['SET in escaped Unicode', `SET U&"app\\002eagent" = 'bob'`],
  ['SET behind a comment', `/* RESET */ SET/**/app . agent='bob'--`],
  ['SET behind another', `SELECT 1; SET app.agent = 'bob'`],
  ['SET by Parse', [...prepared(`SET app.agent = 'bob'`)]],
  ['SET, pipelined', ['SELECT 1', `SET app.agent = 'bob'`, 'SELECT mine()']],
  [
    'SET by Parse, pipelined',
    [
      parse('', 'SELECT 1'),
      bind(''),
      run,
      parse('', `SET app.agent = 'bob'`),
      bind(''),
      run,
      parse('', 'SELECT mine()'),
      bind(''),
      run,
      sync,
    ],
  ],
  ['SET and a read in one text', `SET app.agent = 'bob'; SELECT mine(); RESET app.agent`],
  ['SET that is rolled back', 'BEGIN', `SET app.agent = 'bob'`, 'SELECT mine()', 'ROLLBACK'],
  [
    'SET within a savepoint',
    'BEGIN; SAVEPOINT s',
    `SET app.agent = 'bob'`,
    'RELEASE s',
    'SELECT mine()',
  ],
  [
    'SET that a savepoint takes back',
    'BEGIN; SAVEPOINT s',
    `SET app.agent = 'bob'`,
    'SELECT mine()',
    'ROLLBACK TO s',
  ],
  ['set_config', change],
  [
    'set_config in a transaction',
    'BEGIN',
    `SELECT set_config('app.agent', 'bob', true)`,
    'SELECT mine()',
  ],
  ['set_config with its schema', `SELECT pg_catalog.${call}`],
  ['set_config in quotes', `SELECT "pg_catalog"."set_config"('App.AGENT', 'bob', false)`],
  ['set_config in escaped Unicode', `SELECT U&"set\\005fconfig"('app.agent', 'bob', false)`],
  ['set_config of a built name', `SELECT set_config('app' || '.agent', 'bob', false)`],
  ['set_config of an escaped name', `SELECT set_config(E'app\\x2eagent', 'bob', false)`],
  ['set_config of a name in dollars', `SELECT set_config($a$app.agent$a$, 'bob', false)`],
  [
    'set_config of a name in Unicode',
    `SELECT set_config(U&'app!002eagent' UESCAPE '!', 'bob', false)`,
  ],
  ['set_config of a cast name', `SELECT set_config('app.agent'::varchar, 'bob', false)`],
  [
    'set_config of a name that its cast cuts',
    `SELECT set_config('app.agent-not'::varchar(9), 'bob', false)`,
  ],
  [
    'set_config of a column',
    `SELECT set_config(n, 'bob', false) FROM (VALUES ('app.agent')) v (n)`,
  ],
  [
    'set_config of several',
    `SELECT set_config(n, 'bob', false) FROM unnest(ARRAY['a.b', 'app.agent']) v (n)`,
  ],
  ['set_config in FROM', `SELECT * FROM ${call}`],
  ['set_config in WHERE', `SELECT 1 WHERE ${call} = 'bob'`],
  ['set_config in the same query', `SELECT body FROM notes WHERE ${call} = 'bob'`],
  ['set_config in a CTE', `WITH w AS MATERIALIZED (${change} AS v) SELECT v, mine() FROM w`],
  ['set_config in ORDER BY', `SELECT 1 ORDER BY ${call}`],
  ['set_config in LIMIT', `SELECT 1 LIMIT length(${call})`],
  ['set_config in CASE', `SELECT CASE WHEN ${call} = 'bob' THEN 1 END`],
  ['set_config in VALUES', `VALUES (${call})`],
  ['set_config in an aggregate', `SELECT max(${call})`],
  ['set_config in a subquery', `SELECT (${change})`],
  ['set_config in EXPLAIN ANALYZE', `EXPLAIN ANALYZE ${change}`],
  ['set_config in COPY', `COPY (${change}) TO STDOUT`],
  ['set_config in CREATE TABLE AS', `CREATE TEMP TABLE t AS ${change}`],
  ['set_config in INSERT', 'CREATE TEMP TABLE t (v text)', `INSERT INTO t ${change}`],
  [
    'set_config in RETURNING',
    'CREATE TEMP TABLE t (v text)',
    `INSERT INTO t VALUES ('') RETURNING ${call}`,
  ],
  [
    'set_config in a default',
    `CREATE TEMP TABLE t (a int, v text DEFAULT ${call})`,
    'INSERT INTO t VALUES (1)',
  ],
  [
    'set_config in a check',
    `CREATE TEMP TABLE t (v text CHECK (${call} = 'bob'))`,
    `INSERT INTO t VALUES ('')`,
  ],
  [
    'set_config in a domain',
    `CREATE DOMAIN d AS text CHECK (set_config('app.agent', VALUE, false) IS NOT NULL)`,
    `SELECT 'bob'::d`,
  ],
  [
    'set_config in a view',
    `CREATE TEMP VIEW v AS SELECT set_config('app.agent', 'bob', false) AS v`,
    'TABLE v',
  ],
  [
    'set_config in a rule',
    'CREATE TABLE r (v text)',
    `CREATE RULE r AS ON INSERT TO r DO INSTEAD ${change}`,
    `INSERT INTO r VALUES ('')`,
  ],
  [
    'set_config in an aggregate of its own',
    `CREATE AGGREGATE agg (text, boolean) (SFUNC = set_config, STYPE = text, INITCOND = 'app.agent')`,
    `SELECT agg('bob', false)`,
  ],
  ['set_config by a cursor', `BEGIN; DECLARE c CURSOR FOR ${change}`, 'FETCH ALL FROM c'],
  [
    'set_config by a cursor that is executed',
    `BEGIN; DECLARE c CURSOR FOR ${change}`,
    [buildExecute('c', 0), sync],
  ],
  [
    'set_config by XML',
    `SELECT query_to_xml('SELECT set_config(''app.agent'', ''bob'', false)', true, false, '')`,
  ],
  [
    'set_config by text search',
    `SELECT * FROM ts_stat('SELECT to_tsvector(set_config(''app.agent'', ''bob'', false))')`,
  ],
  ['set_config by Parse', [...prepared(change)]],
  [
    'set_config of a parameter',
    [parse('s', 'SELECT set_config($1, $2, false)'), sync],
    [bind('s', { values: [text('app.agent'), text('bob')] }), run, sync],
  ],
  [
    'set_config of a parameter, at once',
    [
      parse('', 'SELECT set_config($1, $2, false)'),
      bind('', { values: [text('app.agent'), text('bob')] }),
      run,
      sync,
    ],
  ],
  [
    'set_config by PREPARE',
    `PREPARE p (text) AS SELECT set_config($1, 'bob', false)`,
    `EXECUTE p('app.agent')`,
  ],
  ['set_config by PREPARE, and Bind', `PREPARE p AS ${change}`, [bind('p'), run, sync]],
  ['set_config by Parse, and EXECUTE', [parse('p', change), sync], 'EXECUTE p'],
  [
    'set_config by its OID',
    [
      buildMessage(
        'F',
        int32(2078),
        int16(0),
        int16(3),
        ...['app.agent', 'bob', 'f'].flatMap((value) => [int32(value.length), text(value)]),
        int16(0),
      ),
    ],
  ],
  ['set_config in a long text', `SELECT '${'x'.repeat(300 << 10)}', ${call}`],
  ['set_config in a text of 9 MiB', `SELECT '${'x'.repeat(9 << 20)}', ${call}`],
  ['set_config in a long Parse', [...prepared(`/* ${'x'.repeat(9 << 20)} */ ${change}`)]],
  ['set_config in a deep text', `SELECT ${'('.repeat(500)}${call}${')'.repeat(500)}`],
  [
    'set_config where strings mean something else',
    ['SET standard_conforming_strings = off', `SELECT '\\'', ${call} --'`],
  ],
  [
    'set_config in SJIS',
    `SET client_encoding = 'SJIS'`,
    [
      buildMessage(
        'Q',
        Buffer.concat([text(`SELECT E'`), Buffer.of(0x83, 0x5c), text(`', ${call} --'\0`)]),
      ),
    ],
  ],
  ['DO', `DO $$ BEGIN PERFORM ${call}; END $$`],
  ['DO of a built text', `DO $$ BEGIN EXECUTE 'SET app' || '.agent = bob'; END $$`],
  ['a function', `CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ ${change} $$`, 'SELECT f()'],
  [
    'a temporary function',
    `CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS $$ ${change} $$`,
    'SELECT pg_temp.f()',
  ],
  [
    'a function in one text',
    `CREATE FUNCTION f2() RETURNS text LANGUAGE sql AS $$ ${change} $$; SELECT f2()`,
  ],
  [
    'a function of SQL that is read',
    `CREATE FUNCTION f3() RETURNS text RETURN ${call}`,
    'SELECT f3()',
  ],
  ['a procedure', `CREATE PROCEDURE p() LANGUAGE sql AS $$ ${change} $$`, 'CALL p()'],
  [
    'a function with SET',
    `CREATE FUNCTION f4() RETURNS SETOF text LANGUAGE sql SET app.agent = 'bob' AS 'SELECT body FROM notes'`,
    'SELECT f4()',
  ],
  [
    'ALTER FUNCTION SET',
    `ALTER FUNCTION mine() SET app.agent = 'bob'`,
    'SELECT mine()',
    'ALTER FUNCTION mine() RESET ALL',
  ],
  [
    'ALTER ROUTINE SET',
    `ALTER ROUTINE mine SET app.agent TO 'bob'`,
    'SELECT mine()',
    'ALTER FUNCTION mine() RESET ALL',
  ],
  [
    'a trigger',
    'CREATE TEMP TABLE t (v text)',
    `CREATE FUNCTION pg_temp.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM ${call}; RETURN NEW; END $$`,
    'CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION pg_temp.t()',
    `INSERT INTO t VALUES ('')`,
  ],
  ['SET TO DEFAULT', `SET app.agent TO DEFAULT; SET app.agent = 'bob'`],
];

/** Where PostgreSQL keeps the setting; the last of them in those versions alone that have the grammar of 16. */
const vain: readonly [what: string, ...steps: (string | readonly (string | Buffer)[])[]][] = [
  ['RESET', 'RESET app.agent'],
  [
    'set_config of named arguments',
    `SELECT set_config(new_value => 'bob', is_local => false, setting_name => 'app.agent')`,
  ],
  [
    'RESET to a value of the role',
    `ALTER ROLE keeper SET app.agent = 'bob'`,
    'SET app.agent TO DEFAULT',
  ],
  ['RESET ALL', 'RESET ALL'],
  ['DISCARD ALL', 'DISCARD ALL'],
  ['RESET SESSION AUTHORIZATION', 'RESET SESSION AUTHORIZATION'],
  ['SET FROM CURRENT', 'SET app.agent FROM CURRENT'],
  ['ALTER ROLE SET', `ALTER ROLE keeper SET app.agent = 'bob'`, 'RECONNECT'],
  [
    'ALTER ROLE SET, and RESET',
    `ALTER ROLE keeper SET app.agent = 'bob'`,
    'RECONNECT',
    'RESET ALL',
  ],
  [
    'ALTER ROLE IN DATABASE SET',
    `ALTER ROLE keeper IN DATABASE postgres SET app.agent = 'bob'`,
    'RECONNECT',
    'DISCARD ALL',
  ],
  [
    'ALTER DATABASE SET',
    `ALTER DATABASE postgres SET app.agent = 'bob'`,
    'RECONNECT',
    'RESET app.agent',
  ],
  [
    'ALTER SYSTEM SET',
    `ALTER SYSTEM SET app.agent = 'bob'`,
    'SELECT pg_reload_conf()',
    'RECONNECT',
  ],
  ['UPDATE of pg_settings', `UPDATE pg_settings SET setting = 'bob' WHERE name = 'app.agent'`],
  ['SET ROLE and back', 'SET ROLE other', 'RESET ROLE'],
  ['SET ROLE with a setting', `ALTER ROLE other SET app.agent = 'bob'`, 'SET ROLE other'],
  ['SET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION other', 'RESET ALL'],
  ['row security off', 'SET row_security = off', 'RESET row_security'],
  ['a word that is no name any more', `SELECT ${call}, mine() FROM (SELECT 1) system_user`],
  ['a NUL', [buildMessage('Q', text(`SELECT 1\0; ${change}\0`))]],
];

/** Every try that is made within a session, or by a startup message. */
export const pinnedTries: readonly PinnedTry[] = [
  ...texts.map(([what, ...steps]) => ({ what, steps })),
  ...vain.map(([what, ...steps]) => ({ what, steps, inVain: true as const })),
];

/** Startup messages that wish for a value; each is refused. */
export const pinnedStartups: readonly [what: string, startup: Readonly<Record<string, string>>][] =
  [
    ['a parameter', { 'app.agent': 'bob' }],
    ['a parameter in capitals', { 'App.Agent': 'bob' }],
    ['-c', { options: '-c app.agent=bob' }],
    ['-c without a space', { options: '-capp.agent=bob' }],
    ['-c behind others', { options: '-c geqo=off  -c\tapp.agent=bob' }],
    ['--', { options: '--app.agent=bob' }],
    ['-- in capitals', { options: '--APP.AGENT=bob' }],
    ['-c with a backslash', { options: '-c app\\.agent=bob' }],
    ['-c with a backslash within', { options: '\\-c a\\pp.agent=bob' }],
    ['options that are joined', { options: '-Bc app.agent=bob' }],
    ['options that hold others', { options: '-c geqo=off -e -c app.agent=bob' }],
  ];
