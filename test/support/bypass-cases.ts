import { buildExecute, buildSync } from '#core/postgres/frontend.ts';
import { buildMessage } from '#core/postgres/reader.ts';
import { drop, effects, read, readings } from './bypass-texts.ts';
import { bind, parse } from './extended-query.ts';

/**
 * Texts are simple Queries; a step is sent at once, and read to its end. In texts `$DB`, `$FILE` and `$ROLE` stand for names
 * of the case's own. RECONNECT hangs up and logs in again; FUNCTION CALL and a name is that message.
 */
export type Step = string | Buffer | readonly (string | Buffer)[];

/** A way to get at what a policy keeps from the agent. */
export interface BypassCase {
  readonly what: string;
  readonly steps: readonly Step[];
  /** Further parameters of the startup message. */
  readonly startup?: Readonly<Record<string, string>>;
}

const sync = buildSync();
const run = buildExecute('', 0);
const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
/** A simple Query of bytes that are no text. */
const raw = (...parts: readonly (string | Buffer)[]): Buffer =>
  buildMessage(
    'Q',
    Buffer.concat([
      ...parts.map((part) => (typeof part === 'string' ? bytes(part) : part)),
      Buffer.of(0),
    ]),
  );
const prepared = (name: string, text: string): Buffer[] => [
  parse(name, text),
  bind(name),
  run,
  sync,
];

const ways: readonly BypassCase[] = [
  { what: 'salaries behind another statement', steps: [`SELECT 1; ${read}`] },
  { what: 'salaries behind many statements', steps: [`${'SELECT 1;'.repeat(500)} ${read}`] },
  { what: 'salaries with their database', steps: ['SELECT secret FROM "$DB".public.salaries'] },
  { what: '9 MiB that hide a DROP', steps: [`SELECT length('${'x'.repeat(9 << 20)}'); ${drop}`] },
  {
    what: '9 MiB that hide a DROP in a Parse',
    steps: [[...prepared('', `/*${'x'.repeat(9 << 20)}*/ ${drop}`)]],
  },
  {
    what: '300 KiB that hide a DROP',
    steps: [`SELECT length('${'x'.repeat(300 << 10)}'); ${drop}`],
  },
  {
    what: 'Parse now, Bind and Execute later',
    steps: [[parse('s', read), sync], 'SELECT 1', [bind('s'), run, sync]],
  },
  {
    what: 'Parse without a Sync before a Query',
    steps: [
      [parse('s', read), buildMessage('H'), sync],
      [bind('s', { portal: 'p' }), buildExecute('p', 0), sync],
    ],
  },
  {
    what: 'a name that is given again',
    steps: [
      [parse('s', 'SELECT 1'), sync],
      [buildMessage('C', bytes('S'), 's'), parse('s', read), bind('s'), run, sync],
    ],
  },
  {
    what: 'a name after DEALLOCATE ALL',
    steps: [
      [parse('s', 'SELECT item FROM orders'), sync],
      'DEALLOCATE ALL',
      [parse('s', read), bind('s'), run, sync],
    ],
  },
  {
    what: 'a name after DISCARD ALL',
    steps: [
      [parse('s', 'SELECT item FROM orders'), sync],
      'DISCARD ALL',
      [parse('s', read), bind('s'), run, sync],
    ],
  },
  {
    what: 'a name that SQL gives again',
    steps: [
      [parse('s', 'SELECT item FROM orders'), sync],
      'DEALLOCATE s',
      `PREPARE s AS ${read}`,
      [bind('s'), run, sync],
    ],
  },
  {
    what: 'a name that SQL gives again, pipelined',
    steps: [
      [
        parse('s', 'SELECT item FROM orders'),
        sync,
        'DEALLOCATE s',
        `PREPARE s AS ${read}`,
        bind('s'),
        run,
        sync,
      ],
    ],
  },
  { what: 'PREPARE and EXECUTE', steps: [`PREPARE s AS ${read}`, 'EXECUTE s'] },
  { what: 'PREPARE and EXECUTE in one', steps: [`PREPARE s AS ${read}; EXECUTE s`] },
  {
    what: 'PREPARE, and EXPLAIN ANALYZE EXECUTE',
    steps: ['PREPARE s AS DELETE FROM victim', 'EXPLAIN ANALYZE EXECUTE s'],
  },
  {
    what: 'PREPARE, and CREATE TABLE AS EXECUTE',
    steps: [`PREPARE s AS ${read}`, 'CREATE TEMP TABLE c AS EXECUTE s', 'TABLE c'],
  },
  { what: 'Parse, and EXECUTE', steps: [[parse('s', read), sync], 'EXECUTE s'] },
  {
    what: 'PREPARE in a Parse, and Bind',
    steps: [[...prepared('', `PREPARE s AS ${read}`)], [bind('s'), run, sync]],
  },
  {
    what: 'PREPARE by a name in other letters',
    steps: [`PREPARE "S" AS ${read}`, 'PREPARE s AS SELECT item FROM orders', 'EXECUTE "S"'],
  },
  {
    what: 'PREPARE whose meaning moves',
    steps: ['PREPARE s AS SELECT item FROM orders', 'SET search_path = other', 'EXECUTE s'],
  },
  {
    what: 'Parse whose meaning moves',
    steps: [
      [parse('s', 'SELECT item FROM orders'), sync],
      'SET search_path = other',
      [bind('s'), run, sync],
    ],
  },
  { what: 'code at Bind', steps: [[parse('s', 'SELECT calm(1)'), bind('s'), sync]] },
  {
    what: 'code at Bind, bound later',
    steps: [
      [parse('s', 'SELECT calm(1) FROM orders'), sync],
      [bind('s'), sync],
    ],
  },
  {
    what: 'code at Bind, with a parameter',
    steps: [[parse('s', 'SELECT calm($1)', [23]), bind('s', { values: [bytes('1')] }), sync]],
  },
  { what: 'DECLARE and FETCH', steps: [`BEGIN; DECLARE c CURSOR FOR ${read}`, 'FETCH ALL FROM c'] },
  {
    what: 'DECLARE and Execute',
    steps: [`BEGIN; DECLARE c CURSOR FOR ${read}`, [buildExecute('c', 0), sync]],
  },
  {
    what: 'DECLARE WITH HOLD',
    steps: [`DECLARE c CURSOR WITH HOLD FOR ${read}`, 'FETCH ALL FROM c'],
  },
  {
    what: 'DECLARE, and XML',
    steps: [`BEGIN; DECLARE c CURSOR FOR ${read}`, `SELECT cursor_to_xml('c', 9, true, false, '')`],
  },
  { what: 'CREATE TABLE AS', steps: ['CREATE TABLE c AS TABLE salaries', 'TABLE c'] },
  { what: 'SELECT INTO', steps: ['SELECT secret INTO c FROM salaries', 'TABLE c'] },
  { what: 'CREATE VIEW', steps: [`CREATE VIEW c AS ${read}`, 'TABLE c'] },
  {
    what: 'a temporary view of the name orders',
    steps: [`CREATE TEMP VIEW orders AS ${read}`, 'TABLE orders'],
  },
  {
    what: 'a temporary view in the same text',
    steps: [`CREATE TEMP VIEW orders AS ${read}; TABLE orders`],
  },
  { what: 'CREATE MATERIALIZED VIEW', steps: [`CREATE MATERIALIZED VIEW c AS ${read}`, 'TABLE c'] },
  {
    what: 'a rule that reads',
    steps: [
      `CREATE TABLE c (secret text); CREATE RULE "_RETURN" AS ON SELECT TO c DO INSTEAD ${read}`,
      `CREATE RULE r AS ON INSERT TO orders DO ALSO ${read}`,
      `INSERT INTO orders VALUES (8, '')`,
    ],
  },
  {
    what: 'a policy with a subquery',
    steps: [`CREATE TABLE c (LIKE salaries INCLUDING ALL); INSERT INTO c TABLE salaries; TABLE c`],
  },
  {
    what: 'INSERT, then read',
    steps: ['INSERT INTO orders SELECT 9, secret FROM salaries', 'TABLE orders'],
  },
  {
    what: 'INHERIT',
    steps: ['CREATE TABLE c (id int, secret text)', 'ALTER TABLE salaries INHERIT c', 'TABLE c'],
  },
  {
    what: 'ATTACH PARTITION',
    steps: [
      'CREATE TABLE c (id int, secret text) PARTITION BY LIST (id)',
      'ALTER TABLE salaries NO INHERIT people; ALTER TABLE c ATTACH PARTITION salaries DEFAULT',
      'TABLE c',
    ],
  },
  { what: 'RENAME', steps: ['ALTER TABLE salaries RENAME TO wages', 'TABLE wages'] },
  {
    what: 'RENAME in a transaction',
    steps: [
      'BEGIN',
      'ALTER TABLE orders RENAME TO o',
      'ALTER TABLE salaries RENAME TO orders',
      'TABLE orders',
    ],
  },
  {
    what: 'RENAME in one text',
    steps: ['ALTER TABLE orders RENAME TO o; ALTER TABLE salaries RENAME TO orders; TABLE orders'],
  },
  {
    what: 'RENAME of a schema',
    steps: [
      'ALTER SCHEMA public RENAME TO p',
      'ALTER SCHEMA other RENAME TO public',
      'TABLE orders',
    ],
  },
  {
    what: 'RENAME of a schema in a transaction',
    steps: [
      'BEGIN',
      'ALTER SCHEMA public RENAME TO p',
      'ALTER SCHEMA other RENAME TO public',
      'TABLE orders',
    ],
  },
  {
    what: 'SET SCHEMA',
    steps: [
      'ALTER TABLE orders SET SCHEMA hr',
      'ALTER VIEW other.orders SET SCHEMA public',
      'TABLE orders',
    ],
  },
  {
    what: 'DROP of what hides another',
    steps: ['SET search_path = public, other', 'BEGIN', 'DROP TABLE orders', 'TABLE orders'],
  },
  {
    what: 'DROP of what hides another, in one text',
    steps: ['SET search_path = public, other', 'DROP TABLE orders; TABLE orders'],
  },
  {
    what: 'a temporary table that goes',
    steps: [
      'SET search_path = other',
      'CREATE TEMP TABLE orders (id int)',
      'TABLE orders',
      'BEGIN; DROP TABLE pg_temp.orders',
      'TABLE orders',
    ],
  },
  {
    what: 'a temporary table that goes at COMMIT',
    steps: [
      'SET search_path = other',
      'BEGIN; CREATE TEMP TABLE orders (id int) ON COMMIT DROP',
      'COMMIT',
      'TABLE orders',
    ],
  },
  {
    what: 'a temporary table that goes by DISCARD',
    steps: [
      'SET search_path = other',
      'CREATE TEMP TABLE orders (id int)',
      'DISCARD TEMP',
      'TABLE orders',
    ],
  },
  {
    what: 'a temporary table that goes by ROLLBACK',
    steps: [
      'SET search_path = other',
      'BEGIN; CREATE TEMP TABLE orders (id int)',
      'ROLLBACK',
      'TABLE orders',
    ],
  },
  { what: 'SET search_path', steps: ['SET search_path = other', 'TABLE orders'] },
  { what: 'SET search_path in one text', steps: ['SET search_path = other; TABLE orders'] },
  { what: 'SET search_path, pipelined', steps: [['SET search_path = other', 'TABLE orders']] },
  {
    what: 'SET search_path by Parse, pipelined',
    steps: [[...prepared('', 'SET search_path = other'), ...prepared('', 'TABLE orders')]],
  },
  {
    what: 'SET search_path by Parse, without a Sync between',
    steps: [
      [
        parse('a', 'SET search_path = other'),
        bind('a'),
        run,
        parse('b', 'TABLE orders'),
        bind('b'),
        run,
        sync,
      ],
    ],
  },
  {
    what: 'SET LOCAL search_path',
    steps: ['BEGIN', 'SET LOCAL search_path = other', 'TABLE orders'],
  },
  {
    what: 'SET search_path that a ROLLBACK takes back',
    steps: [
      'SET search_path = other',
      'BEGIN',
      'SET search_path = public',
      'ROLLBACK',
      'TABLE orders',
    ],
  },
  {
    what: 'SET search_path that a savepoint takes back',
    steps: [
      'SET search_path = other',
      'BEGIN',
      'SAVEPOINT s',
      'SET search_path = public',
      'ROLLBACK TO s',
      'TABLE orders',
    ],
  },
  {
    what: 'SET search_path that the same text takes back',
    steps: ['SET search_path = other', 'BEGIN; SET search_path = public', 'ROLLBACK; TABLE orders'],
  },
  {
    what: 'set_config of search_path',
    steps: [`SELECT set_config('search_path', 'other', false)`, 'TABLE orders'],
  },
  {
    what: 'set_config of a built name',
    steps: [`SELECT set_config('search' || '_path', 'other', false)`, 'TABLE orders'],
  },
  {
    what: 'set_config, pipelined',
    steps: [[`SELECT set_config('search' || '_path', 'other', false)`, 'TABLE orders']],
  },
  {
    what: 'UPDATE of pg_settings',
    steps: [`UPDATE pg_settings SET setting = 'other' WHERE name = 'search_path'`, 'TABLE orders'],
  },
  { what: 'SET SCHEMA as a setting', steps: [`SET SCHEMA 'other'`, 'TABLE orders'] },
  {
    what: 'search_path in options',
    steps: ['TABLE orders'],
    startup: { options: '-c search_path=other' },
  },
  { what: 'search_path at the login', steps: ['TABLE orders'], startup: { search_path: 'other' } },
  {
    what: 'ALTER DATABASE SET search_path',
    steps: ['ALTER DATABASE "$DB" SET search_path = other', 'RECONNECT', 'TABLE orders'],
  },
  {
    what: 'a schema of the name $user',
    steps: [
      'CREATE SCHEMA postgres',
      'ALTER VIEW other.orders SET SCHEMA postgres',
      'TABLE orders',
    ],
  },
  {
    what: 'SET ROLE with a schema of its name',
    steps: [
      'CREATE ROLE $ROLE SUPERUSER; ALTER SCHEMA other RENAME TO $ROLE',
      'SET ROLE $ROLE',
      'TABLE orders',
    ],
  },
  {
    what: 'standard_conforming_strings, pipelined',
    steps: [
      [
        'SET standard_conforming_strings = off',
        `SELECT '\\', ' ; SELECT secret FROM salaries --'`,
        `SELECT '\\'', secret FROM salaries --'`,
      ],
    ],
  },
  {
    what: 'standard_conforming_strings in one text',
    steps: [
      `SET standard_conforming_strings = off; SELECT 1`,
      `SELECT item || '\\'' , (${read}) || '--' FROM orders`,
    ],
  },
  {
    what: 'standard_conforming_strings by set_config',
    steps: [
      [
        `SELECT set_config('standard_conforming_strings', 'off', false)`,
        `SELECT '\\'', secret FROM salaries --'`,
      ],
    ],
  },
  {
    what: 'standard_conforming_strings in options',
    steps: [`SELECT '\\'', secret FROM salaries --'`],
    startup: { options: '-c standard_conforming_strings=off' },
  },
  {
    what: 'standard_conforming_strings at the login',
    steps: [`SELECT '\\'', secret FROM salaries --'`],
    startup: { standard_conforming_strings: 'off' },
  },
  {
    what: 'standard_conforming_strings of the database',
    steps: [
      'ALTER DATABASE "$DB" SET standard_conforming_strings = off',
      'RECONNECT',
      `SELECT '\\'', secret FROM salaries --'`,
    ],
  },
  {
    what: 'standard_conforming_strings of the role',
    steps: [
      `CREATE ROLE $ROLE SUPERUSER; ALTER ROLE postgres IN DATABASE "$DB" SET standard_conforming_strings = off`,
      'RECONNECT',
      `SELECT '\\'', secret FROM salaries --'`,
    ],
  },
  {
    what: 'standard_conforming_strings, extended and pipelined',
    steps: [
      [
        parse('a', 'SET standard_conforming_strings = off'),
        bind('a'),
        run,
        parse('b', `SELECT '\\'', secret FROM salaries --'`),
        bind('b'),
        run,
        sync,
      ],
    ],
  },
  {
    what: 'SJIS, whose characters hold backslashes',
    steps: [
      `SET client_encoding = 'SJIS'`,
      raw(`SELECT E'`, Buffer.of(0x83, 0x5c), `', secret FROM salaries --'`),
    ],
  },
  {
    what: 'SJIS, pipelined',
    steps: [
      [
        `SET client_encoding = 'SJIS'`,
        raw(`SELECT E'`, Buffer.of(0x83, 0x5c), `', secret FROM salaries --'`),
      ],
    ],
  },
  {
    what: 'BIG5, whose characters hold backslashes',
    steps: [
      `SET client_encoding = 'BIG5'`,
      raw(`SELECT E'`, Buffer.of(0xa5, 0x5c), `', secret FROM salaries --'`),
    ],
  },
  {
    what: 'GBK at the login',
    steps: [raw(`SELECT E'`, Buffer.of(0x81, 0x5c), `', secret FROM salaries --'`)],
    startup: { client_encoding: 'GBK' },
  },
  {
    what: 'LATIN1',
    steps: [
      `SET client_encoding = 'LATIN1'`,
      raw(`SELECT '`, Buffer.of(0xe9), `', secret FROM salaries`),
    ],
  },
  {
    what: 'a function by its OID',
    steps: ['FUNCTION CALL zap'],
  },
  {
    what: 'LISTEN before, NOTIFY with what is read',
    steps: ['LISTEN c', `SELECT pg_notify('c', (${read}))`],
  },
  {
    what: 'a large object',
    steps: [
      `SELECT lo_from_bytea(4711, convert_to((${read}), 'UTF8'))`,
      "SELECT convert_from(lo_get(4711), 'UTF8')",
    ],
  },
  {
    what: 'a savepoint and an error',
    steps: ['BEGIN', 'SAVEPOINT s', read, 'ROLLBACK TO s', read, 'COMMIT'],
  },
  {
    what: 'a transaction that has failed',
    steps: ['BEGIN', 'SELECT 1/0', 'ROLLBACK; TABLE salaries'],
  },
  {
    what: 'a domain with a check',
    steps: ['CREATE DOMAIN d AS int CHECK (zap() > 0)', `SELECT 1::d`],
  },
  {
    what: 'a cast',
    steps: [
      `CREATE TYPE t AS (a int); CREATE FUNCTION to_t(int) RETURNS t LANGUAGE sql AS 'SELECT ROW(zap())::t'; CREATE CAST (int AS t) WITH FUNCTION to_t(int)`,
      'SELECT 1::t',
    ],
  },
  { what: 'an index with a function', steps: ['CREATE INDEX ON orders (calm(id))'] },
  { what: 'a default', steps: ['ALTER TABLE orders ADD COLUMN c int DEFAULT zap()'] },
  {
    what: 'an aggregate of its own',
    steps: [
      `CREATE AGGREGATE mine (int) (SFUNC = zaps, STYPE = int, INITCOND = '0')`,
      'SELECT mine(id) FROM orders',
    ],
  },
  {
    what: 'an operator of its own',
    steps: [
      'CREATE OPERATOR <#> (LEFTARG = int, RIGHTARG = int, FUNCTION = zaps)',
      'SELECT 1 <#> 2',
    ],
  },
  {
    what: 'a function that another schema brings',
    steps: [
      `CREATE OR REPLACE FUNCTION other.lower(text) RETURNS text LANGUAGE sql AS 'SELECT public.zap()::text'`,
      'SET search_path = other, pg_catalog',
      `SELECT lower('A'::text)`,
    ],
  },
];

/** Every case under rules about tables, functions and commands. */
export const bypassCases: readonly BypassCase[] = [
  ...readings.flatMap(([what, text]) => [
    { what: `salaries ${what}`, steps: [text] },
    { what: `salaries ${what}, by Parse`, steps: [[...prepared('', text)]] },
  ]),
  ...effects.map(([what, text]) => ({ what: `victim by ${what}`, steps: [text] })),
  ...ways,
];
