import { ChaperoneError } from '../../errors.ts';
import { expressionNodes } from './survey-expressions.ts';
import { modifyStatements } from './survey-modify.ts';
import { objectStatements } from './survey-objects.ts';
import { rightsStatements } from './survey-rights.ts';
import { hasWhere, limitOf, surveySelect } from './survey-select.ts';
import { sessionStatements } from './survey-session.ts';
import { storageStatements } from './survey-storage.ts';
import { tableNodes, tableStatements } from './survey-tables.ts';
import { type Handlers, type StatementHandler, Walker } from './survey-walker.ts';
import type { Survey } from './survey.ts';
import { type Fields, childOf, tryFields } from './tree.ts';

const queryStatements: Handlers<StatementHandler> = {
  SelectStmt(fields, scope, walker) {
    if (makesTable(fields)) walker.draft.command('SELECT INTO');
    walker.draft.command('SELECT');
    walker.draft.rows(hasWhere(fields), limitOf(fields));
    surveySelect(fields, scope, walker);
  },
};

const statements: ReadonlyMap<string, StatementHandler> = new Map(
  [
    queryStatements,
    modifyStatements,
    tableStatements,
    storageStatements,
    objectStatements,
    rightsStatements,
    sessionStatements,
  ].flatMap((handlers) => Object.entries(handlers)),
);

const nodes = new Map(
  [expressionNodes, tableNodes].flatMap((handlers) => Object.entries(handlers)),
);

/** The kinds of statements that are known: all that PostgreSQL 18's grammar makes. */
export const statementKinds: ReadonlySet<string> = new Set(statements.keys());

/**
 * Says what the parse tree of a text shows, the JSON of libpg_query 18.
 * @throws ChaperoneError (unsupported) of a statement whose kind is not known
 * @throws ChaperoneError (too-large) of queries that nest too deeply
 */
export function surveyTree(tree: unknown): Survey {
  const parsed = tryFields(tree)?.['stmts'] ?? [];
  if (!tryFields(tree) || !Array.isArray(parsed))
    throw new ChaperoneError('unsupported', 'the parser returned no tree');
  return {
    statements: parsed.map((statement: unknown) =>
      new Walker(statements, nodes).survey(tryFields(statement)?.['stmt']),
    ),
  };
}

/** SELECT INTO: the clause stands in the first branch of a set operation. */
function makesTable(fields: Fields): boolean {
  let first = fields;
  for (let left = childOf(first, 'larg'); left; left = childOf(first, 'larg')) first = left;
  return first['intoClause'] !== undefined;
}
