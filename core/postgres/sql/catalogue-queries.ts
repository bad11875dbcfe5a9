/** What is read of a database's catalogue, by name. */
export type CatalogueQuery =
  'schemas' | 'roles' | 'relations' | 'inheritance' | 'uses' | 'calls' | 'functions' | 'operators';

/** Rows of each query's answer, values in PostgreSQL's text format. */
export type CatalogueRows = Readonly<
  Record<CatalogueQuery, readonly (readonly (string | null)[])[]>
>;

/**
 * Rows that a query may yield; each asks for one more, which shows that there are more. A catalogue of which relations,
 * functions and what views use are all at this bound takes 42 MB.
 */
export const maxCatalogueRows = 50_000;

/** Roles times schemas up to which it is asked who may use what. */
const maxUses = 200_000;

/** What has an oid below this was made with the database: its dependencies on what is pinned are not stored. */
export const firstNormalOid = 16_384;

const limit = `limit ${maxCatalogueRows + 1}`;

/**
 * Begins a transaction in which `catalogueQueries` show one state. Operators cannot be qualified without making the
 * queries unreadable, so the path is set: nobody but the owner of the database adds to pg_catalog. Without standard
 * strings the patterns would mean something else and find nothing; both may be set otherwise for a role or a database.
 */
export const beginCatalogue =
  'begin transaction isolation level repeatable read read only;' +
  ' set local search_path = pg_catalog, pg_temp; set local statement_timeout = 5000;' +
  ' set local standard_conforming_strings = on; set local jit = off';

/** Schemas of relations and functions: TOAST's are left out, other sessions' temporary ones are one. */
const schemaOf = "case when n.nspname like 'pg\\_temp\\_%' then 'pg_temp' else n.nspname end";
/** Of functions that are an extension's. */
const computesOnly = "p.provolatile <> 'v' and l.lanname in ('c', 'internal')";

/**
 * Believed of PostgreSQL's own functions and of those in C (pg_language 12 and 13): whoever writes another may have it call
 * what changes things, and say that it is immutable.
 */
const volatilityOf = (p: 't' | 'p'): string =>
  `case when ${p}.oid < 16384 or ${p}.prolang in (12, 13) then ${p}.provolatile::pg_catalog.text else 'v' end`;
const named = "n.nspname not like 'pg\\_toast%'";

/**
 * Queries for what `buildCatalogue` takes, each one statement. Any login may run them, on PostgreSQL 13 to 18.
 *
 * What views read is taken from the stored trees of their rules, because pg_depend does not know what initdb made: a
 * view over pg_authid depends on nothing there. Columns are from pg_depend, which knows nothing of whole rows (a Var of
 * attribute 0).
 */
export const catalogueQueries = queriesFrom(0);

/** The same, without what was made with the database: a small part of the work. */
export const ownCatalogueQueries = queriesFrom(firstNormalOid);

/** Leaves out relations, rules and functions below an oid. */
function queriesFrom(least: number): Readonly<Record<CatalogueQuery, string>> {
  return {
    schemas: `
    select n.nspname from pg_catalog.pg_namespace n
    where ${named} and n.nspname not like 'pg\\_temp\\_%' ${limit}`,

    // Role, and the schemas that it may not use; null where that was not asked. Roles lead, so that the server's own
    // cache of a role's memberships serves all schemas.
    roles: `
    select r.rolname, case
      when (select pg_catalog.count(*) from pg_catalog.pg_roles)
        * (select pg_catalog.count(*) from pg_catalog.pg_namespace) <= ${maxUses}
      then pg_catalog.array_to_json(array(
        select n.nspname from pg_catalog.pg_namespace n
        where ${named} and n.nspname not like 'pg\\_temp\\_%'
          and not pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')))
    end
    from pg_catalog.pg_roles r ${limit}`,

    // Oid, schema, name, kind, whether user code runs when it is written to, and the table of an index.
    relations: `
    select c.oid, ${schemaOf}, c.relname, c.relkind,
      exists (select from pg_catalog.pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal)
        or exists (select from pg_catalog.pg_rewrite w where w.ev_class = c.oid and w.ev_type <> '1'),
      (select i.indrelid from pg_catalog.pg_index i where i.indexrelid = c.oid)
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'v', 'm', 'f', 'p', 'S', 'i', 'I') and ${named} and c.oid >= ${least} ${limit}`,

    // Child and parent.
    inheritance: `
    select i.inhrelid, i.inhparent from pg_catalog.pg_inherits i ${limit}`,

    // The relation of a rule, whether the rule is a view's own, the relation it uses and that one's columns.
    uses: `
    with rules as materialized (
      select w.oid, w.ev_class, w.ev_type = '1' as own, w.ev_action::pg_catalog.text as tree,
        pg_catalog.strpos(w.ev_action::pg_catalog.text, ':varattno 0 ') > 0 as whole
      from pg_catalog.pg_rewrite w where w.ev_class >= ${least}
    ), used as (
      select r.oid, r.ev_class, r.own, r.whole, m.found[1]::pg_catalog.oid as relation,
        pg_catalog.min(m.place) as place
      from rules r cross join lateral pg_catalog.regexp_matches(r.tree, ':relid (\\d+)', 'g')
        with ordinality as m (found, place)
      group by r.oid, r.ev_class, r.own, r.whole, m.found[1]
    )
    select u.ev_class, u.own, u.relation, case when not u.whole then pg_catalog.array_to_json(array(
      select a.attname
      from pg_catalog.pg_depend d join pg_catalog.pg_attribute a
        on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
      where d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = u.oid
        and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        and d.refobjid = u.relation and d.refobjsubid <> 0)) end
    from used u where u.relation not in (0, u.ev_class) order by u.oid, u.place ${limit}`,

    // The relation of a rule, whether the rule is a view's own, and a function that it calls. Operators' functions count
    // where somebody added them, but not those of extensions that only compute.
    calls: `
    select distinct w.ev_class, w.ev_type = '1', n.nspname, p.proname
    from pg_catalog.pg_rewrite w
      cross join lateral pg_catalog.regexp_matches(w.ev_action::pg_catalog.text,
        ':(funcid|aggfnoid|winfnoid|opfuncid) (\\d+)', 'g') as m (found)
      join pg_catalog.pg_proc p on p.oid = m.found[2]::pg_catalog.oid
      join pg_catalog.pg_language l on l.oid = p.prolang
      join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where w.ev_class >= ${least} and (m.found[1] <> 'opfuncid'
      or (n.nspname <> 'pg_catalog' and not (${computesOnly} and exists (
        select from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = p.oid
          and d.deptype = 'e'))))
    ${limit}`,

    // Schema, name, the worst volatility of that name, which of an aggregate is that of the functions it is made of, and
    // whether one of them can be called with a row alone, and whether somebody made one of them.
    functions: `
    select ${schemaOf}, p.proname, pg_catalog.max(coalesce((
      select pg_catalog.max(${volatilityOf('t')}) from pg_catalog.pg_aggregate a
        join pg_catalog.pg_proc t on t.oid in (a.aggtransfn, a.aggfinalfn)
      where a.aggfnoid = p.oid
    ), ${volatilityOf('p')})),
      pg_catalog.bool_or(p.pronargs - p.pronargdefaults <= 1 and exists (
        select from pg_catalog.pg_type a where a.oid = p.proargtypes[0] and a.typtype in ('c', 'd', 'p')
      )),
      pg_catalog.max(p.oid::pg_catalog.int8) >= ${firstNormalOid}
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where ${named} and (p.pronamespace, p.proname) in (
      select f.pronamespace, f.proname from pg_catalog.pg_proc f where f.oid >= ${least})
    group by 1, 2 ${limit}`,

    // Schema and name of an operator that somebody added, and its function. No function for those of extensions in C that
    // are not volatile: they compute as PostgreSQL's own do, and a database with citext or hstore has such an = besides.
    operators: `
    select distinct o.nspname, o.oprname, case when not o.plain then o.function_schema end,
      case when not o.plain then o.proname end
    from (
      select n.nspname, o.oprname, f.nspname as function_schema, p.proname,
        ${computesOnly} and exists (
          select from pg_catalog.pg_depend d
          where d.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass and d.objid = o.oid
            and d.deptype = 'e') as plain
      from pg_catalog.pg_operator o
        join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
        join pg_catalog.pg_proc p on p.oid = o.oprcode
        join pg_catalog.pg_language l on l.oid = p.prolang
        join pg_catalog.pg_namespace f on f.oid = p.pronamespace
      where o.oid >= ${firstNormalOid}
    ) o ${limit}`,
  };
}
