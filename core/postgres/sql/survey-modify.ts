import { Scope } from './survey-scope.ts';
import { openCtes, surveyFrom } from './survey-select.ts';
import type { Handlers, StatementHandler, Walker } from './survey-walker.ts';
import { type Fields, childOf, listOf, restOf, textOf, tryKind } from './tree.ts';

/** Statements that change rows. PostgreSQL looks for their target in the catalogue, never among CTEs. */
export const modifyStatements: Handlers<StatementHandler> = {
  InsertStmt(fields, parent, walker) {
    walker.draft.command('INSERT');
    walker.draft.rows(undefined);
    withTarget(fields, parent, walker, (scope, target) => {
      const written = walker.relation(target, 'Write');
      const columns = listOf(fields, 'cols');
      if (columns.length === 0) written.add('*');
      assign(columns, written, scope, walker);
      walker.walk(fields['selectStmt'], parent); // sees the CTEs, but not the target
      scope.add({ name: 'excluded', schema: undefined, read: undefined, lock: undefined });
      onConflict(fields, written, scope, walker);
    });
  },

  UpdateStmt(fields, parent, walker) {
    walker.draft.command('UPDATE');
    walker.draft.changesRows(fields['whereClause'] !== undefined);
    withTarget(fields, parent, walker, (scope, target) => {
      for (const item of listOf(fields, 'fromClause')) surveyFrom(item, scope, walker);
      assign(listOf(fields, 'targetList'), walker.relation(target, 'Write'), scope, walker);
      walker.walk(fields['whereClause'], scope);
    });
  },

  DeleteStmt(fields, parent, walker) {
    walker.draft.command('DELETE');
    walker.draft.changesRows(fields['whereClause'] !== undefined);
    withTarget(fields, parent, walker, (scope, target) => {
      for (const item of listOf(fields, 'usingClause')) surveyFrom(item, scope, walker);
      walker.relation(target, 'Write').add('*');
      walker.walk(fields['whereClause'], scope);
    });
  },

  MergeStmt(fields, parent, walker) {
    walker.draft.command('MERGE');
    walker.draft.rows(undefined);
    withTarget(fields, parent, walker, (scope, target) => {
      surveyFrom(fields['sourceRelation'], scope, walker);
      walker.walk(fields['joinCondition'], scope);
      const written = walker.relation(target, 'Write');
      for (const clause of listOf(fields, 'mergeWhenClauses'))
        mergeWhen(tryKind(clause, 'MergeWhenClause') ?? {}, written, scope, walker);
    });
  },
};

/** Opens the CTEs and a scope with the target in it; what is read of the target makes it a relation that is read. */
function withTarget(
  fields: Fields,
  parent: Scope,
  walker: Walker,
  body: (scope: Scope, target: Fields) => void,
): void {
  const closeCtes = openCtes(fields, parent, walker);
  const target = childOf(fields, 'relation') ?? {};
  const scope = new Scope(parent);
  const alias = textOf(childOf(target, 'alias') ?? {}, 'aliasname');
  const read = (column: string): void => void walker.relation(target, 'Read').add(column);
  const schema = alias === undefined ? textOf(target, 'schemaname') : undefined;
  scope.add({ name: alias ?? textOf(target, 'relname'), schema, read, lock: undefined });
  body(scope, target);
  const returning = childOf(fields, 'returningClause') ?? {};
  const names = listOf(returning, 'options').map((option) =>
    textOf(tryKind(option, 'ReturningOption') ?? {}, 'value'),
  );
  if (childOf(fields, 'returningClause'))
    for (const name of ['old', 'new', ...names])
      scope.add({ name, schema: undefined, read, lock: undefined });
  walker.walk(returning['exprs'], scope);
  scope.close();
  closeCtes();
}

/** Takes the columns of SET, or those that an INSERT lists. */
function assign(
  targets: readonly unknown[],
  written: Set<string>,
  scope: Scope,
  walker: Walker,
): void {
  for (const target of targets) {
    const fields = tryKind(target, 'ResTarget') ?? {};
    written.add(textOf(fields, 'name') ?? '*');
    walker.walk(restOf(fields, 'name'), scope);
  }
}

function onConflict(fields: Fields, written: Set<string>, scope: Scope, walker: Walker): void {
  const clause = childOf(fields, 'onConflictClause');
  if (!clause) return;
  if (clause['action'] === 'ONCONFLICT_UPDATE') walker.draft.command('UPDATE');
  walker.walk(clause['infer'], scope);
  assign(listOf(clause, 'targetList'), written, scope, walker);
  walker.walk(clause['whereClause'], scope);
}

function mergeWhen(clause: Fields, written: Set<string>, scope: Scope, walker: Walker): void {
  walker.walk(clause['condition'], scope);
  const targets = listOf(clause, 'targetList');
  const command = mergeCommands.get(textOf(clause, 'commandType') ?? '');
  if (command === undefined) return; // DO NOTHING
  walker.draft.command(command);
  if (targets.length === 0) written.add('*');
  assign(targets, written, scope, walker);
  walker.walk(clause['values'], scope);
}

const mergeCommands: ReadonlyMap<string, string> = new Map([
  ['CMD_INSERT', 'INSERT'],
  ['CMD_UPDATE', 'UPDATE'],
  ['CMD_DELETE', 'DELETE'],
]);
