\set FETCH_COUNT 100
SELECT i, repeat('row ', 10) FROM generate_series(1, 1050) i;
SELECT 100 / (500 - i) FROM generate_series(1, 1000) i;
\set FETCH_COUNT 0
BEGIN;
DECLARE scrolled SCROLL CURSOR FOR SELECT i, i * i FROM generate_series(1, 100) i;
FETCH 3 FROM scrolled;
FETCH LAST FROM scrolled;
FETCH PRIOR FROM scrolled;
MOVE ABSOLUTE 50 FROM scrolled;
FETCH RELATIVE -1 FROM scrolled;
DECLARE raw BINARY CURSOR FOR SELECT 1::int4;
SAVEPOINT here;
FETCH FROM nothing;
ROLLBACK TO here;
FETCH NEXT FROM scrolled;
CLOSE scrolled;
COMMIT;
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT relname FROM pg_class WHERE relname = 'pg_class';
COMMIT;
FETCH ALL FROM held;
CLOSE ALL;
PREPARE prepared (int) AS SELECT $1 + 1;
EXECUTE prepared (41);
DEALLOCATE prepared;
EXECUTE prepared (1);
