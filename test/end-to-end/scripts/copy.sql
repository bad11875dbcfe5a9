CREATE TABLE copied (id int, what text, bytes bytea);
\copy copied FROM stdin
1	plain	\\x00ff
2	tab\tand\nline	\\x
3	\N	\N
\.
\copy copied TO stdout
\copy (SELECT * FROM copied ORDER BY id) TO stdout WITH (FORMAT csv, HEADER)
\copy (SELECT i, repeat('line ', i % 50), decode(md5(i::text), 'hex') FROM generate_series(1, 20000) i) TO <file>
\copy copied FROM <file>
\copy (SELECT * FROM copied ORDER BY id, what) TO <file> (FORMAT binary)
\copy copied FROM <file> (FORMAT binary)
SELECT count(*), sum(id), md5(string_agg(what || coalesce(bytes::text, ''), ',' ORDER BY id, what)) FROM copied;
COPY copied (id) FROM STDIN;
7
seven
\.
COPY copied TO STDOUT (FORMAT csv, FORCE_QUOTE *, NULL 'nothing') \g /dev/null
COPY (SELECT 1 / (i - 3) FROM generate_series(1, 5) i) TO STDOUT;
SELECT 'still there' AS answer;
