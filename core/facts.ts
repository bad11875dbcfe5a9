/** What a lane knows of an operation and policies decide on; tagged by protocol. */
export type Facts = PostgresFacts | { readonly protocol: 'TCP' };

/** What one text of SQL does, as PostgreSQL's own grammar and the backend's catalogue say. */
export interface PostgresFacts {
  readonly protocol: 'Postgres';
  /** In the order of the text; empty for a text that holds no statement. */
  readonly statements: readonly StatementFacts[];
}

/** One statement, with everything that is nested in it. */
export interface StatementFacts {
  /**
   * Command tags in PostgreSQL's words and upper case: the statement's own first, then those of what it runs inside:
   * `EXPLAIN` and `DELETE` for EXPLAIN ANALYZE DELETE, `SELECT` and `INSERT` for a CTE that writes, `COPY TO` or `COPY FROM`.
   */
  readonly commands: readonly [string, ...string[]];
  readonly tables: readonly TableFact[];
  /** Every function that it calls, aggregates and those behind operators' syntax included, each once. */
  readonly functions: readonly FunctionFact[];
  /**
   * Whether a WHERE limits what the outermost SELECT, UPDATE or DELETE takes, and every UPDATE and DELETE inside it;
   * undefined where the command has none.
   */
  readonly hasWhere: boolean | undefined;
  /** The rows that a literal LIMIT lets through, `true` for one that is no literal, undefined without. */
  readonly limit: number | true | undefined;
  /** Where COPY's data comes from or goes to. */
  readonly copy: CopyFact | undefined;
  /** Settings that it changes, in lower case; `*` where it cannot be said which (set_config of a built name). */
  readonly settings: readonly string[];
  /** Whether it can change what later texts mean: they are judged only once it is done. */
  readonly changesMeaning: boolean;
  /** Whether it can change no data and no definition, by what the grammar shows and its functions' volatility. */
  readonly readOnly: boolean;
  /** Whether it runs text that nobody can read before it runs: DO, EXECUTE of a built text, COPY's programs, functions defined here. */
  readonly isOpaque: boolean;
}

/** How a table is used: its rows read, its rows changed, or its definition, rights or storage. */
export const tableAccesses = ['Read', 'Write', 'Define'] as const;
/** One of `tableAccesses`. */
export type TableAccess = (typeof tableAccesses)[number];

/** A table, view, sequence or foreign table with one access; one used in two ways stands twice. */
export interface TableFact extends RelationName {
  readonly access: TableAccess;
  /** Columns by name, `*` for those that cannot be named. */
  readonly columns: readonly string[];
  /** How it came in when the text does not name it itself; undefined when it does. */
  readonly through: Through | undefined;
}

/**
 * A name as the catalogue has it: case kept, no quotes. Where the catalogue knows none, `schema` is as it was written, or
 * undefined. `pg_temp` is any session's temporary schema.
 */
export interface RelationName {
  readonly schema: string | undefined;
  readonly name: string;
}

/**
 * Names what led to it. `View`: the view or the table with rules that the text names. `Parent` and `Child`: the
 * partitioned or inherited table that the text, or the definition of a view, names; the table of an index counts as its
 * parent.
 */
export interface Through extends RelationName {
  readonly kind: 'View' | 'Parent' | 'Child';
}

/** A function or procedure; where the catalogue knows none of that name, `schema` is as written, or undefined. */
export interface FunctionFact {
  readonly schema: string | undefined;
  readonly name: string;
}

/** COPY's direction as seen from the table, and what is at the other end. */
export interface CopyFact {
  readonly direction: 'From' | 'To';
  readonly target: 'Client' | 'File' | 'Program';
}
