SET client_min_messages = debug1;
CREATE FUNCTION say() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE DEBUG 'a debug message';
  RAISE LOG 'a log message';
  RAISE INFO 'an information';
  RAISE NOTICE 'a notice with % and %', 'one', 2 USING HINT = 'a hint', DETAIL = 'a detail';
  RAISE WARNING 'a warning';
END $$;
SELECT say();
SET client_min_messages = log;
SELECT say();
SET client_min_messages = error;
SELECT say();
RESET client_min_messages;
DROP TABLE IF EXISTS nothing_like_it;
\set VERBOSITY verbose
SELECT say();
SELECT 1 / 0;
SELECT * FROM nothing_like_it;
SELEC 1;
\set VERBOSITY default
CREATE TABLE checked (id int PRIMARY KEY, n int CHECK (n > 0));
INSERT INTO checked VALUES (1, 1);
INSERT INTO checked VALUES (1, 1);
INSERT INTO checked VALUES (2, -1);
INSERT INTO checked VALUES ('two', 2);
BEGIN;
INSERT INTO checked VALUES (3, 3);
SELECT 1 / 0;
SELECT 'ignored';
COMMIT;
ROLLBACK;
SELECT 1; SELECT 2 / 0; SELECT 3;
INSERT INTO checked VALUES (4, 4)\; SELECT 1 / 0\; SELECT 5;
DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'P0042', MESSAGE = E'of two\nlines', TABLE = 't', COLUMN = 'c'; END $$;
\errverbose
SELECT error FROM (SELECT repeat('long ', 20000)::int) AS t (error);
SET statement_timeout = 50;
SELECT pg_sleep(10);
RESET statement_timeout;
SELECT * FROM checked ORDER BY id;
DO $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); END $$;
SELECT 'not reached by this connection';
