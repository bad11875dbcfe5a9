import { Catalogue } from '#core/postgres/sql/catalogue.ts';
import type { CatalogueRows } from '#core/postgres/sql/catalogue-queries.ts';

/** A catalogue as a test writes it down; relations are named `schema.name`. */
export interface MadeCatalogue {
  readonly schemas?: readonly string[];
  /** Roles, and the schemas that they may not use; undefined: not known. */
  readonly roles?: Readonly<Record<string, readonly string[] | undefined>>;
  /** By name: a kind of pg_class, and `!` where writes run triggers. */
  readonly relations?: Readonly<Record<string, string>>;
  /** Children by parent. */
  readonly children?: Readonly<Record<string, readonly string[]>>;
  /** By view, what it reads: `schema.name(column,column)`; all columns without parentheses. */
  readonly views?: Readonly<Record<string, readonly string[]>>;
  /** By table, what its rules use. */
  readonly rules?: Readonly<Record<string, readonly string[]>>;
  /** By view, or table with rules, what is called there. */
  readonly calls?: Readonly<Record<string, readonly string[]>>;
  /** Volatility by name, and ` row` where a row is enough to call it. */
  readonly functions?: Readonly<Record<string, string>>;
  /** Functions by operator; `app.===`. */
  readonly operators?: Readonly<Record<string, string>>;
  /** Tables by index. */
  readonly indexes?: Readonly<Record<string, string>>;
}

type Row = readonly (string | null)[];

/** Rows as a database would answer them. */
export function madeRows(made: MadeCatalogue): CatalogueRows {
  const relations = { ...made.relations, ...kinds(made.indexes, 'i') };
  const oids = new Map(Object.keys(relations).map((name, index) => [name, 20_000 + index]));
  const oidOf = (name: string): string => String(oids.get(name) ?? fail(name));
  const uses = (own: boolean, all: Readonly<Record<string, readonly string[]>> = {}): Row[] =>
    Object.entries(all).flatMap(([name, used]) =>
      used.map((text) => {
        const [, relation = '', columns] = /^([^(]*)(?:\((.*)\))?$/.exec(text) ?? [];
        const list = columns === undefined ? null : JSON.stringify(columns.split(','));
        return [oidOf(name), own ? 't' : 'f', oidOf(relation), list];
      }),
    );
  return {
    schemas: (made.schemas ?? []).map((schema) => [schema]),
    roles: Object.entries(made.roles ?? {}).map(([role, closed]) => [
      role,
      closed ? JSON.stringify(closed) : null,
    ]),
    relations: Object.entries(relations).map(([name, kind]) => {
      const table = made.indexes?.[name];
      const code = kind.endsWith('!') ? 't' : 'f';
      return [oidOf(name), ...split(name), kind.slice(0, 1), code, table ? oidOf(table) : null];
    }),
    inheritance: Object.entries(made.children ?? {}).flatMap(([parent, children]) =>
      children.map((child) => [oidOf(child), oidOf(parent)]),
    ),
    uses: [...uses(true, made.views), ...uses(false, made.rules)],
    calls: Object.entries(made.calls ?? {}).flatMap(([name, called]) =>
      called.map((fn) => [oidOf(name), made.views?.[name] ? 't' : 'f', ...split(fn)]),
    ),
    functions: Object.entries(made.functions ?? {}).map(([name, kind]) => [
      ...split(name),
      kind.slice(0, 1),
      kind.endsWith(' row') ? 't' : 'f',
    ]),
    operators: Object.entries(made.operators ?? {}).map(([name, fn]) => [
      ...split(name),
      ...split(fn),
    ]),
  };
}

/** A catalogue of what is written down. */
export const madeCatalogue = (made: MadeCatalogue): Catalogue => new Catalogue(madeRows(made));

function kinds(names: Readonly<Record<string, string>> = {}, kind: string): Record<string, string> {
  return Object.fromEntries(Object.keys(names).map((name) => [name, kind]));
}

function split(name: string): [string, string] {
  const dot = name.indexOf('.');
  return [name.slice(0, dot), name.slice(dot + 1)];
}

function fail(name: string): never {
  throw new Error(`the test has no relation ${name}`);
}
