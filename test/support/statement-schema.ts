/** A relation that generated statements use; every one but the odd ones has `id`, `parent_id`, `label` and `amount`. */
export interface SchemaRelation {
  readonly schema: string;
  readonly name: string;
  readonly kind: 'table' | 'view' | 'matview' | 'sequence' | 'system';
  /** INSERT, UPDATE and DELETE work on it. */
  readonly isWritable: boolean;
  /** ON CONFLICT (id) and MERGE work on it: a table with its key, without rules. */
  readonly hasKey: boolean;
}

/** A role and what `search_path` is set to, as PostgreSQL and as the product take it. */
export interface Situation {
  readonly role: 'postgres' | 'clerk';
  readonly path: readonly string[];
}

const columns = 'parent_id int, label text, amount numeric';
const keyed = `id int primary key, ${columns}`;
const unkeyed = `id int, ${columns}`;
const listed = (alias: string): string =>
  ['id', 'parent_id', 'label', 'amount'].map((name) => `${alias}.${name}`).join(', ');

/** What a superuser makes before statements are generated; the temporary part belongs to the session that runs it. */
export const schemaDefinition = `
  create role clerk;
  create schema app; create schema hr; create schema clerk; create schema "Odd.Schema";
  create table app.orders (${keyed}, app_only int);
  create table hr.orders (${keyed});
  create view public.orders as select ${listed('o')} from hr.orders o;
  create table clerk.orders (${keyed});
  create table "Odd.Schema".orders (${keyed});
  create table "Odd.Schema"."Order ""Lines""" (${keyed});
  create table app.items (${keyed});
  create table hr.items (${keyed}) partition by hash (id);
  create table hr.items_0 partition of hr.items for values with (modulus 1, remainder 0);
  create table app.parts (${keyed}) partition by range (id);
  create table app.part_1 partition of app.parts for values from (0) to (100) partition by range (id);
  create table app.part_1a partition of app.part_1 for values from (0) to (50);
  create table app.part_1b partition of app.part_1 for values from (50) to (100);
  create table hr.part_2 partition of app.parts default;
  create table app.animals (${unkeyed});
  create table app.pets (${unkeyed});
  create table app.dogs (barks boolean) inherits (app.animals, app.pets);
  create table hr.puppies () inherits (app.dogs);
  create table app.log (${unkeyed});
  create table app.ruled (${unkeyed});
  create rule keep as on insert to app.ruled do also
    insert into app.log (id, label) values (new.id, new.label);
  create rule keep_old as on update to app.ruled do also
    insert into app.log (id, label) select old.id, i.label from app.items i where i.id = old.id;
  create table app.pg_class (${unkeyed}, relname text);
  create sequence app.numbers;
  create function app.doubled(bigint) returns bigint language sql immutable as 'select $1 * 2';
  create function app.mask(text) returns text language plpgsql stable as 'begin return ''x''; end';
  create function hr.mask(text) returns text language sql stable as 'select $1';
  create function app.recent(bigint) returns table (id int, label text) language sql volatile
    as 'select o.id, o.label from app.orders o';
  create function hr.recent(bigint) returns table (id int, label text) language plpgsql
    as 'begin return query select o.id, o.label from hr.orders o; end';
  create function app.near(text, text) returns boolean language plpgsql immutable
    as 'begin return $1 = $2; end';
  create operator app.=== (leftarg = text, rightarg = text, function = app.near);
  create view app.order_view as select ${listed('o')} from app.orders o where o.id > 0;
  create view app.part_view as select ${listed('p')} from app.parts p;
  create view hr.parts as select ${listed('v')} from app.part_view v;
  create view public.animals as select ${listed('a')} from app.animals a
    where exists (select from hr.items i where i.id = a.id);
  create view public.only_animals as select ${listed('a')} from only app.animals a;
  create view app.deep_view as select ${listed('v')} from app.order_view v
    join hr.orders o on o.id = v.id left join hr.parts p on p.id = o.parent_id;
  create view hr.chosen as with orders as (select i.id from app.items i)
    select ${listed('p')} from app.pets p where p.id in (select o.id from orders o);
  create view public.whole as select ${listed('o')}, pg_catalog.to_jsonb(o) as doc from app.orders o;
  create materialized view app.totals as select ${listed('v')} from app.deep_view v;
  create view hr.totals as select ${listed('t')} from app.totals t
    union all select ${listed('l')} from app.log l;
  create view app.redirected as select ${listed('o')} from hr.orders o;
  create rule elsewhere as on insert to app.redirected do instead
    insert into app.log (id, label) values (new.id, app.mask(new.label));
  create rule removal as on delete to app.redirected do instead
    delete from app.items i using hr.items h where i.id = old.id and h.id = i.id;
  create temp table scratch (${keyed});
  create temp table items (${keyed});
  create temp view seen as select ${listed('o')} from app.order_view o join scratch s on s.id = o.id;
  grant usage on schema app, public, "Odd.Schema", clerk to clerk;
  grant all on all tables in schema app, hr, public, clerk, "Odd.Schema" to clerk;
  grant all on all sequences in schema app to clerk;
  grant all on scratch, items, seen to clerk;
`;

function relation(
  written: string,
  kind: SchemaRelation['kind'],
  uses: '' | 'writable' | 'keyed' = '',
): SchemaRelation {
  const [schema = '', name = ''] = written.split(':');
  return { schema, name, kind, isWritable: uses !== '', hasKey: uses === 'keyed' };
}

/** The relations of `schemaDefinition` that statements use, and one that every database has. */
export const schemaRelations: readonly SchemaRelation[] = [
  relation('app:orders', 'table', 'keyed'),
  relation('hr:orders', 'table', 'keyed'),
  relation('public:orders', 'view', 'writable'),
  relation('clerk:orders', 'table', 'keyed'),
  relation('Odd.Schema:orders', 'table', 'keyed'),
  relation('Odd.Schema:Order "Lines"', 'table', 'keyed'),
  relation('app:items', 'table', 'keyed'),
  relation('hr:items', 'table', 'keyed'),
  relation('app:parts', 'table', 'keyed'),
  relation('app:part_1', 'table', 'keyed'),
  relation('app:part_1a', 'table', 'keyed'),
  relation('hr:part_2', 'table', 'keyed'),
  relation('app:animals', 'table', 'writable'),
  relation('app:pets', 'table', 'writable'),
  relation('app:dogs', 'table', 'writable'),
  relation('app:ruled', 'table', 'writable'),
  relation('app:pg_class', 'table'),
  relation('pg_catalog:pg_class', 'system'),
  relation('app:numbers', 'sequence'),
  relation('app:order_view', 'view', 'writable'),
  relation('app:part_view', 'view', 'writable'),
  relation('hr:parts', 'view', 'writable'),
  relation('public:animals', 'view', 'writable'),
  relation('public:only_animals', 'view', 'writable'),
  relation('app:deep_view', 'view'),
  relation('hr:chosen', 'view'),
  relation('public:whole', 'view', 'writable'),
  relation('app:totals', 'matview'),
  relation('hr:totals', 'view'),
  relation('app:redirected', 'view', 'writable'),
  relation('pg_temp:scratch', 'table', 'keyed'),
  relation('pg_temp:items', 'table', 'keyed'),
  relation('pg_temp:seen', 'view'),
];

/** Roles and paths under which statements are generated. */
export const situations: readonly Situation[] = [
  { role: 'postgres', path: ['app', 'hr', 'public'] },
  { role: 'postgres', path: ['hr', 'app'] },
  { role: 'postgres', path: ['app', 'pg_catalog'] },
  { role: 'postgres', path: ['$user', 'nowhere', 'Odd.Schema', 'app'] },
  { role: 'postgres', path: ['public', 'pg_temp', 'app'] },
  { role: 'postgres', path: ['pg_catalog', 'hr', 'pg_temp'] },
  { role: 'clerk', path: ['$user', 'public', 'app'] },
  { role: 'clerk', path: ['hr', 'app', 'public'] },
  { role: 'clerk', path: ['Odd.Schema', '$user'] },
];

/** Schemas in the order in which the server looks for a relation's name. */
export function placesOf({ role, path }: Situation): readonly string[] {
  const named = path
    .map((schema) => (schema === '$user' ? role : schema))
    .filter((schema) => mayUse(role, schema));
  const implied = ['pg_temp', 'pg_catalog'].filter((schema) => !named.includes(schema));
  return [...implied, ...named];
}

export function mayUse(role: Situation['role'], schema: string): boolean {
  return role === 'postgres' || schema !== 'hr';
}
