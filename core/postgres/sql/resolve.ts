import type { FunctionFact, StatementFacts } from '../../facts.ts';
import { harmlessFunctions, isHarmless } from '../../policy/harmless-functions.ts';
import type { Catalogue } from './catalogue.ts';
import { plainSchema, Scope } from './scope.ts';
import type { Meaning, NameUse, RelationUse, StatementSurvey } from './survey.ts';
import { holdsOthersRows, TableFacts } from './table-facts.ts';

/** Facts of a statement, and the names in it that the catalogue does not know. */
export interface Resolved {
  readonly facts: StatementFacts;
  /** Each once. A catalogue that is loaded anew may know them; those of relations that the statement makes are not here. */
  readonly unknown: readonly NameUse[];
}

/** Commands whose name of a relation, if it has no schema, makes one where the path begins. */
const making: ReadonlySet<string> = new Set([
  'CREATE TABLE',
  'CREATE TABLE AS',
  'CREATE FOREIGN TABLE',
  'CREATE VIEW',
  'CREATE MATERIALIZED VIEW',
  'CREATE SEQUENCE',
  'SELECT INTO',
]);

/** Nobody but a superuser adds to them. */
const systemSchemas: ReadonlySet<string | undefined> = new Set([
  'pg_catalog',
  'information_schema',
]);

/**
 * Says what the names of a statement stand for, and what they lead to: what is behind views and rules, partitions and
 * children, the parents of those, the functions of operators. Without a catalogue a schema is known where it is written.
 */
export function resolveSurvey(
  survey: StatementSurvey,
  meaning: Meaning,
  catalogue: Catalogue | undefined,
): Resolved {
  const resolution = new Resolution(meaning, catalogue);
  const makes = survey.commands.some((command) => making.has(command));
  for (const use of survey.relations) resolution.relation(use, makes);
  for (const use of survey.functions) resolution.function(use);
  for (const use of survey.operators) resolution.operator(use);
  for (const name of survey.attributes) resolution.attribute(name);
  const { commands, hasWhere, limit, copy, settings, isOpaque } = survey;
  const { functions, tables } = resolution;
  return {
    facts: {
      commands,
      tables: tables.all,
      functions,
      hasWhere,
      limit,
      copy,
      settings: changesAny(resolution) ? [...new Set([...settings, '*'])] : settings,
      changesMeaning:
        survey.changesMeaning ||
        tables.runsCode ||
        tables.truncated ||
        functions.some((called) => mayChangeMeaning(called, catalogue)),
      readOnly:
        survey.readOnly &&
        !tables.truncated &&
        functions.every((called) => onlyReads(called, catalogue)),
      isOpaque,
    },
    unknown: resolution.unknown,
  };
}

/** Views and rules may set what the text does not name: through `set_config`, or the view of settings, whose rule does. */
function changesAny({ tables, setsByDefinition }: Resolution): boolean {
  return (
    setsByDefinition ||
    tables.all.some(
      ({ schema, name, access, through }) =>
        through && access === 'Write' && schema === 'pg_catalog' && name === 'pg_settings',
    )
  );
}

/** Resolves the names of one statement, one after the other. */
class Resolution {
  readonly tables = new TableFacts((called) => {
    this.setsByDefinition ||= called.schema === 'pg_catalog' && called.name === 'set_config';
    this.#add(called);
  });
  /** Whether a view or a rule calls `set_config`. */
  setsByDefinition = false;
  readonly #scope: Scope | undefined;
  readonly #functions = new Map<string, FunctionFact>();
  readonly #unknown = new Map<string, NameUse>();

  constructor(meaning: Meaning, catalogue: Catalogue | undefined) {
    this.#scope = catalogue && new Scope(meaning, catalogue);
  }

  get functions(): readonly FunctionFact[] {
    return [...this.#functions.values()];
  }

  get unknown(): readonly NameUse[] {
    return [...this.#unknown.values()];
  }

  relation(written: RelationUse, statementMakes: boolean): void {
    const { name, access, columns, only } = written;
    const schema = written.schema === undefined ? undefined : plainSchema(written.schema);
    const use = { access, columns, only, through: undefined };
    if (!this.#scope || name === '*') return this.tables.add(schema, name, use);
    const found = this.#scope.relations(written);
    for (const relation of found) this.tables.follow(relation, use);
    const mayMake = statementMakes && access === 'Define';
    const made = mayMake && schema === undefined ? this.#scope.creation : [];
    for (const place of made) this.tables.add(place, name, use);
    if (found.length > 0 || made.length > 0) return;
    this.tables.add(schema, name, use);
    if (holdsOthersRows({ schema, name }))
      this.tables.add(undefined, '*', { ...use, columns: ['*'] });
    if (!mayMake) this.#addUnknown(written);
  }

  function(written: NameUse): void {
    const found = this.#scope?.functions(written) ?? [];
    for (const called of found) this.#add(called);
    if (found.length > 0) return;
    this.#add(written);
    if (this.#scope) this.#addUnknown(written);
  }

  /** PostgreSQL's own operators call nothing worth a name; one that is written with a schema may be anybody's. */
  operator(written: NameUse): void {
    const found = this.#scope?.operators(written) ?? [];
    for (const { calls } of found) if (calls) this.#add(calls);
    if (found.length > 0 || written.schema === undefined || systemSchemas.has(written.schema)) {
      return;
    }
    this.#add({ schema: undefined, name: written.name });
    if (this.#scope) this.#addUnknown(written);
  }

  /** A name after a dot is a column before it is a function; that it is one is not known here. */
  attribute(name: string): void {
    for (const called of this.#scope?.attributes(name) ?? []) this.#add(called);
  }

  #add({ schema, name }: FunctionFact): void {
    this.#functions.set(`${schema ?? ''}\0${name}`, { schema, name });
  }

  #addUnknown({ schema, name }: NameUse): void {
    this.#unknown.set(`${schema ?? ''}\0${name}`, { schema, name });
  }
}

/**
 * Whether a function may change settings or definitions. What is not PostgreSQL's own may, whatever volatility its owner
 * claims. Without a catalogue a harmless name is believed to be PostgreSQL's: there is no path that it could change.
 */
function mayChangeMeaning(
  { schema, name }: FunctionFact,
  catalogue: Catalogue | undefined,
): boolean {
  if (schema === undefined) return catalogue !== undefined || !harmlessFunctions.has(name);
  if (isHarmless({ schema, name })) return false;
  return !systemSchemas.has(schema) || changes(schema, name, catalogue);
}

function onlyReads({ schema, name }: FunctionFact, catalogue: Catalogue | undefined): boolean {
  if (schema === undefined) return false;
  return isHarmless({ schema, name }) || !changes(schema, name, catalogue);
}

function changes(schema: string, name: string, catalogue: Catalogue | undefined): boolean {
  const volatility = catalogue?.volatility(schema, name) ?? 'v';
  return volatility === 'v';
}
