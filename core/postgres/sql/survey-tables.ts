import { Scope } from './survey-scope.ts';
import { objectWords } from './survey-object-names.ts';
import {
  relationName,
  type Handlers,
  type NodeHandler,
  type StatementHandler,
  type Walker,
} from './survey-walker.ts';
import {
  type Fields,
  childOf,
  listOf,
  nameOf,
  restOf,
  stringsOf,
  textOf,
  tryKind,
} from './tree.ts';

/** Of ALTER TABLE: by these another table's rows come or go under a name. */
const movingCommands: ReadonlySet<string> = new Set([
  'AT_AddInherit',
  'AT_DropInherit',
  'AT_AttachPartition',
  'AT_DetachPartition',
]);

/** Of ALTER FOREIGN TABLE: what it reads elsewhere. */
const foreignCommands: ReadonlySet<string> = new Set([
  'AT_AlterColumnGenericOptions',
  'AT_GenericOptions',
]);

/** Statements that define tables, and what belongs to them. */
export const tableStatements: Handlers<StatementHandler> = {
  CreateStmt(fields, _, walker) {
    walker.draft.command('CREATE TABLE');
    createTable(fields, walker);
  },

  CreateForeignTableStmt(fields, _, walker) {
    walker.draft.command('CREATE FOREIGN TABLE');
    walker.draft.opaque(); // what it reads is said to another program, which may be this database again
    createTable(childOf(fields, 'base') ?? {}, walker);
  },

  AlterTableStmt(fields, scope, walker) {
    const type = textOf(fields, 'objtype') ?? '';
    walker.draft.command(`ALTER ${objectWords(type)}`);
    walker.draft.defines();
    if (type === 'OBJECT_TYPE')
      walker.walk(fields['cmds'], scope); // its RangeVar names a type
    else
      withDefined(fields['relation'], walker, (inner, columns) => {
        for (const command of listOf(fields, 'cmds')) {
          const parts = tryKind(command, 'AlterTableCmd') ?? {};
          columns.add(alteredColumn(parts) ?? '*');
          if (foreignCommands.has(textOf(parts, 'subtype') ?? '')) walker.draft.opaque();
          if (movingCommands.has(textOf(parts, 'subtype') ?? ''))
            noteMove(fields['relation'], parts, walker);
          walker.walk(definitionOf(parts), inner);
        }
      });
  },

  AlterTableMoveAllStmt(fields, _, walker) {
    walker.draft.command(`ALTER ${objectWords(textOf(fields, 'objtype') ?? '')}`);
    walker.draft.defines();
    walker.draft.everyRelation(undefined, 'Define');
  },

  IndexStmt(fields, _, walker) {
    walker.draft.command('CREATE INDEX');
    walker.draft.defines();
    withDefined(fields['relation'], walker, (scope) =>
      walker.walk(restOf(fields, 'relation', 'options'), scope),
    );
  },

  CreateStatsStmt(fields, scope, walker) {
    walker.draft.command('CREATE STATISTICS');
    walker.draft.defines();
    const [relation] = listOf(fields, 'relations');
    const range = tryKind(relation, 'RangeVar');
    if (range) withDefined(range, walker, (inner) => walker.walk(fields['exprs'], inner));
    else walker.walk(restOf(fields, 'defnames'), scope);
  },

  ViewStmt(fields, scope, walker) {
    walker.draft.command('CREATE VIEW');
    walker.draft.defines();
    walker.make(childOf(fields, 'view') ?? {}).add('*');
    walker.statement(fields['query'], scope);
  },

  CreateTableAsStmt(fields, scope, walker) {
    const isView = fields['objtype'] === 'OBJECT_MATVIEW';
    walker.draft.command(isView ? 'CREATE MATERIALIZED VIEW' : 'CREATE TABLE AS');
    walker.draft.defines();
    walker.make(childOf(childOf(fields, 'into') ?? {}, 'rel') ?? {}).add('*');
    walker.statement(fields['query'], scope);
  },

  CreateSeqStmt(fields, scope, walker) {
    walker.draft.command('CREATE SEQUENCE');
    walker.make(childOf(fields, 'sequence') ?? {});
    sequence(fields, scope, walker);
  },

  AlterSeqStmt(fields, scope, walker) {
    walker.draft.command('ALTER SEQUENCE');
    sequence(fields, scope, walker);
  },

  CreateTrigStmt(fields, _, walker) {
    walker.draft.command('CREATE TRIGGER');
    walker.draft.defines();
    const called = nameOf(stringsOf(listOf(fields, 'funcname')));
    if (called) walker.draft.function(called);
    const other = childOf(fields, 'constrrel');
    if (other) walker.relation(other, 'Read').add('*');
    withDefined(fields['relation'], walker, (scope, columns) => {
      columns.add('*');
      walker.walk(fields['whenClause'], scope);
    });
  },

  RuleStmt(fields, _, walker) {
    walker.draft.command('CREATE RULE');
    walker.draft.defines();
    walker.draft.rows(undefined);
    withDefined(fields['relation'], walker, (scope, columns) => {
      columns.add('*');
      walker.walk(fields['whereClause'], scope);
      for (const action of listOf(fields, 'actions')) walker.statement(action, scope);
    });
  },

  CreatePolicyStmt: policy('CREATE POLICY'),
  AlterPolicyStmt: policy('ALTER POLICY'),

  CreateSchemaStmt(fields, scope, walker) {
    walker.draft.command('CREATE SCHEMA');
    walker.draft.defines();
    walker.draft.rows(undefined);
    const owner = childOf(fields, 'authrole') ?? {};
    walker.newSchema = textOf(fields, 'schemaname') ?? textOf(owner, 'rolename');
    for (const element of listOf(fields, 'schemaElts')) walker.statement(element, scope);
    walker.newSchema = undefined;
  },

  CreatePublicationStmt: publication('CREATE PUBLICATION'),
  AlterPublicationStmt: publication('ALTER PUBLICATION'),
};

/** Parts of definitions. */
export const tableNodes: Handlers<NodeHandler> = {
  Constraint(fields, _, walker) {
    const referenced = childOf(fields, 'pktable');
    if (referenced) {
      const columns = walker.relation(referenced, 'Read');
      const keys = stringsOf(listOf(fields, 'pk_attrs'));
      for (const key of keys.length > 0 ? keys : ['*']) columns.add(key);
    }
    for (const exclusion of listOf(fields, 'exclusions')) {
      const [, operator] = listOf(tryKind(exclusion, 'List') ?? {}, 'items');
      const name = nameOf(stringsOf(listOf(tryKind(operator, 'List') ?? {}, 'items')));
      if (name) walker.draft.operator(name);
    }
    return restOf(fields, 'pktable');
  },

  TableLikeClause(fields, _, walker) {
    walker.relation(childOf(fields, 'relation') ?? {}, 'Read').add('*');
  },

  /** A partition that is attached or detached. */
  PartitionCmd(fields, _, walker) {
    const partition = childOf(fields, 'name');
    if (partition) walker.relation(partition, 'Define').add('*');
    return restOf(fields, 'name');
  },

  /** Options of sequences name relations by lists; those of other things hold none. */
  DefElem(fields, _, walker) {
    const parts = stringsOf(listOf(tryKind(fields['arg'], 'List') ?? {}, 'items'));
    const name = textOf(fields, 'defname');
    const owner = nameOf(name === 'owned_by' ? parts.slice(0, -1) : []);
    if (owner) walker.draft.relation({ ...owner, only: false }, 'Define').add(parts.at(-1) ?? '*');
    const own = nameOf(name === 'sequence_name' ? parts : []);
    if (own) walker.draft.relation({ ...own, only: false }, 'Define').add('*');
    return fields['arg'];
  },
};

function createTable(fields: Fields, walker: Walker): void {
  walker.draft.defines();
  for (const inherited of listOf(fields, 'inhRelations')) {
    const parent = tryKind(inherited, 'RangeVar') ?? {};
    walker.relation(parent, 'Define').add('*');
    walker.draft.adopts(relationName(parent).name);
  }
  walker.make(childOf(fields, 'relation') ?? {});
  withDefined(fields['relation'], walker, (scope, columns) => {
    columns.add('*');
    walker.walk(restOf(fields, 'relation', 'inhRelations', 'options'), scope);
  });
}

/**
 * Notes that a relation is defined, and gives a scope for expressions over its columns: rules and triggers call its rows
 * OLD and NEW.
 */
function withDefined(
  relation: unknown,
  walker: Walker,
  body: (scope: Scope, columns: Set<string>) => void,
): void {
  const range = tryKind({ RangeVar: relation }, 'RangeVar') ?? {};
  const columns = walker.define(range);
  const scope = new Scope();
  const read = (column: string): void => void columns.add(column);
  for (const name of [textOf(range, 'relname'), 'old', 'new'])
    scope.add({ name, schema: undefined, read, lock: undefined });
  body(scope, columns);
  scope.close();
}

const columnCommands: ReadonlySet<string> = new Set([
  'AT_AddColumn',
  'AT_AddIdentity',
  'AT_AlterColumnGenericOptions',
  'AT_AlterColumnType',
  'AT_ColumnDefault',
  'AT_DropColumn',
  'AT_DropExpression',
  'AT_DropIdentity',
  'AT_DropNotNull',
  'AT_ResetOptions',
  'AT_SetCompression',
  'AT_SetExpression',
  'AT_SetIdentity',
  'AT_SetNotNull',
  'AT_SetOptions',
  'AT_SetStatistics',
  'AT_SetStorage',
]);

/** The one column that a part of ALTER TABLE is about, or undefined. */
function alteredColumn(command: Fields): string | undefined {
  if (!columnCommands.has(textOf(command, 'subtype') ?? '')) return undefined;
  const added = tryKind(command['def'], 'ColumnDef') ?? {};
  return textOf(command, 'name') ?? textOf(added, 'colname');
}

/** By a parent or a partition the rows of both are others than before. */
function noteMove(relation: unknown, command: Fields, walker: Walker): void {
  const partition = childOf(tryKind(command['def'], 'PartitionCmd') ?? {}, 'name');
  for (const range of [
    childOf({ relation }, 'relation'),
    tryKind(command['def'], 'RangeVar'),
    partition,
  ])
    if (range) walker.draft.moves(relationName(range).name);
}

/** What a part of ALTER TABLE brings; a relation there is a parent, whose children change with it. */
function definitionOf(command: Fields): unknown {
  const parent = tryKind(command['def'], 'RangeVar');
  return parent ? { PartitionCmd: { name: parent } } : command['def'];
}

function sequence(fields: Fields, scope: Scope, walker: Walker): void {
  walker.draft.defines();
  walker.define(childOf(fields, 'sequence') ?? {}).add('*');
  walker.walk(fields['options'], scope);
}

function policy(tag: string): StatementHandler {
  return (fields, _, walker) => {
    walker.draft.command(tag);
    walker.draft.defines();
    withDefined(fields['table'], walker, (scope, columns) => {
      columns.add('*');
      walker.walk([fields['qual'], fields['with_check']], scope);
    });
  };
}

function publication(tag: string): StatementHandler {
  return (fields, _, walker) => {
    walker.draft.command(tag);
    walker.draft.defines();
    if (fields['for_all_tables'] === true) walker.draft.everyRelation(undefined, 'Define');
    for (const object of listOf(fields, 'pubobjects')) {
      const spec = tryKind(object, 'PublicationObjSpec') ?? {};
      const table = childOf(spec, 'pubtable');
      if (!table) walker.draft.everyRelation(textOf(spec, 'name'), 'Define');
      else
        withDefined(table['relation'], walker, (scope, columns) => {
          const listed = stringsOf(listOf(table, 'columns'));
          for (const column of listed.length > 0 ? listed : ['*']) columns.add(column);
          walker.walk(table['whereClause'], scope);
        });
    }
  };
}
