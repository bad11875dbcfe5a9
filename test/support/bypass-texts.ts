/** What `salaries` holds: it stands in no text that is sent. */
export const marker = 'MARKER-c41f09e7';

/** The database that every case finds: `orders` may be read, `salaries` not, and `victim` not be changed. */
export const hostileDatabase = `
  CREATE TABLE orders (id int PRIMARY KEY, item text);
  INSERT INTO orders VALUES (1, 'tea'), (2, 'mugs');
  CREATE TABLE people (id int, secret text);
  CREATE TABLE salaries () INHERITS (people);
  INSERT INTO salaries VALUES (1, '${marker}');
  CREATE TABLE staff (kind text, secret text) PARTITION BY LIST (kind);
  CREATE SCHEMA hr;
  CREATE TABLE hr.salaries PARTITION OF staff FOR VALUES IN ('paid');
  INSERT INTO staff VALUES ('paid', '${marker}');
  CREATE VIEW pay AS SELECT * FROM salaries;
  CREATE VIEW pay_of_pay AS SELECT secret FROM pay;
  CREATE MATERIALIZED VIEW stored_pay AS SELECT id FROM salaries;
  CREATE SCHEMA other;
  CREATE VIEW other.orders AS SELECT id, secret AS item FROM public.salaries;
  CREATE TABLE victim (id int);
  INSERT INTO victim VALUES (1);
  CREATE FUNCTION zap() RETURNS int LANGUAGE plpgsql AS 'BEGIN DROP TABLE IF EXISTS public.victim; RETURN 1; END';
  CREATE FUNCTION calm(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT public.zap()';
  CREATE FUNCTION zaps(int, int) RETURNS int LANGUAGE sql AS 'SELECT public.zap()';
  CREATE OPERATOR @#@ (LEFTARG = int, RIGHTARG = int, FUNCTION = zaps);
  CREATE FUNCTION leak() RETURNS SETOF text LANGUAGE sql AS 'SELECT secret FROM public.salaries';
  CREATE AGGREGATE zap_all (int) (SFUNC = zaps, STYPE = int, INITCOND = '0');
  CREATE PROCEDURE zap_now() LANGUAGE sql AS 'DROP TABLE public.victim';
`;

/** Reads what may not be read. */
export const read = 'SELECT secret FROM salaries';
/** Drops what may not be changed. */
export const drop = 'DROP TABLE victim';
/** Queries of one statement that read `salaries`. */
export const readings: readonly [what: string, text: string][] = [
  ['named plainly', read],
  ['TABLE', 'TABLE salaries'],
  ['joined with orders', 'SELECT * FROM orders JOIN salaries USING (id)'],
  ['behind a comma', 'SELECT * FROM orders, salaries'],
  [
    'laterally',
    'SELECT * FROM orders o, LATERAL (SELECT secret FROM salaries s WHERE s.id = o.id) x',
  ],
  ['in a subquery', `SELECT (${read} LIMIT 1) FROM orders`],
  ['in EXISTS, told by a division', `SELECT item FROM orders WHERE (${read})::int = 1`],
  ['in a CTE', `WITH w AS (${read}) SELECT * FROM w`],
  ['in a CTE of the name orders', `WITH orders AS (${read}) SELECT * FROM orders`],
  [
    'in a CTE with the name of another',
    `WITH salaries AS (SELECT secret FROM public.salaries) TABLE salaries`,
  ],
  [
    'in a recursive CTE',
    `WITH RECURSIVE w AS (${read} UNION ALL SELECT secret FROM w WHERE false) TABLE w`,
  ],
  ['in a CTE that deletes', 'WITH w AS (DELETE FROM salaries RETURNING secret) SELECT * FROM w'],
  ['in a UNION', `SELECT item FROM orders UNION ALL ${read}`],
  ['in ORDER BY', `SELECT item, o FROM orders, (SELECT 1) x(o) ORDER BY (${read})::int`],
  ['in LIMIT', `SELECT item FROM orders LIMIT (${read})::int`],
  ['in VALUES', `VALUES ((${read}))`],
  ['in an array', `SELECT ARRAY(${read})`],
  ['in a window', `SELECT sum(1) OVER (PARTITION BY (${read})), (${read}) FROM orders`],
  ['in FILTER', `SELECT count(*) FILTER (WHERE (${read})::int > 1) FROM orders`],
  ['in TABLESAMPLE', 'SELECT secret FROM salaries TABLESAMPLE SYSTEM (100)'],
  ['in arguments of a function in FROM', `SELECT * FROM unnest(ARRAY(${read}))`],
  ['in ROWS FROM', `SELECT * FROM ROWS FROM (generate_series(1, 1), unnest(ARRAY(${read})))`],
  ['through a view', 'SELECT * FROM pay'],
  ['through a view of a view', 'SELECT * FROM pay_of_pay'],
  ['through a function', 'SELECT leak()'],
  ['through a function in FROM', 'SELECT * FROM leak()'],
  ['through a partitioned table', 'SELECT * FROM staff'],
  ['as a partition', 'SELECT * FROM hr.salaries'],
  ['through a parent', 'SELECT * FROM people'],
  ['ONLY', 'SELECT * FROM ONLY salaries'],
  ['with a star behind', 'SELECT * FROM salaries *'],
  ['in capitals', 'SELECT SECRET FROM SALARIES'],
  ['in quotes', 'SELECT "secret" FROM "public"."salaries"'],
  ['with its schema', 'SELECT secret FROM public . salaries'],
  ['in escaped Unicode', 'SELECT secret FROM U&"\\0073alaries"'],
  ['in long escaped Unicode', 'SELECT secret FROM U&"\\+000073alaries"'],
  ['in Unicode with an escape of its own', `SELECT secret FROM U&"!0073alaries" UESCAPE '!'`],
  ['behind a comment', '/* SELECT 1 */SELECT secret FROM/**/salaries--'],
  ['behind nested comments', '/* /* */ SELECT 1 -- */ SELECT secret FROM salaries'],
  ['behind a line comment', '-- SELECT 1\rSELECT secret FROM salaries'],
  ['behind a dollar quote', `SELECT $a$ -- $b$ $a$, secret FROM salaries -- $a$`],
  ['behind an escape string', `SELECT E'\\'', secret FROM salaries --'`],
  ['behind a backslash that is none', `SELECT '\\', secret FROM salaries --'`],
  ['behind strings that go on', `SELECT 'a'\n'b', secret FROM salaries`],
  ['as rows', 'SELECT s FROM salaries s'],
  ['as rows with fields', 'SELECT (s.*)::text FROM salaries s'],
  ['as JSON', 'SELECT to_json(salaries) FROM salaries'],
  ['by attribute notation', 'SELECT (salaries).secret FROM salaries'],
  ['joined by rows', 'SELECT o, s FROM orders o NATURAL FULL JOIN salaries s'],
  ['as XML by a text', `SELECT query_to_xml('${read}', true, false, '')`],
  [
    'as XML by a built text',
    `SELECT query_to_xml('select secret from sala' || 'ries', true, false, '')`,
  ],
  ['as XML by a name', `SELECT table_to_xml('salaries', true, false, '')`],
  ['as XML of the schema', `SELECT schema_to_xml('public', true, false, '')`],
  ['as XML of the database', `SELECT database_to_xml(true, false, '')`],
  [
    'by text search',
    `SELECT * FROM ts_stat('SELECT array_to_tsvector(array_agg(secret)) FROM salaries')`,
  ],
  [
    'by rewriting a text search',
    `SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, quote_literal(secret)::tsquery FROM salaries')`,
  ],
  ['COPY', 'COPY salaries TO STDOUT'],
  ['COPY of columns', 'COPY salaries (secret) TO STDOUT WITH (FORMAT csv)'],
  ['COPY of a query', `COPY (${read}) TO STDOUT`],
  [
    'EXPLAIN ANALYZE of a function',
    'EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM orders WHERE zap() > 0',
  ],
  ['RETURNING', 'UPDATE salaries SET id = 2 RETURNING secret'],
  [
    'UPDATE FROM',
    'UPDATE orders SET item = secret FROM salaries s WHERE s.id = orders.id RETURNING item',
  ],
  ['DELETE USING', 'DELETE FROM orders USING salaries s WHERE s.id = orders.id RETURNING secret'],
  ['INSERT SELECT', `INSERT INTO orders SELECT 9, secret FROM salaries RETURNING item`],
  [
    'ON CONFLICT',
    `INSERT INTO orders VALUES (1, '') ON CONFLICT (id) DO UPDATE SET item = (${read}) RETURNING item`,
  ],
  [
    'MERGE',
    `MERGE INTO orders o USING salaries s ON o.id = s.id WHEN MATCHED THEN UPDATE SET item = secret RETURNING secret`,
  ],
  ['in an error', `SELECT (${read})::int`],
];

/** Side effects, each by one text. */
export const effects: readonly [what: string, text: string][] = [
  ['DROP', drop],
  ['a function', 'SELECT zap()'],
  ['a function in WHERE', 'SELECT 1 FROM orders WHERE zap() = 1'],
  ['a function in quotes', 'SELECT "public"."zap"()'],
  ['a function in escaped Unicode', 'SELECT U&"\\007aap"()'],
  ['a function by named notation', 'SELECT zaps(1, 2)'],
  ['an operator', 'SELECT 1 @#@ 2'],
  ['a qualified operator', 'SELECT 1 OPERATOR(public.@#@) 2'],
  ['an aggregate', 'SELECT zap_all(id) FROM orders'],
  ['a procedure', 'CALL zap_now()'],
  ['a wrapper', 'SELECT calm(1)'],
  ['DO with a built text', `DO $$ BEGIN EXECUTE 'dr' || 'op table victim'; END $$`],
  [
    'CREATE FUNCTION and a call',
    `CREATE FUNCTION own() RETURNS int LANGUAGE plpgsql AS 'BEGIN DROP TABLE victim; RETURN 1; END'; SELECT own()`,
  ],
  [
    'a temporary function',
    `CREATE FUNCTION pg_temp.own() RETURNS int LANGUAGE plpgsql AS 'BEGIN DROP TABLE victim; RETURN 1; END'; SELECT pg_temp.own()`,
  ],
  [
    'a trigger',
    `CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DROP TABLE IF EXISTS victim; RETURN NEW; END'; CREATE TRIGGER t BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION t(); UPDATE orders SET id = id`,
  ],
  [
    'a rule',
    'CREATE RULE r AS ON UPDATE TO orders DO INSTEAD DELETE FROM victim; UPDATE orders SET id = id',
  ],
  ['TRUNCATE among others', 'CREATE TEMP TABLE mine (); TRUNCATE mine, victim'],
  ['DROP SCHEMA', 'DROP SCHEMA public CASCADE'],
  ['a CTE that writes', 'WITH w AS (DELETE FROM victim RETURNING id) SELECT * FROM w'],
  ['EXPLAIN ANALYZE', 'EXPLAIN ANALYZE DELETE FROM victim'],
  ['ALTER', 'ALTER TABLE victim RENAME TO gone'],
  ['a moved schema', 'ALTER TABLE victim SET SCHEMA other'],
  ['COPY from a program', `COPY orders FROM PROGRAM 'echo 7,x; touch $FILE' WITH (FORMAT csv)`],
  ['COPY to a program', `COPY orders TO PROGRAM 'cat > $FILE'`],
  ['COPY to a file', `COPY orders TO '$FILE'`],
  ['COPY into', `COPY victim FROM PROGRAM 'echo 7'`],
];
