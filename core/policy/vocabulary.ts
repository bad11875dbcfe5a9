import { Environment } from '@marcbachmann/cel-js';
import type { StatementFacts } from '../facts.ts';
import type { Principal, Workload } from '../identity/principal.ts';

/**
 * What expressions may speak of, with types: a wrong name or a comparison of unlike things is found when the resource
 * is read. What a fact does not have is absent there: to be asked for with `has()`, an error otherwise.
 */

class TableTerm {
  readonly schema;
  readonly name;
  readonly access;
  readonly columns;
  readonly through;

  constructor({ schema, name, access, columns, through }: StatementFacts['tables'][number]) {
    this.schema = schema;
    this.name = name;
    this.access = access;
    this.columns = columns;
    this.through = through?.kind;
  }
}

class FunctionTerm {
  readonly schema;
  readonly name;

  constructor({ schema, name }: StatementFacts['functions'][number]) {
    this.schema = schema;
    this.name = name;
  }
}

class CopyTerm {
  readonly direction;
  readonly target;

  constructor({ direction, target }: NonNullable<StatementFacts['copy']>) {
    this.direction = direction;
    this.target = target;
  }
}

class StatementTerm {
  readonly commands;
  readonly tables;
  readonly functions;
  readonly settings;
  readonly hasWhere;
  readonly hasLimit;
  readonly limit;
  readonly copy;
  readonly readOnly;
  readonly changesMeaning;
  readonly isOpaque;

  constructor(facts: StatementFacts) {
    this.commands = facts.commands;
    this.tables = facts.tables.map((table) => new TableTerm(table));
    this.functions = facts.functions.map((called) => new FunctionTerm(called));
    this.settings = facts.settings;
    this.hasWhere = facts.hasWhere;
    this.hasLimit = facts.limit !== undefined;
    this.limit = Number.isSafeInteger(facts.limit) ? BigInt(Number(facts.limit)) : undefined;
    this.copy = facts.copy && new CopyTerm(facts.copy);
    this.readOnly = facts.readOnly;
    this.changesMeaning = facts.changesMeaning;
    this.isOpaque = facts.isOpaque;
  }
}

class PrincipalTerm {
  readonly kind;
  readonly user;
  readonly groups;
  readonly provider;
  readonly issuer;
  readonly onBehalfOf;

  constructor(who: Principal) {
    const token = who.kind === 'token' ? who : undefined;
    this.kind = who.kind;
    this.user = who.user;
    this.groups = token?.groups ?? [];
    this.provider = token?.provider;
    this.issuer = token?.issuer;
    this.onBehalfOf = token?.onBehalfOf;
  }
}

class WorkloadTerm {
  readonly pod;
  readonly namespace;
  readonly serviceAccount;
  readonly labels;

  constructor({ pod, namespace, serviceAccount, labels }: Workload) {
    this.pod = pod;
    this.namespace = namespace;
    this.serviceAccount = serviceAccount;
    this.labels = labels;
  }
}

const statementFields = {
  commands: 'list<string>',
  tables: 'list<Table>',
  functions: 'list<Function>',
  settings: 'list<string>',
  hasWhere: 'bool',
  hasLimit: 'bool',
  limit: 'int',
  copy: 'Copy',
  readOnly: 'bool',
  changesMeaning: 'bool',
  isOpaque: 'bool',
};
const tableFields = {
  schema: 'string',
  name: 'string',
  access: 'string',
  columns: 'list<string>',
  through: 'string',
};
const functionFields = { schema: 'string', name: 'string' };
const copyFields = { direction: 'string', target: 'string' };
const principalFields = {
  kind: 'string',
  user: 'string',
  groups: 'list<string>',
  provider: 'string',
  issuer: 'string',
  onBehalfOf: 'string',
};
const workloadFields = {
  pod: 'string',
  namespace: 'string',
  serviceAccount: 'string',
  labels: 'map<string, string>',
};

/** Every field of every type: `has()` of a name that is misspelt would be false for ever. */
export const fieldNames: ReadonlySet<string> = new Set(
  [
    statementFields,
    tableFields,
    functionFields,
    copyFields,
    principalFields,
    workloadFields,
  ].flatMap((fields) => Object.keys(fields)),
);

const limits = { maxAstNodes: 2_000, maxDepth: 64, maxListElements: 1_000, maxMapEntries: 0 };

/** Over a principal alone: values of settings. */
export const principalEnvironment = new Environment({ limits })
  .registerType('Principal', { ctor: PrincipalTerm, fields: principalFields })
  .registerVariable('principal', 'Principal');

/** Over an operation: the conditions of rules. */
export const operationEnvironment = principalEnvironment
  .clone()
  .registerType('Table', { ctor: TableTerm, fields: tableFields })
  .registerType('Function', { ctor: FunctionTerm, fields: functionFields })
  .registerType('Copy', { ctor: CopyTerm, fields: copyFields })
  .registerType('Statement', { ctor: StatementTerm, fields: statementFields })
  .registerType('Workload', { ctor: WorkloadTerm, fields: workloadFields })
  .registerVariable('statement', 'Statement')
  .registerVariable('workload', 'Workload')
  .registerVariable('backend', 'string');

/** What an expression is evaluated over. */
export interface Terms {
  readonly variables: Readonly<Record<string, unknown>>;
  /** How many items its lists have together: what loops may run through. */
  readonly items: number;
}

/** Makes the terms of a login. */
export function principalTerms(who: Principal): Terms {
  const principal = new PrincipalTerm(who);
  return { variables: { principal }, items: principal.groups.length };
}

/** Makes the terms of one statement, or of an operation without one: then `statement` is absent, and naming it an error. */
export function operationTerms(
  asker: { readonly backend: string; readonly who: Principal; readonly workload: Workload },
  facts: StatementFacts | undefined,
): Terms {
  const { variables, items } = principalTerms(asker.who);
  const workload = new WorkloadTerm(asker.workload);
  return {
    variables: {
      ...variables,
      workload,
      backend: asker.backend,
      statement: facts && new StatementTerm(facts),
    },
    items: items + workload.labels.size + (facts ? itemsOf(facts) : 0),
  };
}

function itemsOf({ commands, tables, functions, settings }: StatementFacts): number {
  const columns = tables.reduce((sum, table) => sum + table.columns.length, 0);
  return commands.length + tables.length + columns + functions.length + settings.length;
}
