import type { CopyFact, TableAccess } from '../../facts.ts';
import type { NameUse, RelationUse, StatementSurvey } from './survey.ts';

/** A relation as a statement names it. */
export interface RelationName extends NameUse {
  readonly only: boolean;
}

/** Settings on which it depends what a later text, or a name in it, stands for. */
const meaningful: ReadonlySet<string> = new Set([
  '*',
  'client_encoding',
  'role',
  'search_path',
  'session_authorization',
  'standard_conforming_strings',
]);

/** Collects what one statement shows, each name once. */
export class StatementDraft {
  readonly #commands = new Set<string>();
  readonly #relations = new Map<
    string,
    RelationName & { access: TableAccess; columns: Set<string> }
  >();
  readonly #functions = new Map<string, NameUse>();
  readonly #operators = new Map<string, NameUse>();
  readonly #attributes = new Set<string>();
  readonly #settings = new Set<string>();
  readonly #moves = new Set<string>();
  readonly #makes = new Map<string, NameUse>();
  readonly #adopts = new Set<string>();
  #rows: { hasWhere: boolean | undefined; limit: number | true | undefined } | undefined;
  #changesMeaning = false;
  copy: CopyFact | undefined;
  changesCatalogue = false;
  changesRights = false;
  readOnly = true;
  isOpaque = false;
  prepares: StatementSurvey['prepares'];
  executes: string | undefined;
  deallocates: StatementSurvey['deallocates'];

  command(tag: string): void {
    this.#commands.add(tag);
  }

  /** Returns the columns of this use of a relation, to add to. */
  relation(name: RelationName, access: TableAccess): Set<string> {
    if (access !== 'Read') this.readOnly = false;
    if (access === 'Write' && name.name === 'pg_settings') this.setting('*'); // its rule sets them
    const key = JSON.stringify([name.schema ?? null, name.name, access, name.only]);
    const known = this.#relations.get(key);
    if (known !== undefined) return known.columns;
    const columns = new Set<string>();
    this.#relations.set(key, {
      schema: name.schema,
      name: name.name,
      only: name.only,
      access,
      columns,
    });
    return columns;
  }

  /** Notes all relations of a schema, or of the database. */
  everyRelation(schema: string | undefined, access: TableAccess): void {
    this.relation({ schema, name: '*', only: false }, access).add('*');
  }

  function(name: NameUse): void {
    this.#functions.set(keyOf(name), name);
  }

  operator(name: NameUse): void {
    this.#operators.set(keyOf(name), name);
  }

  attribute(name: string): void {
    this.#attributes.add(name);
  }

  /** Notes a setting that changes; `turnsReadOnlyOn` says that it can only take rights away. */
  setting(name: string, { turnsReadOnlyOn = false } = {}): void {
    const folded = name.toLowerCase();
    this.#settings.add(folded);
    const unbinds = folded === '*' || folded.endsWith('transaction_read_only');
    if (unbinds && !turnsReadOnlyOn) this.readOnly = false;
  }

  /** Notes what bounds the rows of a statement: the first one counts, being the outermost. */
  rows(hasWhere: boolean | undefined, limit?: number | true): void {
    this.#rows ??= { hasWhere, limit };
  }

  /** Notes an UPDATE or DELETE: also inside another statement, one that takes every row is not hidden by that one's WHERE. */
  changesRows(hasWhere: boolean): void {
    this.rows(hasWhere);
    if (!hasWhere && this.#rows) this.#rows.hasWhere = false;
  }

  /** Notes that a name may stand for another thing from now on, `*` that any may. */
  moves(name: string): void {
    this.#moves.add(name);
  }

  /** Notes a relation that is made. */
  makes(name: NameUse): void {
    this.#makes.set(keyOf(name), { schema: name.schema, name: name.name });
  }

  /** Notes the parent of a table that is made. */
  adopts(name: string): void {
    this.#adopts.add(name);
  }

  /** Notes a change of definitions. */
  defines(): void {
    this.changesCatalogue = true;
    this.readOnly = false;
  }

  /** Notes that settings may be others afterwards though none is named. */
  changesMeaning(): void {
    this.#changesMeaning = true;
  }

  /** Takes in a statement that is planned and not run: it is noted, but changes nothing. */
  planOnly(takeIn: () => void): void {
    const { readOnly, changesCatalogue } = this;
    takeIn();
    this.readOnly = readOnly && !this.isOpaque;
    this.changesCatalogue = changesCatalogue || this.isOpaque;
  }

  opaque(): void {
    this.isOpaque = true;
    this.changesCatalogue = true;
    this.readOnly = false;
  }

  finish(): StatementSurvey {
    const [first = '', ...others] = this.#commands; // every handler of a statement begins with its command
    const settings = [...this.#settings];
    return {
      commands: [first, ...others],
      relations: Array.from(this.#relations.values(), (use): RelationUse => ({
        ...use,
        columns: [...use.columns],
      })),
      functions: [...this.#functions.values()],
      operators: [...this.#operators.values()],
      attributes: [...this.#attributes],
      hasWhere: this.#rows?.hasWhere,
      limit: this.#rows?.limit,
      copy: this.copy,
      settings,
      changesMeaning:
        this.#changesMeaning ||
        this.isOpaque ||
        this.changesCatalogue ||
        settings.some((name) => meaningful.has(name)),
      changesCatalogue: this.changesCatalogue,
      moves: [...this.#moves],
      makes: [...this.#makes.values()],
      adopts: [...this.#adopts],
      changesRights: this.changesRights,
      readOnly: this.readOnly,
      isOpaque: this.isOpaque,
      prepares: this.prepares,
      executes: this.executes,
      deallocates: this.deallocates,
    };
  }
}

function keyOf(name: NameUse): string {
  return JSON.stringify([name.schema ?? null, name.name]);
}
