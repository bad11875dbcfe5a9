import type { Row } from '../../../../support/survey-notation.ts';

/** Statements that change or store rows. */
export const changes: readonly Row[] = [
  ['insert into t values (1, 2)', 'INSERT; write t(*); alters'],
  ['insert into t default values', 'INSERT; write t(*); alters'],
  ['insert into s.t (a, b) values (1, default)', 'INSERT; write s.t(a b); alters'],
  ['insert into t (a[1], b.c) values (f(1), 2)', 'INSERT; write t(a b); f f; alters'],
  ['insert into t (a) select b from u where c limit 3', 'INSERT; write t(a); read u(b c); alters'],
  ['insert into t (a) overriding system value values (1)', 'INSERT; write t(a); alters'],
  ['insert into t as x (a) values (1) returning x.b, *', 'INSERT; write t(a); read t(b *); alters'],
  [
    'insert into t (a) values (1) returning old.b, new.c',
    'INSERT; write t(a); read t(b c); alters',
  ],
  ['insert into t (a) values (1) on conflict do nothing', 'INSERT; write t(a); alters'],
  [
    'insert into t (a) values (1) on conflict (a) where d do update set b = excluded.b, (c, e) = (1, 2) where t.g',
    'INSERT, UPDATE; write t(a b c e); read t(g a d); alters',
  ],
  [
    'insert into t (a) values (1) on conflict (lower(a)) do update set b = t.b + 1',
    'INSERT, UPDATE; write t(a b); read t(b a); f lower; o +; alters',
  ],
  [
    'insert into t (a) values (1) on conflict on constraint k do update set b = (select max(u.b) from u)',
    'INSERT, UPDATE; write t(a b); read u(b); f max; alters',
  ],
  [
    'insert into t with x as (select a from u) select a from x',
    'INSERT; write t(*); read u(a); alters',
  ],
  ['with x as (select 1) insert into x select * from x', 'INSERT; write x(*); alters'],
  [
    'with x as (delete from u where a returning b) insert into t select b from x',
    'INSERT, DELETE; write u(*); read u(a b); write t(*); alters',
  ],
  [
    'with x as (delete from u returning b) insert into t select b from x',
    'INSERT, DELETE; write u(*); read u(b); write t(*); whole; alters',
  ],
  [
    'insert into t values ((select a from u where u.b = 1))',
    'INSERT; write t(*); read u(b a); o =; alters',
  ],
  [
    "insert into pg_settings (name) values ('x')",
    'INSERT; write pg_settings(name); set *; alters; meaning',
  ],
  ['update t set a = 1', 'UPDATE; write t(a); whole; alters'],
  [
    'update only s.t set a = 1 where b = 2',
    'UPDATE; write only s.t(a); read only s.t(b); o =; where; alters',
  ],
  [
    'update t as x set a = x.b + 1 where x.c',
    'UPDATE; write t(a); read t(b c); o +; where; alters',
  ],
  [
    'update t set (a, b) = (select c, d from u where u.id = t.id), e[1] = 2, g.h = 3',
    'UPDATE; write t(a b e g); read u(id c d); read t(id c d); o =; whole; alters',
  ],
  ['update t set (a, b) = (1, default)', 'UPDATE; write t(a b); whole; alters'],
  [
    'update t set a = u.b from u join v using (k) where t.id = u.id',
    'UPDATE; read u(b id k); read v(k); write t(a); read t(id k); o =; where; alters',
  ],
  ['update t set a = 1 where b returning *', 'UPDATE; write t(a); read t(* b); where; alters'],
  [
    'update t set a = 1 returning with (old as o, new as n) o.b, n.c',
    'UPDATE; write t(a); read t(b c); whole; alters',
  ],
  ['update t set a = 1 where current of c', 'UPDATE; write t(a); where; alters'],
  [
    "update pg_catalog.pg_settings set setting = 'off' where name = 'x'",
    'UPDATE; write pg_catalog.pg_settings(setting); read pg_catalog.pg_settings(name); o =; where; set *; alters; meaning',
  ],
  [
    'with x as (select a from u) update t set a = x.a from x where t.b = x.a',
    'UPDATE; read u(a); write t(a); read t(b); o =; where; alters',
  ],
  ['with t as (select 1) update t set a = 1 where true', 'UPDATE; write t(a); where; alters'],
  [
    'with x as (update u set a = 1 returning b) update t set a = 1 where true',
    'UPDATE; write u(a); read u(b); write t(a); whole; alters',
  ],
  ['delete from t', 'DELETE; write t(*); whole; alters'],
  [
    'delete from only s.t where a = 1',
    'DELETE; write only s.t(*); read only s.t(a); o =; where; alters',
  ],
  [
    'delete from t as x using u, v as y where x.a = u.a and y.b',
    'DELETE; read u(a); read v(b); write t(*); read t(a); o =; where; alters',
  ],
  [
    'delete from t where a in (select b from u) returning c',
    'DELETE; write t(*); read u(b); read t(a b c); o =; where; alters',
  ],
  [
    'with x as (select 1) delete from t where a in (table x)',
    'DELETE; write t(*); read t(a); o =; where; alters',
  ],
  ['delete from t where current of c', 'DELETE; write t(*); where; alters'],
  [
    'merge into t using u on t.id = u.id when matched then update set a = u.a when not matched then insert (a, b) values (u.a, f(u.b))',
    'MERGE, UPDATE, INSERT; read u(id a b); read t(id); write t(a b); f f; o =; alters',
  ],
  [
    'merge into only s.t as x using (select a from v) as y on x.a = y.a when matched and x.b > 1 then delete',
    'MERGE, DELETE; read v(a); read only s.t(a b); write only s.t(*); o = >; alters',
  ],
  [
    'merge into t using u on t.id = u.id when not matched then do nothing',
    'MERGE; read u(id); read t(id); write t(); o =; alters',
  ],
  [
    'merge into t using u on t.id = u.id when not matched then insert default values',
    'MERGE, INSERT; read u(id); read t(id); write t(*); o =; alters',
  ],
  [
    'merge into t using u on t.id = u.id when not matched by source then update set (a, b) = (1, 2) returning merge_action(), old.a, u.b',
    'MERGE, UPDATE; read u(id b); read t(id a); write t(a b); o =; alters',
  ],
  [
    'with x as (select 1 as id) merge into t using x on t.id = x.id when matched then delete',
    'MERGE, DELETE; read t(id); write t(*); o =; alters',
  ],
  ['copy t to stdout', 'COPY TO; read t(*); copy To Client'],
  [
    'copy s.t (a, b) to stdout with (format csv, force_quote (a))',
    'COPY TO; read s.t(a b); copy To Client',
  ],
  ["copy t to '/tmp/x'", 'COPY TO; read t(*); copy To File; alters'],
  ["copy t to program 'curl'", 'COPY TO; read t(*); copy To Program; alters; catalogue; opaque'],
  ['copy t from stdin', 'COPY FROM; write t(*); copy From Client; alters'],
  [
    'copy t (a) from stdin where f(a) > 1',
    'COPY FROM; write t(a); f f; o >; copy From Client; alters',
  ],
  ["copy t from '/etc/passwd'", 'COPY FROM; write t(*); copy From File; alters'],
  [
    "copy t from program 'id'",
    'COPY FROM; write t(*); copy From Program; alters; catalogue; opaque',
  ],
  [
    'copy (select a from t where b limit 3) to stdout',
    'COPY TO, SELECT; read t(a b); where; limit 3; copy To Client',
  ],
  [
    "copy (select a from t) to program 'x'",
    'COPY TO, SELECT; read t(a); whole; copy To Program; alters; catalogue; opaque',
  ],
  [
    'copy (delete from t returning a) to stdout',
    'COPY TO, DELETE; write t(*); read t(a); whole; copy To Client; alters',
  ],
  [
    "copy (with x as (insert into t values (1) returning a) select * from x) to '/x'",
    'COPY TO, SELECT, INSERT; write t(*); read t(a); whole; copy To File; alters',
  ],
  ['copy (values (1)) to stdout', 'COPY TO, SELECT; whole; copy To Client'],
  ['truncate t', 'TRUNCATE TABLE; write t(*); alters'],
  [
    'truncate table s.t, only u restart identity',
    'TRUNCATE TABLE; write s.t(*); write only u(*); alters',
  ],
  ['truncate t cascade', 'TRUNCATE TABLE; write t(*); write *(*); alters'],
  ['refresh materialized view concurrently s.m', 'REFRESH MATERIALIZED VIEW; write s.m(*); alters'],
  ['lock table only t, s.u in access share mode', 'LOCK TABLE; read only t(*); read s.u(*)'],
  ['lock t', 'LOCK TABLE; define t(*); alters'],
  ['lock t in row exclusive mode nowait', 'LOCK TABLE; define t(*); alters'],
  ['vacuum', 'VACUUM; define *(*); alters'],
  ['vacuum full s.t (a), u', 'VACUUM; define s.t(a); define u(*); alters'],
  ['vacuum (analyze) t', 'VACUUM, ANALYZE; define t(*); alters'],
  ['analyze', 'ANALYZE; define *(*); alters'],
  ['analyze t (a, b)', 'ANALYZE; define t(a b); alters'],
  ['analyze verbose only t', 'ANALYZE; define only t(*); alters'],
  ['cluster', 'CLUSTER; define *(*); alters'],
  ['cluster s.t using i', 'CLUSTER; define s.t(*); alters'],
  ['reindex table t', 'REINDEX; define t(*); alters'],
  ['reindex index s.i', 'REINDEX; define s.i(*); alters'],
  ['reindex schema s', 'REINDEX; define s.*(*); alters'],
  ['reindex database', 'REINDEX; define *(*); alters'],
  ['reindex system d', 'REINDEX; define *(*); alters'],
  ['call s.p(f(1), (select a from t))', 'CALL; read t(a); f s.p f; alters; meaning'],
  ["do 'begin delete from t; end'", 'DO; alters; catalogue; opaque'],
  ["do language plpython3u 'x'", 'DO; alters; catalogue; opaque'],
];
