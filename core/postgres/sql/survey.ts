import type { CopyFact, TableAccess } from '../../facts.ts';

/**
 * What PostgreSQL's grammar alone shows of a text: names as they are written, before anybody has looked them up. Plain
 * data, which passes between threads.
 */
export interface Survey {
  /** In the order of the text; empty for a text that holds no statement. */
  readonly statements: readonly StatementSurvey[];
}

/** One statement, with everything that is nested in it. */
export interface StatementSurvey {
  /** As in `StatementFacts`. */
  readonly commands: readonly [string, ...string[]];
  /**
   * One entry for each name with one access and `only`, columns joined. Names of CTEs are not among them. The name `*`
   * stands for all relations of the schema, without one of the database.
   */
  readonly relations: readonly RelationUse[];
  readonly functions: readonly NameUse[];
  /** Operators other than by their plain syntax's own functions; those of the user's own call functions. */
  readonly operators: readonly NameUse[];
  /**
   * Names after a dot, `t.name` or `(row).name`: where the row has no such column, PostgreSQL calls the function of that
   * name with the row.
   */
  readonly attributes: readonly string[];
  /** As in `StatementFacts`. */
  readonly hasWhere: boolean | undefined;
  readonly limit: number | true | undefined;
  readonly copy: CopyFact | undefined;
  readonly settings: readonly string[];
  readonly changesMeaning: boolean;
  /** Whether it defines, changes or drops something that names may stand for, so that the catalogue is out of date. */
  readonly changesCatalogue: boolean;
  /**
   * Names that may stand for another thing from then on that existed before, `*` for any: RENAME, SET SCHEMA, ATTACH,
   * INHERIT.
   */
  readonly moves: readonly string[];
  /** Relations that it makes. */
  readonly makes: readonly NameUse[];
  /** Parents of tables that it makes. */
  readonly adopts: readonly string[];
  /** Whether a role may look into other schemas from then on, so that names are found elsewhere. */
  readonly changesRights: boolean;
  /** Whether the grammar shows no change of data, definitions or settings; functions may still make one. */
  readonly readOnly: boolean;
  readonly isOpaque: boolean;
  /** PREPARE: what its name stands for from then on. */
  readonly prepares: { readonly name: string; readonly statement: StatementSurvey } | undefined;
  /** EXECUTE, also within EXPLAIN or CREATE TABLE AS: the name of what it runs. Alone, it is not `readOnly`: that says. */
  readonly executes: string | undefined;
  /** DEALLOCATE and DISCARD: a name that stands for nothing from then on. */
  readonly deallocates: { readonly name: string } | 'all' | undefined;
}

/** A name as the grammar reads it: folded to lower case where it was not quoted. */
export interface NameUse {
  readonly schema: string | undefined;
  readonly name: string;
}

/** How a relation is named and used. */
export interface RelationUse extends NameUse {
  readonly access: TableAccess;
  /**
   * Columns by name; `*` where they cannot be told or all are taken. An unqualified name counts for every relation that it
   * may belong to, so there are some that the relation does not have. Those of a Write are what changes.
   */
  readonly columns: readonly string[];
  /** Whether ONLY keeps its children out. */
  readonly only: boolean;
}

/** What names of a session mean at one time, besides the catalogue. */
export interface Meaning {
  /** The schemas of `search_path` in their order, `"$user"` as it is written. */
  readonly searchPath: readonly string[];
  /** `role`, or where that is `none`, `session_authorization`. */
  readonly currentUser: string;
}
