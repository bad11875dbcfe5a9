CREATE SCHEMA described;
SET search_path = described;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE parent (id int PRIMARY KEY, name text NOT NULL DEFAULT 'nobody', felt mood, CHECK (length(name) < 100));
CREATE TABLE child (id serial PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE, price numeric(10, 2));
CREATE UNIQUE INDEX child_price ON child (parent, price) WHERE price > 0;
CREATE VIEW both_tables AS SELECT p.name, c.price FROM parent p JOIN child c ON c.parent = p.id;
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * n';
COMMENT ON TABLE parent IS 'The one that others belong to';
INSERT INTO parent VALUES (1, 'Ada', 'happy'), (2, 'Grace', NULL), (3, DEFAULT, 'ok');
INSERT INTO child (parent, price) VALUES (1, 10.50), (1, 3), (2, NULL);
\d
\d parent
\d+ child
\d both_tables
\dt
\dT+ mood
\df described.*
\dn
\sv both_tables
\sf twice
\x
SELECT * FROM both_tables ORDER BY price;
\x
\set who Ada
SELECT :'who' AS who, twice(21);
SELECT * FROM parent ORDER BY id \gx
SELECT 'SELECT ' || id FROM parent ORDER BY id \gexec
SELECT name AS n FROM parent WHERE id = 1 \gset
\echo :n
\crosstabview
SELECT p.id, p.felt, p.name FROM parent p ORDER BY 1 \crosstabview
SELECT 1 AS a \; SELECT 2 AS b, NULL AS c;
\gdesc
SELECT id, price FROM child \gdesc
EXPLAIN (COSTS OFF) SELECT * FROM parent WHERE id = 1;
\errverbose
