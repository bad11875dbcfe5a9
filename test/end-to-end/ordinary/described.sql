\d
\d+
\d people
\d+ people
\d orders
\d+ orders
\d measured
\d+ measured
\d+ measured_2023
\d dear_orders
\d+ dear_orders
\d+ sums
\d sums_by_person
\d invoice_numbers
\d+ test_schema.*
\d test_schema.far
\d test_schema.pair
\da *.*product*
\dA
\dA+
\dAc btree
\dAf btree
\dAo btree float_ops
\dAp btree float_ops
\db
\dc
\dconfig work_mem
\dC
\dd
\dD
\dD+ email
\ddp
\dE
\dE test_schema.*
\det+
\dew+
\des+
\deu
\dx
\dx+
\dX
\dX+
\dy
\df
\df+
\df test_schema.*
\df+ twice
\dF
\dFd simple
\dFp
\dFt
\dg
\dg+
\di
\di+
\dl
\dl+
\dL
\dL+
\dm
\dm+
\dn
\dn+
\do test_schema.*
\dO plain
\dp
\dp test_schema.*
\dP
\dP+
\dPi
\drds
\dRp
\dRp+
\dRs
\ds
\ds+
\dS pg_a*
\dt
\dt+
\dt test_schema.*
\dtS pg_c*
\dT
\dT+
\dT+ mood
\dT test_schema.*
\du
\du+
\dv
\dv+
\dv information_schema.t*
\l
\l+
\sf twice
\sf+ test_schema.tidy
\sv dear_orders
\sv+ test_schema.checked
\z
\z people
\lo_list
\encoding
SHOW search_path;
SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public';
SELECT name, felt FROM people ORDER BY id \gdesc
SELECT name, felt FROM people ORDER BY id;
SELECT person, count(*), sum(amount) FROM orders GROUP BY person ORDER BY 1;
SELECT count(*), max(at) FROM measured;
SELECT * FROM dear_orders ORDER BY id LIMIT 5;
SELECT 1 AS a \; SELECT 2 AS b, NULL AS c;
EXPLAIN (COSTS OFF) SELECT * FROM people WHERE id = 1;
TABLE test_schema.animals;
