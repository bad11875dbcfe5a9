import type { Row } from '../../../../support/survey-notation.ts';

/** Queries. */
export const queries: readonly Row[] = [
  ['select 1', 'SELECT; whole'],
  ['select a, b from t', 'SELECT; read t(a b); whole'],
  ['select * from t where a = 1', 'SELECT; read t(* a); o =; where'],
  ['select t.* from s.t', 'SELECT; read s.t(*); whole'],
  ['select s.t.a from s.t', 'SELECT; read s.t(a); whole'],
  ['select db.s.t.a from db.s.t', 'SELECT; read s.t(a); whole'],
  ['select x.a from t as x', 'SELECT; read t(a); whole'],
  ['select x.a from t as x(a, b)', 'SELECT; read t(*); whole'],
  ['select a from only t', 'SELECT; read only t(a); whole'],
  ['table t', 'SELECT; read t(*); whole'],
  ['table only s.t', 'SELECT; read only s.t(*); whole'],
  ['values (1), (f(2))', 'SELECT; f f; whole'],
  ['values ((select max(a) from t))', 'SELECT; read t(a); f max; whole'],
  ['select a from t limit 5', 'SELECT; read t(a); whole; limit 5'],
  ['select a from t limit 0', 'SELECT; read t(a); whole; limit 0'],
  ['select a from t limit all', 'SELECT; read t(a); whole'],
  ['select a from t limit null', 'SELECT; read t(a); whole'],
  ['select a from t limit $1', 'SELECT; read t(a); whole; limit ?'],
  ["select a from t limit '5'", 'SELECT; read t(a); whole; limit ?'],
  ['select a from t limit 2 + 3', 'SELECT; read t(a); o +; whole; limit ?'],
  ['select a from t limit 5000000000', 'SELECT; read t(a); whole; limit 5000000000'],
  ['select a from t limit 99999999999999999999', 'SELECT; read t(a); whole; limit ?'],
  ['select a from t limit 1.5', 'SELECT; read t(a); whole; limit ?'],
  ['select a from t limit -1', 'SELECT; read t(a); whole; limit ?'],
  ['select a from t offset 3', 'SELECT; read t(a); whole'],
  ['select a from t fetch first row only', 'SELECT; read t(a); whole; limit 1'],
  ['select a from t fetch first 7 rows only', 'SELECT; read t(a); whole; limit 7'],
  ['select a from t order by a fetch first 7 rows with ties', 'SELECT; read t(a); whole; limit ?'],
  [
    'select a from t where true union select b from u where b > 1',
    'SELECT; read t(a); read u(b); o >; where',
  ],
  ['select a from t where true union select b from u', 'SELECT; read t(a); read u(b); whole'],
  [
    'select a from t union all select b from u order by a limit 3',
    'SELECT; read t(a); read u(b); whole; limit 3',
  ],
  [
    '(select a from t limit 1) union (select b from u order by b limit 2)',
    'SELECT; read t(a); read u(b); whole',
  ],
  [
    'select a from t intersect select b from u except select c from v',
    'SELECT; read t(a); read u(b); read v(c); whole',
  ],
  ['select t from t', 'SELECT; read t(*); whole'],
  ['select row_to_json(t) from t', 'SELECT; read t(*); f row_to_json; whole'],
  ['select row_to_json(x) from t as x', 'SELECT; read t(*); f row_to_json; whole'],
  ['select to_jsonb(t.*) from t', 'SELECT; read t(*); f to_jsonb; whole'],
  ['select a from t, u', 'SELECT; read t(a); read u(a); whole'],
  ['select t.a, u.b from t, s.u', 'SELECT; read t(a); read s.u(b); whole'],
  [
    'select t.a from t join u on t.id = u.id left join v on u.k = v.k where v.z is null',
    'SELECT; read t(id a); read u(id k); read v(k z); o =; where',
  ],
  ['select a from t join u using (id, k)', 'SELECT; read t(id k a); read u(id k a); o =; whole'],
  ['select j.id from t join u using (id) as j', 'SELECT; read t(id); read u(id); o =; whole'],
  ['select q.c from (t join u on true) as q', 'SELECT; read t(c); read u(c); whole'],
  ['select q.c from (t join u on true) as q(c, d)', 'SELECT; read t(*); read u(*); whole'],
  ['select a from t natural join u', 'SELECT; read t(* a); read u(* a); o =; whole'],
  [
    'select a from t cross join lateral (select b from u where u.id = t.id) x',
    'SELECT; read t(id b a); read u(id b); o =; whole',
  ],
  ['select x.b from (select a as b from t) x', 'SELECT; read t(a); whole'],
  ['select x.b from (select a as b from t) x, u', 'SELECT; read t(a); read u(); whole'],
  [
    'select a from t where exists (select 1 from u where u.id = t.id)',
    'SELECT; read t(id a); read u(id); o =; where',
  ],
  ['select a from t where b in (select c from u)', 'SELECT; read t(a b c); read u(c); o =; where'],
  [
    'select a from t where b not in (select c from u where d)',
    'SELECT; read t(a b c d); read u(c d); o =; where',
  ],
  [
    'select a from t where b = any (select c from u)',
    'SELECT; read t(a b c); read u(c); o =; where',
  ],
  [
    'select a from t where b operator(s.=) all (select c from u)',
    'SELECT; read t(a b c); read u(c); o s.=; where',
  ],
  [
    'select (select max(b) from u), array(select c from v) from t',
    'SELECT; read t(b c); read u(b); read v(c); f max; whole',
  ],
  [
    'select a from t where t.id = (select t.id from u as t)',
    'SELECT; read t(id a); read u(id); o =; where',
  ],
  ['with x as (select a from t) select * from x', 'SELECT; read t(a); whole'],
  ['with x as (select a from t) select a from s.x', 'SELECT; read t(a); read s.x(a); whole'],
  ['with x as (select a from x) select * from x', 'SELECT; read x(a); whole'],
  [
    'with recursive x as (select a from t union all select x.a from x) select * from x',
    'SELECT; read t(a); whole',
  ],
  ['with recursive x as (select * from y), y as (select 1) select * from x', 'SELECT; whole'],
  ['with x as (select 1), y as (select * from x) select * from y', 'SELECT; whole'],
  [
    'with x as (select 1) select (with x as (select * from t) select count(*) from x) from x',
    'SELECT; read t(*); f count; whole',
  ],
  [
    'select * from (with x as (select * from t) select * from x) q, x',
    'SELECT; read t(*); read x(*); whole',
  ],
  [
    'with x as (select 1) (select * from x union select * from (select * from x) q)',
    'SELECT; whole',
  ],
  [
    'with x as materialized (select a, b from t) search depth first by a set o cycle b set c using p select * from x',
    'SELECT; read t(a b); whole',
  ],
  [
    'with x as (delete from t where a returning *) select * from x',
    'SELECT, DELETE; write t(*); read t(* a); whole; alters',
  ],
  [
    'with x as (delete from t returning *) select * from x where true',
    'SELECT, DELETE; write t(*); read t(*); whole; alters',
  ],
  [
    'with x as (insert into t values (1) returning a) select a from x limit 1',
    'SELECT, INSERT; write t(*); read t(a); whole; limit 1; alters',
  ],
  [
    'with x as (update t set a = 1 where b returning c), y as (merge into u using x on true when matched then delete) select 1',
    'SELECT, UPDATE, MERGE, DELETE; write t(a); read t(b c); write u(*); whole; alters',
  ],
  ['select * from t for update', 'SELECT; read t(*); write t(); whole; alters'],
  ['select * from t for share', 'SELECT; read t(*); write t(); whole; alters'],
  [
    'select a from t, u as x, v for no key update of x nowait',
    'SELECT; read t(a); read u(a); read v(a); write u(); whole; alters',
  ],
  [
    'select a from (select * from t, (select * from u) q) p for key share',
    'SELECT; read t(*); read u(*); write t(); write u(); whole; alters',
  ],
  ['with x as (select * from t) select * from x for update', 'SELECT; read t(*); whole; alters'],
  [
    'select * into n from t',
    'SELECT INTO, SELECT; read t(*); define n(*); whole; alters; catalogue',
  ],
  [
    'select * into temp n from t where a',
    'SELECT INTO, SELECT; read t(* a); define n(*); where; alters; catalogue',
  ],
  ['select 1 into n union select 2', 'SELECT INTO, SELECT; define n(*); whole; alters; catalogue'],
  ['select a from t tablesample bernoulli (10)', 'SELECT; read t(a); f bernoulli; whole'],
  [
    'select a from t tablesample s.mine (f(1)) repeatable (g())',
    'SELECT; read t(a); f s.mine f g; whole',
  ],
  ['select * from f(1)', 'SELECT; f f; whole'],
  ['select * from t, f(t.a)', 'SELECT; read t(a *); f f; whole'],
  ['select x from f(1) as x', 'SELECT; f f; whole'],
  [
    'select * from rows from (f(1), s.g(2) as (a int)) with ordinality as z(p, q)',
    'SELECT; f f s.g; whole',
  ],
  [
    "select x.a from t, xmltable('/r' passing t.doc columns a int path '@a', b text default g()) x",
    'SELECT; read t(doc); f g; whole',
  ],
  [
    "select j.a from t, json_table(t.doc, '$' columns (a int path '$.a' default h() on empty)) j",
    'SELECT; read t(doc); f h; whole',
  ],
  ['select count(*) from t', 'SELECT; read t(); f count; whole'],
  [
    'select sum(a order by b), max(c) filter (where d > 1) from t group by e having avg(g) > 2',
    'SELECT; read t(a b c d e g); f sum max avg; o >; whole',
  ],
  [
    'select percentile_cont(0.5) within group (order by a) from t',
    'SELECT; read t(a); f percentile_cont; whole',
  ],
  [
    'select rank() over w, s.lag(a) over (partition by b order by c) from t window w as (order by d)',
    'SELECT; read t(a b c d); f rank s.lag; whole',
  ],
  [
    'select grouping(a) from t group by rollup (a, b), cube (c), grouping sets ((d), ())',
    'SELECT; read t(a b c d); whole',
  ],
  ['select distinct on (a, x) b as x from t order by a, x desc', 'SELECT; read t(b a); whole'],
  ['select a as x from t order by x, y', 'SELECT; read t(a y); whole'],
  [
    'select a from t order by b using operator(s.<), c desc nulls last',
    'SELECT; read t(a b c); o s.<; whole',
  ],
  ['select a as b from t group by b', 'SELECT; read t(a b); whole'],
  [
    'select pg_catalog.lower(a), s.f(b), db.s.g(c) from t',
    'SELECT; read t(a b c); f pg_catalog.lower s.f s.g; whole',
  ],
  [
    'select extract(year from a), overlay(b placing c from 1), trim(d), position(e in g), substring(h from 2 for 3) from t',
    'SELECT; read t(a b c d g e h); f pg_catalog.extract pg_catalog.overlay pg_catalog.btrim pg_catalog.position pg_catalog.substring; whole',
  ],
  [
    "select a at time zone 'utc', (a, b) overlaps (c, d), a is normalized, collation for (a) from t",
    'SELECT; read t(a b c d); f pg_catalog.timezone pg_catalog.overlaps pg_catalog.is_normalized pg_catalog.pg_collation_for; whole',
  ],
  [
    'select current_user, session_user, current_date, current_timestamp, localtime, current_schema',
    'SELECT; whole',
  ],
  [
    'select coalesce(a, b), nullif(a, b), greatest(a, b), case a when 1 then b else c end, case when d then 1 end from t',
    'SELECT; read t(a b c d); o =; whole',
  ],
  [
    'select a + b, -c, d || e, a operator(s.+) b from t',
    'SELECT; read t(a b c d e); o + - || s.+; whole',
  ],
  [
    'select a between 1 and 2, a not between symmetric 1 and 2, a in (1, 2), a not in (3) from t',
    'SELECT; read t(a); o >= <= < > = <>; whole',
  ],
  [
    "select a like 'x', a ilike 'y', a similar to 'z', a !~ 'w' from t",
    'SELECT; read t(a); f pg_catalog.similar_to_escape; o ~~ ~~* ~ !~; whole',
  ],
  [
    'select a is distinct from b, a is not distinct from b, (a, b) < (1, 2), a is null, b is true from t',
    'SELECT; read t(a b); o = <; whole',
  ],
  [
    "select a::int, cast(b as s.mytype), c::geometry(point, 4326), 'x'::regclass from t",
    'SELECT; read t(a b c); whole',
  ],
  ['select a[1:f(2)], b.c, (d).e, (g(h)).i[j] from t', 'SELECT; read t(a d h j); f f g; whole'],
  ['select array[a, b], row(c, d), (select 1) from t', 'SELECT; read t(a b c d); whole'],
  [
    "select nextval('q'), setval('S.\"Q\"', 3), nextval('s.q'::regclass), nextval($1), currval('z')",
    'SELECT; write q(*); write s.Q(*); write s.q(*); write *(*); f nextval setval currval; whole; alters',
  ],
  ['select f(x => a, y := b), g(variadic c) from t', 'SELECT; read t(a b c); f f g; whole'],
  [
    'select xmlelement(name n, xmlattributes(a as b), f(c)), xmlforest(d), xmlserialize(content e as text) from t',
    'SELECT; read t(a c d e); f f; whole',
  ],
  [
    "select json_object('a': b), json_array(c, d), json_arrayagg(e order by g), json_objectagg(h: i), json(j) from t",
    'SELECT; read t(b c d g e h i j); whole',
  ],
  [
    "select json_value(a, '$.x' passing b as c default f(d) on error), json_exists(e, '$'), json_query(g, '$') from t",
    'SELECT; read t(a b d e g); f f; whole',
  ],
  ['select a is json, json_scalar(b), json_serialize(c) from t', 'SELECT; read t(a b c); whole'],
  [
    "select query_to_xml('select 1', true, true, '')",
    'SELECT; f query_to_xml; whole; alters; catalogue; opaque',
  ],
  [
    "select table_to_xml('s.t', true, true, '')",
    'SELECT; f table_to_xml; whole; alters; catalogue; opaque',
  ],
  [
    "select pg_catalog.database_to_xmlschema(true, true, '')",
    'SELECT; f pg_catalog.database_to_xmlschema; whole; alters; catalogue; opaque',
  ],
  [
    "select * from dblink('host=x', 'select 1') as r(a int)",
    'SELECT; f dblink; whole; alters; catalogue; opaque',
  ],
  [
    "select public.dblink_exec('x', 'drop table t')",
    'SELECT; f public.dblink_exec; whole; alters; catalogue; opaque',
  ],
  [
    "select * from ts_stat('select v from t')",
    'SELECT; f ts_stat; whole; alters; catalogue; opaque',
  ],
  [
    "select ts_rewrite(a, 'select b, c from d'), pg_read_file('/etc/passwd'), lo_export(1, '/x') from t",
    'SELECT; read t(a); f ts_rewrite pg_read_file lo_export; whole; alters; catalogue; opaque',
  ],
  ['select ts_rewrite(a, b, c) from t', 'SELECT; read t(a b c); f ts_rewrite; whole'],
  ["select cursor_to_xml('c', 1, true, true, '')", 'SELECT; f cursor_to_xml; whole'],
  [
    "select set_config('Search_Path', 'x', false)",
    'SELECT; f set_config; whole; set search_path; meaning',
  ],
  [
    "select pg_catalog.set_config(a, 'x', true) from t",
    'SELECT; read t(a); f pg_catalog.set_config; whole; set *; alters; meaning',
  ],
  [
    "select set_config(new_value => 'x', setting_name => 'role', is_local => false)",
    'SELECT; f set_config; whole; set role; meaning',
  ],
  [
    "select set_config('work_mem'::text, '1', false)",
    'SELECT; f set_config; whole; set *; alters; meaning',
  ],
  ['select "T"."a.b" from "S.x"."T"', 'SELECT; read S.x.T(a.b); whole'],
  [
    'select "__proto__", t."constructor" from "__proto__", t where "toString" = 1',
    'SELECT; read __proto__(* toString); read t(constructor __proto__ toString); o =; where',
  ],
  ['select "😀" from "Ünï cödé"', 'SELECT; read Ünï cödé(😀); whole'],
  ['select ctid, xmin, tableoid from t', 'SELECT; read t(ctid xmin tableoid); whole'],
  ['select 1 from t', 'SELECT; read t(); whole'],
  [
    "select a from t where current_setting('x') = b",
    'SELECT; read t(a b); f current_setting; o =; where',
  ],
  ['select * from pg_settings', 'SELECT; read pg_settings(*); whole'],
  ['select a from t where b = $1 and (c = $2 or not d)', 'SELECT; read t(a b c d); o =; where'],
  [
    'select 1; select 2 from t;; table u',
    'SELECT; whole',
    'SELECT; read t(); whole',
    'SELECT; read u(*); whole',
  ],
  ['select new.a from new', 'SELECT; read new(a); whole'],
];
