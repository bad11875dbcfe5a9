import type { Row } from '../../../../support/survey-notation.ts';

/** Definitions of tables, and of what belongs to them. */
export const tableDefinitions: readonly Row[] = [
  ['create table t (a int, b text)', 'CREATE TABLE; define t(*); alters; catalogue'],
  ['create table if not exists s.t ()', 'CREATE TABLE; define s.t(*); alters; catalogue'],
  ['create temp table t (a int)', 'CREATE TABLE; define t(*); alters; catalogue'],
  [
    'create temporary table t as select 1',
    'CREATE TABLE AS, SELECT; define t(*); whole; alters; catalogue',
  ],
  [
    "create unlogged table t (a int default f(1) + nextval('q'), b int generated always as (g(a)) stored)",
    'CREATE TABLE; define t(* a); write q(*); f f nextval g; o +; alters; catalogue',
  ],
  [
    'create table t (a int check (a > h(1)), constraint c check (b is not null or a = 1))',
    'CREATE TABLE; define t(* a b); f h; o > =; alters; catalogue',
  ],
  [
    'create table t (a int references s.u (b), c int references v, foreign key (a, c) references w (x, y) on delete cascade)',
    'CREATE TABLE; define t(*); read s.u(b); read v(*); read w(x y); alters; catalogue',
  ],
  [
    'create table t (like s.u including all, a int) inherits (v, s.w)',
    'CREATE TABLE; define v(*); define s.w(*); define t(*); read s.u(*); alters; catalogue',
  ],
  [
    'create table t partition of s.p for values from (f(1)) to (10)',
    'CREATE TABLE; define s.p(*); define t(*); f f; alters; catalogue',
  ],
  [
    'create table t (a int) partition by range (a, lower(b))',
    'CREATE TABLE; define t(* a b); f lower; alters; catalogue',
  ],
  ['create table t of s.ty (a primary key)', 'CREATE TABLE; define t(*); alters; catalogue'],
  [
    'create table t (a int, exclude using gist (a with s.&&, f(b) with =) where (c > 1))',
    'CREATE TABLE; define t(* a b c); f f; o s.&& = >; alters; catalogue',
  ],
  [
    'create table t (a int generated always as identity (sequence name s.q start 5))',
    'CREATE TABLE; define t(*); define s.q(*); alters; catalogue',
  ],
  [
    'create table t (a serial primary key) with (fillfactor = 70) tablespace x',
    'CREATE TABLE; define t(*); alters; catalogue',
  ],
  [
    "create foreign table s.t (a int options (x 'y')) server v options (c 'd')",
    'CREATE FOREIGN TABLE; define s.t(*); alters; catalogue; opaque',
  ],
  [
    'create foreign table t partition of p default server v',
    'CREATE FOREIGN TABLE; define p(*); define t(*); alters; catalogue; opaque',
  ],
  [
    'create table t as select a, f(b) from u where c limit 2',
    'CREATE TABLE AS, SELECT; define t(*); read u(a b c); f f; where; limit 2; alters; catalogue',
  ],
  [
    'create table if not exists t (x) as table s.u with no data',
    'CREATE TABLE AS, SELECT; define t(*); read s.u(*); whole; alters; catalogue',
  ],
  [
    'create table t as execute p(g(1))',
    'CREATE TABLE AS, EXECUTE; define t(*); f g; executes p; alters; catalogue',
  ],
  [
    'create table t as values (1)',
    'CREATE TABLE AS, SELECT; define t(*); whole; alters; catalogue',
  ],
  [
    'create table t as with x as (select * from u) select * from x',
    'CREATE TABLE AS, SELECT; define t(*); read u(*); whole; alters; catalogue',
  ],
  [
    'create materialized view s.m as select a from t',
    'CREATE MATERIALIZED VIEW, SELECT; define s.m(*); read t(a); whole; alters; catalogue',
  ],
  [
    'create view v as select a from s.t',
    'CREATE VIEW, SELECT; define v(*); read s.t(a); whole; alters; catalogue',
  ],
  [
    'create or replace temp view v (x) as select * from t with check option',
    'CREATE VIEW, SELECT; define v(*); read t(*); whole; alters; catalogue',
  ],
  [
    'create recursive view v (n) as values (1) union all select n + 1 from v',
    'CREATE VIEW, SELECT; define v(*); o +; whole; alters; catalogue',
  ],
  [
    'create view v as with x as (select * from t) table x',
    'CREATE VIEW, SELECT; define v(*); read t(*); whole; alters; catalogue',
  ],
  [
    'alter table t add column a int default f(), drop column b, alter column c type int using g(c)',
    'ALTER TABLE; define t(a b c); f f g; alters; catalogue',
  ],
  [
    'alter table only s.t alter a set default h(1), alter a drop not null, alter a set statistics 3, alter a set (n_distinct = 1), alter a set storage plain, alter a set compression pglz',
    'ALTER TABLE; define only s.t(a); f h; alters; catalogue',
  ],
  ['alter table t add check (a > 1)', 'ALTER TABLE; define t(* a); o >; alters; catalogue'],
  [
    'alter table t add constraint c foreign key (a) references s.u (b) not valid',
    'ALTER TABLE; define t(*); read s.u(b); alters; catalogue',
  ],
  [
    'alter table t add primary key (a), add unique using index i, validate constraint c, drop constraint d cascade',
    'ALTER TABLE; define t(*); alters; catalogue',
  ],
  [
    'alter table t inherit s.p, no inherit q',
    'ALTER TABLE; define t(*); define s.p(*); define q(*); alters; catalogue',
  ],
  [
    'alter table t attach partition s.p for values in (1, 2)',
    'ALTER TABLE; define t(*); define s.p(*); alters; catalogue',
  ],
  [
    'alter table t detach partition p concurrently',
    'ALTER TABLE; define t(*); define p(*); alters; catalogue',
  ],
  [
    'alter table t alter a add generated by default as identity (sequence name s.q), alter b drop identity',
    'ALTER TABLE; define t(a b); define s.q(*); alters; catalogue',
  ],
  [
    'alter table t enable row level security, force row level security, owner to x, disable trigger all',
    'ALTER TABLE; define t(*); alters; catalogue',
  ],
  [
    'alter table t cluster on i, set without cluster, set tablespace x, set (fillfactor = 5), replica identity full',
    'ALTER TABLE; define t(*); alters; catalogue',
  ],
  ['alter table t of s.ty', 'ALTER TABLE; define t(*); alters; catalogue'],
  ['alter table t rename to u', 'ALTER TABLE; define t(*); alters; catalogue'],
  ['alter table s.t rename column a to b', 'ALTER TABLE; define s.t(a); alters; catalogue'],
  ['alter table t rename constraint a to b', 'ALTER TABLE; define t(*); alters; catalogue'],
  ['alter table t set schema s', 'ALTER TABLE; define t(*); alters; catalogue'],
  [
    'alter table all in tablespace a set tablespace b',
    'ALTER TABLE; define *(*); alters; catalogue',
  ],
  [
    'alter index all in tablespace a owned by x set tablespace b',
    'ALTER INDEX; define *(*); alters; catalogue',
  ],
  ['alter view v alter column a set default 1', 'ALTER VIEW; define v(a); alters; catalogue'],
  ['alter view v rename to w', 'ALTER VIEW; define v(*); alters; catalogue'],
  ['alter view v rename column a to b', 'ALTER VIEW; define v(a); alters; catalogue'],
  [
    'alter materialized view m set schema s',
    'ALTER MATERIALIZED VIEW; define m(*); alters; catalogue',
  ],
  ['alter foreign table t add column a int', 'ALTER FOREIGN TABLE; define t(a); alters; catalogue'],
  ['alter index s.i rename to j', 'ALTER INDEX; define s.i(*); alters; catalogue'],
  ['alter index i attach partition j', 'ALTER INDEX; define i(*); define j(*); alters; catalogue'],
  ['alter index i set (fillfactor = 5)', 'ALTER INDEX; define i(*); alters; catalogue'],
  ['alter index i depends on extension x', 'ALTER INDEX; define i(*); alters; catalogue'],
  ['alter sequence s.q restart 5', 'ALTER SEQUENCE; define s.q(*); alters; catalogue'],
  [
    'alter sequence q owned by s.t.c',
    'ALTER SEQUENCE; define q(*); define s.t(c); alters; catalogue',
  ],
  ['alter sequence q owned by none', 'ALTER SEQUENCE; define q(*); alters; catalogue'],
  ['alter sequence q rename to r', 'ALTER SEQUENCE; define q(*); alters; catalogue'],
  [
    'create sequence s.q owned by t.c',
    'CREATE SEQUENCE; define s.q(*); define t(c); alters; catalogue',
  ],
  ['create temp sequence q increment 5', 'CREATE SEQUENCE; define q(*); alters; catalogue'],
  ['create index on t (a)', 'CREATE INDEX; define t(a); alters; catalogue'],
  [
    'create unique index concurrently i on only s.t using gin (a, lower(b), (c || f(d)) s.ops) include (e) where g > 1',
    'CREATE INDEX; define only s.t(a b c d e g); f lower f; o || >; alters; catalogue',
  ],
  [
    'create statistics st (ndistinct) on a, lower(b) from s.t',
    'CREATE STATISTICS; define s.t(a b); f lower; alters; catalogue',
  ],
  [
    "create trigger g before insert or update of a on s.t for each row when (old.a is distinct from new.b) execute function s.f('x')",
    'CREATE TRIGGER; define s.t(* a b); f s.f; o =; alters; catalogue',
  ],
  [
    'create constraint trigger g after delete on t from s.u deferrable for each row execute function f()',
    'CREATE TRIGGER; read s.u(*); define t(*); f f; alters; catalogue',
  ],
  [
    'create trigger g after update on t referencing old table as o for each statement execute procedure f()',
    'CREATE TRIGGER; define t(*); f f; alters; catalogue',
  ],
  [
    'create rule r as on insert to s.t where new.a > 1 do instead (insert into u values (new.a); delete from v where b = old.c)',
    'CREATE RULE, INSERT, DELETE; define s.t(* a c b); write u(*); write v(*); read v(b); o > =; alters; catalogue',
  ],
  [
    'create rule r as on select to t do instead select * from u',
    'CREATE RULE, SELECT; define t(*); read u(*); alters; catalogue',
  ],
  [
    'create rule r as on update to t do also nothing',
    'CREATE RULE; define t(*); alters; catalogue',
  ],
  [
    'create rule r as on delete to t do also notify x',
    'CREATE RULE, NOTIFY; define t(*); alters; catalogue',
  ],
  [
    'create policy p on s.t for select to public using (a = current_user and f(b)) with check (exists (select 1 from u where u.c = t.d))',
    'CREATE POLICY; define s.t(* d a b); read u(c); f f; o =; alters; catalogue',
  ],
  ['alter policy p on t using (g(a))', 'ALTER POLICY; define t(* a); f g; alters; catalogue'],
  ['drop table t', 'DROP TABLE; define t(*); alters; catalogue'],
  [
    'drop table if exists s.t, db.s.u cascade',
    'DROP TABLE; define s.t(*); define s.u(*); alters; catalogue',
  ],
  ['drop view v, s.w', 'DROP VIEW; define v(*); define s.w(*); alters; catalogue'],
  ['drop materialized view m', 'DROP MATERIALIZED VIEW; define m(*); alters; catalogue'],
  ['drop foreign table t', 'DROP FOREIGN TABLE; define t(*); alters; catalogue'],
  ['drop sequence q', 'DROP SEQUENCE; define q(*); alters; catalogue'],
  ['drop index concurrently s.i', 'DROP INDEX; define s.i(*); alters; catalogue'],
  ['drop trigger g on s.t', 'DROP TRIGGER; define s.t(*); alters; catalogue'],
  ['drop rule r on t', 'DROP RULE; define t(*); alters; catalogue'],
  ['drop policy p on s.t', 'DROP POLICY; define s.t(*); alters; catalogue'],
  ['drop schema s cascade', 'DROP SCHEMA; define s.*(*); alters; catalogue'],
  ['drop schema a, b', 'DROP SCHEMA; define a.*(*); define b.*(*); alters; catalogue'],
  ["comment on table s.t is 'x'", 'COMMENT; define s.t(*); alters'],
  ['comment on column s.t.c is null', 'COMMENT; define s.t(c); alters'],
  ["comment on view v is 'x'", 'COMMENT; define v(*); alters'],
  ["comment on index i is 'x'", 'COMMENT; define i(*); alters'],
  ["comment on constraint c on t is 'x'", 'COMMENT; define t(*); alters'],
  ["comment on trigger g on s.t is 'x'", 'COMMENT; define s.t(*); alters'],
  ["comment on policy p on t is 'x'", 'COMMENT; define t(*); alters'],
  ["security label for x on table s.t is 'y'", 'SECURITY LABEL; define s.t(*); alters'],
  ["security label on column t.c is 'y'", 'SECURITY LABEL; define t(c); alters'],
  ['create schema s', 'CREATE SCHEMA; alters; catalogue'],
  ['create schema if not exists authorization x', 'CREATE SCHEMA; alters; catalogue'],
  [
    'create schema s create table t (a int) create view v as select * from t create index on t (a) grant select on t to x',
    'CREATE SCHEMA, CREATE TABLE, CREATE VIEW, SELECT, CREATE INDEX, GRANT; define s.t(* a); define s.v(*); read t(*); define t(*); alters; catalogue',
  ],
  [
    'create schema authorization x create sequence q',
    'CREATE SCHEMA, CREATE SEQUENCE; define x.q(*); alters; catalogue',
  ],
  ['alter schema s rename to z', 'ALTER SCHEMA; define s.*(*); alters; catalogue'],
  ['alter schema s owner to x', 'ALTER SCHEMA; define s.*(*); alters; catalogue'],
  [
    'create publication p for table t (a) where (b > f(1)), s.u, tables in schema v, current_schema',
    'CREATE PUBLICATION; define t(a b); define s.u(*); define v.*(*); define *(*); f f; o >; alters; catalogue',
  ],
  ['create publication p for all tables', 'CREATE PUBLICATION; define *(*); alters; catalogue'],
  ['alter publication p add table t', 'ALTER PUBLICATION; define t(*); alters; catalogue'],
  [
    'alter publication p set tables in schema s',
    'ALTER PUBLICATION; define s.*(*); alters; catalogue',
  ],
  ["alter publication p set (publish = 'insert')", 'ALTER PUBLICATION; alters; catalogue'],
  [
    'import foreign schema a limit to (x, y) from server v into s',
    'IMPORT FOREIGN SCHEMA; define s.*(*); alters; catalogue; opaque',
  ],
  ['grant select on t to x', 'GRANT; define t(*); alters; catalogue'],
  [
    'grant select (a, b), update (c) on s.t, u to x with grant option',
    'GRANT; define s.t(a b c); define u(a b c); alters; catalogue',
  ],
  ['grant select (a), insert on t to x', 'GRANT; define t(*); alters; catalogue'],
  [
    'grant all on all tables in schema s, z to x',
    'GRANT; define s.*(*); define z.*(*); alters; catalogue',
  ],
  ['grant usage on all sequences in schema s to x', 'GRANT; define s.*(*); alters; catalogue'],
  ['grant execute on all functions in schema s to x', 'GRANT; alters; catalogue'],
  ['grant usage on schema s to x', 'GRANT; define s.*(*); alters; catalogue'],
  ['grant all on sequence q to x', 'GRANT; define q(*); alters; catalogue'],
  ['revoke all on t from x cascade', 'REVOKE; define t(*); alters; catalogue'],
  [
    'revoke select on all tables in schema s from public',
    'REVOKE; define s.*(*); alters; catalogue',
  ],
  [
    'alter default privileges in schema s, z grant select on tables to x',
    'ALTER DEFAULT PRIVILEGES; define s.*(*); define z.*(*); alters; catalogue',
  ],
  [
    'alter default privileges for role y revoke all on sequences from x',
    'ALTER DEFAULT PRIVILEGES; define *(*); alters; catalogue',
  ],
  [
    'alter default privileges grant execute on functions to x',
    'ALTER DEFAULT PRIVILEGES; alters; catalogue',
  ],
  ['alter rule r on t rename to s', 'ALTER RULE; define t(*); alters; catalogue'],
  ['alter trigger g on t rename to h', 'ALTER TRIGGER; define t(*); alters; catalogue'],
  ['drop owned by x cascade', 'DROP OWNED; define *(*); alters; catalogue'],
  ['reassign owned by x to y', 'REASSIGN OWNED; define *(*); alters; catalogue'],
];
