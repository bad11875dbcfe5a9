import { Scope } from './survey-scope.ts';
import type { Handlers, StatementHandler, Walker } from './survey-walker.ts';
import { type Fields, childOf, listOf, stringsOf, textOf, tryKind } from './tree.ts';

/** Statements about whole tables as they are stored, and COPY. */
export const storageStatements: Handlers<StatementHandler> = {
  CopyStmt(fields, scope, walker) {
    const isFrom = fields['is_from'] === true;
    const { draft } = walker;
    draft.command(isFrom ? 'COPY FROM' : 'COPY TO');
    const isFile = textOf(fields, 'filename') !== undefined;
    const server = fields['is_program'] === true ? 'Program' : 'File';
    const target = isFile ? server : 'Client';
    draft.copy = { direction: isFrom ? 'From' : 'To', target };
    const relation = childOf(fields, 'relation');
    if (relation) {
      draft.rows(undefined);
      addColumns(walker.relation(relation, isFrom ? 'Write' : 'Read'), fields, 'attlist');
    } else walker.statement(fields['query'], scope);
    walker.walk([fields['whereClause'], fields['options']], new Scope());
    if (target === 'File') draft.readOnly = false;
    if (target === 'Program') draft.opaque(); // a text for a shell
  },

  TruncateStmt(fields, _, walker) {
    walker.draft.command('TRUNCATE TABLE');
    for (const relation of listOf(fields, 'relations'))
      walker.relation(tryKind(relation, 'RangeVar') ?? {}, 'Write').add('*');
    // Whatever refers to them is emptied as well.
    if (fields['behavior'] === 'DROP_CASCADE') walker.draft.everyRelation(undefined, 'Write');
  },

  RefreshMatViewStmt(fields, _, walker) {
    walker.draft.command('REFRESH MATERIALIZED VIEW');
    walker.relation(childOf(fields, 'relation') ?? {}, 'Write').add('*');
  },

  LockStmt(fields, _, walker) {
    walker.draft.command('LOCK TABLE');
    const access = fields['mode'] === 1 ? 'Read' : 'Define'; // ACCESS SHARE, as every SELECT takes it
    for (const relation of listOf(fields, 'relations'))
      walker.relation(tryKind(relation, 'RangeVar') ?? {}, access).add('*');
  },

  VacuumStmt(fields, _, walker) {
    const isVacuum = fields['is_vacuumcmd'] === true;
    walker.draft.command(isVacuum ? 'VACUUM' : 'ANALYZE');
    const options = listOf(fields, 'options').map((option) => tryKind(option, 'DefElem') ?? {});
    if (options.some((option) => option['defname'] === 'analyze')) walker.draft.command('ANALYZE');
    const relations = listOf(fields, 'rels').map((rel) => tryKind(rel, 'VacuumRelation') ?? {});
    if (relations.length === 0) walker.draft.everyRelation(undefined, 'Define');
    for (const { relation, va_cols } of relations)
      addColumns(defined(relation, walker), { va_cols }, 'va_cols');
  },

  ClusterStmt(fields, _, walker) {
    walker.draft.command('CLUSTER');
    if (childOf(fields, 'relation')) defined(fields['relation'], walker).add('*');
    else walker.draft.everyRelation(undefined, 'Define');
  },

  ReindexStmt(fields, _, walker) {
    walker.draft.command('REINDEX');
    const isSchema = fields['kind'] === 'REINDEX_OBJECT_SCHEMA';
    if (childOf(fields, 'relation')) defined(fields['relation'], walker).add('*');
    else walker.draft.everyRelation(isSchema ? textOf(fields, 'name') : undefined, 'Define');
  },
};

function defined(relation: unknown, walker: Walker): Set<string> {
  return walker.relation(tryKind({ RangeVar: relation }, 'RangeVar') ?? {}, 'Define');
}

/** Adds the columns of a list, all where there is none. */
function addColumns(columns: Set<string>, fields: Fields, name: string): void {
  const listed = stringsOf(listOf(fields, name));
  for (const column of listed.length > 0 ? listed : ['*']) columns.add(column);
}
