import {
  firstNormalOid,
  maxCatalogueRows,
  type CatalogueQuery,
  type CatalogueRows,
} from './catalogue-queries.ts';

/** pg_class.relkind: a table, view, materialized, foreign or partitioned table, sequence or index. */
export type RelationKind = 'r' | 'v' | 'm' | 'f' | 'p' | 'S' | 'i' | 'I';

/** pg_proc.provolatile: immutable, stable or volatile. */
export type Volatility = 'i' | 's' | 'v';

/** A function or operator's function by its name; overloads are not told apart. */
export interface FunctionName {
  readonly schema: string;
  readonly name: string;
}

/** An operator that somebody added. */
export interface AddedOperator {
  readonly schema: string;
  /** Undefined where its function does nothing but compute. */
  readonly calls: FunctionName | undefined;
}

/** What the body of a view or rule uses. */
export interface Definition {
  /** In the order of the text; an updatable view's first is what is written to through it. */
  readonly uses: readonly { readonly relation: Relation; readonly columns: readonly string[] }[];
  readonly calls: readonly FunctionName[];
}

/** A relation, with those that it leads to. */
export interface Relation {
  /** `pg_temp` for any session's temporary schema. */
  readonly schema: string;
  readonly name: string;
  readonly kind: RelationKind;
  /** Whether a write to it runs triggers or rules that somebody defined. */
  readonly runsCode: boolean;
  /** Of an index. */
  readonly table: Relation | undefined;
  /** Of inheritance and partitions, one step up and one step down. */
  readonly parents: readonly Relation[];
  readonly children: readonly Relation[];
  /** What a view reads. */
  readonly view: Definition;
  /** What is used by rules on writes to it. */
  readonly rules: Definition;
}

interface MutableDefinition extends Definition {
  readonly uses: { relation: Relation; columns: readonly string[] }[];
  readonly calls: FunctionName[];
}

interface MutableRelation extends Relation {
  table: Relation | undefined;
  parents: readonly Relation[];
  children: readonly Relation[];
  view: Definition;
  rules: Definition;
}

const nothing: readonly never[] = [];
const noDefinition: Definition = { uses: nothing, calls: nothing };
const everyColumn: readonly string[] = ['*'];

/**
 * What the names of one database stand for, at the time when it was read. Nothing changes it. Types, casts, defaults,
 * row security and the bodies of functions are not in it.
 */
export class Catalogue {
  readonly #relations = new Map<string, Map<string, Relation[]>>();
  readonly #functions = new Map<string, Map<string, Volatility>>();
  /** Schemas by the name of a function. */
  readonly #ofRows = new Map<string, string[]>();
  readonly #operators = new Map<string, AddedOperator[]>();
  readonly #schemas: ReadonlySet<string>;
  /** Schemas that a role may not use; undefined where that was not asked. */
  readonly #closed = new Map<string, ReadonlySet<string> | undefined>();

  constructor(rows: CatalogueRows) {
    this.#schemas = new Set(rows.schemas.map(([schema]) => schema ?? ''));
    for (const [role, closed] of rows.roles) {
      const names = closed === null ? undefined : new Set(parseNames(closed));
      this.#closed.set(role ?? '', names);
    }
    const relations = this.#addRelations(rows.relations);
    addInheritance(relations, rows.inheritance);
    addDefinitions(relations, rows);
    for (const [schema, name, volatility, ofRow] of rows.functions) {
      inner(this.#functions, schema ?? '').set(name ?? '', parseVolatility(volatility));
      if (ofRow === 't') append(this.#ofRows, name ?? '', schema ?? '');
    }
    for (const [schema, name, ofFunction, called] of rows.operators) {
      const calls =
        typeof called === 'string' ? { schema: ofFunction ?? '', name: called } : undefined;
      append(this.#operators, name ?? '', { schema: schema ?? '', calls });
    }
  }

  hasSchema(schema: string): boolean {
    return this.#schemas.has(schema);
  }

  /** Whether a role may look into a schema; undefined where that is not known. */
  mayUse(role: string, schema: string): boolean | undefined {
    const closed = this.#closed.get(role);
    return closed && !closed.has(schema);
  }

  /** Relations of one name: one at most, but for `pg_temp`, where each session may have its own. */
  relations(schema: string, name: string): readonly Relation[] {
    return this.#relations.get(schema)?.get(name) ?? nothing;
  }

  /**
   * The worst volatility of the functions with a name; undefined where there is none. Volatile is also what is neither
   * PostgreSQL's own nor written in C: what says that it is immutable may call what is not.
   */
  volatility(schema: string, name: string): Volatility | undefined {
    return this.#functions.get(schema)?.get(name);
  }

  /** Schemas with a function of that name that can be called with a row alone, as by `row.name`. */
  ofRows(name: string): readonly string[] {
    return this.#ofRows.get(name) ?? nothing;
  }

  /** Operators of one name that somebody added to what PostgreSQL brings, and their functions. */
  operators(name: string): readonly AddedOperator[] {
    return this.#operators.get(name) ?? nothing;
  }

  #addRelations(rows: CatalogueRows['relations']): ReadonlyMap<string, MutableRelation> {
    const byOid = new Map<string, MutableRelation>();
    const tables: [MutableRelation, string][] = [];
    for (const [oid, schema, name, kind, runsCode, table] of rows) {
      const relation: MutableRelation = {
        schema: schema ?? '',
        name: name ?? '',
        kind: parseKind(kind),
        runsCode: runsCode === 't',
        table: undefined,
        parents: nothing,
        children: nothing,
        view: noDefinition,
        rules: noDefinition,
      };
      byOid.set(oid ?? '', relation);
      if (typeof table === 'string') tables.push([relation, table]);
      const names = inner(this.#relations, relation.schema);
      names.set(relation.name, [...(names.get(relation.name) ?? nothing), relation]);
    }
    for (const [index, table] of tables) index.table = byOid.get(table);
    return byOid;
  }
}

/** Says that a database has more of something than is taken into memory. */
export type Overflow = { readonly kind: 'overflow'; readonly query: CatalogueQuery };

/** Rows about what was made with the database, which nobody but a superuser changes. */
export type MadeRows = Pick<CatalogueRows, 'relations' | 'uses' | 'calls' | 'functions'>;

/** Takes the rows of what was made with the database from the answers to `catalogueQueries`. */
export function madeRowsOf({ relations, uses, calls, functions }: CatalogueRows): MadeRows {
  const isMade = ([oid]: CatalogueRows['relations'][number]): boolean =>
    Number(oid) < firstNormalOid;
  return {
    relations: relations.filter(isMade),
    uses: uses.filter(isMade),
    calls: calls.filter(isMade),
    functions: functions.filter(([, , , , isOwn]) => isOwn === 'f'),
  };
}

/** Joins them with the answers to `ownCatalogueQueries`, which may be newer. */
export function withOwnRows(made: MadeRows, own: CatalogueRows): CatalogueRows {
  return {
    ...own,
    relations: [...made.relations, ...own.relations],
    uses: [...made.uses, ...own.uses],
    calls: [...made.calls, ...own.calls],
    functions: [...made.functions, ...own.functions], // the last row of a name counts
  };
}

/**
 * Builds the catalogue from the answers to `catalogueQueries`. Of a database that has more of something than
 * `maxCatalogueRows` there is none, and its names stay unresolved; of roles and schemas the rest is then not known.
 */
export function buildCatalogue(rows: CatalogueRows): Catalogue | Overflow {
  for (const query of bounded) {
    if (rows[query].length > maxCatalogueRows) return { kind: 'overflow', query };
  }
  return new Catalogue(rows);
}

const bounded = [
  'schemas',
  'relations',
  'inheritance',
  'uses',
  'calls',
  'functions',
  'operators',
] as const satisfies readonly CatalogueQuery[];

function addInheritance(
  relations: ReadonlyMap<string, MutableRelation>,
  rows: CatalogueRows['inheritance'],
): void {
  const children = new Map<MutableRelation, Relation[]>();
  for (const [childOid, parentOid] of rows) {
    const child = relations.get(childOid ?? '');
    const parent = relations.get(parentOid ?? '');
    if (!child || !parent) continue;
    child.parents = [...child.parents, parent];
    append<MutableRelation, Relation>(children, parent, child);
  }
  for (const [parent, all] of children) parent.children = all;
}

function addDefinitions(
  relations: ReadonlyMap<string, MutableRelation>,
  { uses, calls }: CatalogueRows,
): void {
  const definitions = new Map<Definition, MutableDefinition>();
  const definitionOf = (oid: string | null | undefined, own: string | null | undefined) => {
    const relation = relations.get(oid ?? '');
    if (!relation) return undefined;
    const part = own === 't' ? 'view' : 'rules';
    const before = definitions.get(relation[part]);
    if (before) return before;
    const made: MutableDefinition = { uses: [], calls: [] };
    definitions.set(made, made);
    relation[part] = made;
    return made;
  };
  for (const [oid, own, usedOid, columns] of uses) {
    const relation = relations.get(usedOid ?? '');
    if (!relation) continue;
    const named = typeof columns === 'string' ? parseNames(columns) : everyColumn;
    const unknown = named.length === 0 && Number(usedOid) < firstNormalOid;
    definitionOf(oid, own)?.uses.push({ relation, columns: unknown ? everyColumn : named });
  }
  for (const [oid, own, schema, name] of calls) {
    definitionOf(oid, own)?.calls.push({ schema: schema ?? '', name: name ?? '' });
  }
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const there = map.get(key);
  if (there) there.push(value);
  else map.set(key, [value]);
}

function inner<K, L, V>(map: Map<K, Map<L, V>>, key: K): Map<L, V> {
  const there = map.get(key);
  if (there) return there;
  const made = new Map<L, V>();
  map.set(key, made);
  return made;
}

function parseKind(kind: string | null | undefined): RelationKind {
  switch (kind) {
    case 'v':
    case 'm':
    case 'f':
    case 'p':
    case 'S':
    case 'i':
    case 'I':
      return kind;
    default:
      return 'r';
  }
}

function parseVolatility(volatility: string | null | undefined): Volatility {
  return volatility === 'i' || volatility === 's' ? volatility : 'v';
}

function parseNames(json: string | undefined): readonly string[] {
  const names: unknown = json === undefined ? [] : JSON.parse(json);
  return Array.isArray(names) ? names.filter((name) => typeof name === 'string') : [];
}
