import { noteCall } from './survey-expressions.ts';
import { objectParts, objectWords, tryObjectRelation } from './survey-object-names.ts';
import { changeSettings } from './survey-settings.ts';
import type { Scope } from './survey-scope.ts';
import type { Handlers, StatementHandler, Walker } from './survey-walker.ts';
import {
  type Fields,
  childOf,
  listOf,
  nameOf,
  stringsOf,
  textOf,
  tryKind,
  tryNode,
} from './tree.ts';

/** Statements that define, change or drop objects of any kind, or say something about them. */
export const objectStatements: Handlers<StatementHandler> = {
  DropStmt(fields, _, walker) {
    const { draft } = walker;
    const type = textOf(fields, 'removeType') ?? '';
    draft.command(`DROP ${objectWords(type)}`);
    draft.defines();
    const objects = listOf(fields, 'objects');
    const isOfRelations = objects.map((object) => noteObject(type, object, walker)).includes(true);
    // Columns of a dropped type, and tables of a dropped extension, are found nowhere in the text.
    const reaches = type === 'OBJECT_EXTENSION' || fields['behavior'] === 'DROP_CASCADE';
    if (reaches && !isOfRelations) draft.everyRelation(undefined, 'Define');
  },

  RenameStmt(fields, _, walker) {
    const type = textOf(fields, 'renameType') ?? '';
    const tagType = type === 'OBJECT_COLUMN' ? textOf(fields, 'relationType') : type;
    walker.draft.command(`ALTER ${objectWords(tagType ?? '')}`);
    walker.draft.defines();
    noteRename(type, fields, walker);
    const relation = childOf(fields, 'relation');
    const column = type === 'OBJECT_COLUMN' ? textOf(fields, 'subname') : undefined;
    if (relation && type !== 'OBJECT_ATTRIBUTE')
      walker.relation(relation, 'Define').add(column ?? '*');
    if (type === 'OBJECT_SCHEMA') walker.draft.everyRelation(textOf(fields, 'subname'), 'Define');
    noteObject(type, fields['object'], walker);
  },

  AlterObjectSchemaStmt(fields, scope, walker) {
    alterObject(fields, scope, walker);
    const name = textOf(childOf(fields, 'relation') ?? {}, 'relname');
    walker.draft.moves(name ?? '*');
  },
  AlterOwnerStmt(fields, scope, walker) {
    alterObject(fields, scope, walker);
    walker.draft.changesRights = fields['objectType'] === 'OBJECT_SCHEMA';
  },
  AlterObjectDependsStmt: alterObject,

  CommentStmt(fields, _, walker) {
    walker.draft.command('COMMENT');
    walker.draft.readOnly = false;
    const type = textOf(fields, 'objtype') ?? '';
    if (type !== 'OBJECT_SCHEMA') noteObject(type, fields['object'], walker);
  },

  SecLabelStmt(fields, _, walker) {
    walker.draft.command('SECURITY LABEL');
    walker.draft.readOnly = false;
    noteObject(textOf(fields, 'objtype') ?? '', fields['object'], walker);
  },

  AlterExtensionContentsStmt(fields, _, walker) {
    walker.draft.command('ALTER EXTENSION');
    walker.draft.defines();
    walker.draft.opaque();
    noteObject(textOf(fields, 'objtype') ?? '', fields['object'], walker);
  },

  CreateExtensionStmt: opaque('CREATE EXTENSION'),
  AlterExtensionStmt: opaque('ALTER EXTENSION'),
  DoStmt: opaque('DO'),

  CallStmt(fields, scope, walker) {
    walker.draft.command('CALL');
    walker.draft.readOnly = false;
    walker.draft.changesMeaning(); // a procedure may end the transaction
    walker.walk(childOf(fields, 'funccall'), scope);
  },

  CreateFunctionStmt(fields, scope, walker) {
    const { draft } = walker;
    draft.command(fields['is_procedure'] === true ? 'CREATE PROCEDURE' : 'CREATE FUNCTION');
    draft.defines();
    draft.rows(undefined);
    walker.walk(fields['parameters'], scope);
    functionOptions(listOf(fields, 'options'), walker);
    functionBody(fields['sql_body'], scope, walker);
  },

  AlterFunctionStmt(fields, _, walker) {
    walker.draft.command(`ALTER ${objectWords(textOf(fields, 'objtype') ?? '')}`);
    walker.draft.defines();
    functionOptions(listOf(fields, 'actions'), walker);
  },

  DefineStmt(fields, _, walker) {
    const type = textOf(fields, 'kind') ?? '';
    walker.draft.command(`CREATE ${objectWords(type)}`);
    walker.draft.defines();
    callsOf(listOf(fields, 'definition'), walker);
  },

  AlterOperatorStmt(fields, _, walker) {
    walker.draft.command('ALTER OPERATOR');
    walker.draft.defines();
    callsOf(listOf(fields, 'options'), walker);
  },

  AlterTypeStmt(fields, _, walker) {
    walker.draft.command('ALTER TYPE');
    walker.draft.defines();
    callsOf(listOf(fields, 'options'), walker);
  },

  CreateRangeStmt(fields, _, walker) {
    walker.draft.command('CREATE TYPE');
    walker.draft.defines();
    callsOf(listOf(fields, 'params'), walker);
  },

  CompositeTypeStmt(fields, scope, walker) {
    walker.draft.command('CREATE TYPE');
    walker.draft.defines();
    walker.walk(fields['coldeflist'], scope);
  },

  CreateOpClassStmt: operatorClass('CREATE OPERATOR CLASS'),
  AlterOpFamilyStmt: operatorClass('ALTER OPERATOR FAMILY'),
  CreateAmStmt: calling('CREATE ACCESS METHOD', 'handler_name'),
  CreateCastStmt: calling('CREATE CAST', 'func'),
  CreateConversionStmt: calling('CREATE CONVERSION', 'func_name'),
  CreateEventTrigStmt: calling('CREATE EVENT TRIGGER', 'funcname'),
  CreatePLangStmt: calling('CREATE LANGUAGE', 'plhandler', 'plinline', 'plvalidator'),
  CreateTransformStmt: calling('CREATE TRANSFORM', 'fromsql', 'tosql'),
  CreateFdwStmt: wrapper('CREATE FOREIGN DATA WRAPPER'),
  AlterFdwStmt: wrapper('ALTER FOREIGN DATA WRAPPER'),
};

/** What is no relation may be in any name: a schema, a role with one of its name, a function. */
function noteRename(type: string, fields: Fields, { draft }: Walker): void {
  const relation = textOf(childOf(fields, 'relation') ?? {}, 'relname');
  if (relation === undefined) draft.moves('*');
  else if (type === 'OBJECT_COLUMN') draft.moves(relation);
  else if (fields['subname'] === undefined) draft.moves(textOf(fields, 'newname') ?? '*');
}

/** Notes what an object has to do with relations, and returns whether it is a part of any. */
function noteObject(type: string, object: unknown, walker: Walker): boolean {
  const found = tryObjectRelation(type, object);
  if (found) walker.draft.relation({ ...found.relation, only: false }, 'Define').add(found.column);
  return found !== undefined;
}

function alterObject(...[fields, , walker]: Parameters<StatementHandler>): void {
  const type = textOf(fields, 'objectType') ?? '';
  walker.draft.command(`ALTER ${objectWords(type)}`);
  walker.draft.defines();
  const relation = childOf(fields, 'relation');
  if (relation) walker.relation(relation, 'Define').add('*');
  else noteObject(type, fields['object'], walker);
  if (type === 'OBJECT_EXTENSION') walker.draft.everyRelation(undefined, 'Define');
}

function opaque(tag: string): StatementHandler {
  return (_fields, _scope, walker) => {
    walker.draft.command(tag);
    walker.draft.opaque();
  };
}

/** A definition that names functions which others call from then on. */
function calling(tag: string, ...names: readonly string[]): StatementHandler {
  return (fields, _, walker) => {
    walker.draft.command(tag);
    walker.draft.defines();
    for (const name of names) {
      const withArgs = childOf(fields, name);
      const parts = withArgs ? listOf(withArgs, 'objname') : listOf(fields, name);
      const called = nameOf(stringsOf(parts));
      if (called) noteCall(called, [], walker);
    }
  };
}

function wrapper(tag: string): StatementHandler {
  return (fields, _, walker) => {
    walker.draft.command(tag);
    walker.draft.defines();
    callsOf(listOf(fields, 'func_options'), walker);
  };
}

function operatorClass(tag: string): StatementHandler {
  return (fields, _, walker) => {
    walker.draft.command(tag);
    walker.draft.defines();
    for (const item of listOf(fields, 'items')) {
      const { itemtype, name } = tryKind(item, 'CreateOpClassItem') ?? {};
      const parts = stringsOf(
        listOf(tryKind({ ObjectWithArgs: name }, 'ObjectWithArgs') ?? {}, 'objname'),
      );
      const named = nameOf(parts);
      if (named && itemtype === 1) walker.draft.operator(named);
      if (named && itemtype === 2) noteCall(named, [], walker);
    }
  };
}

/** Names of settings of operators, types, aggregates and the like that hold a function. */
const callingSettings: ReadonlySet<string> = new Set(
  (
    'analyze canonical combinefunc deserialfunc end finalfunc function gettoken handler headline init input join ' +
    'lexize lextypes mfinalfunc minvfunc msfunc output procedure receive restrict send serialfunc sfunc sfunc1 start ' +
    'subscript subtype_diff typmod_in typmod_out validator'
  ).split(' '),
);

/** Definitions name functions where the grammar sees a type or a text. */
function callsOf(options: readonly unknown[], walker: Walker): void {
  for (const option of options) {
    const { defname, arg } = tryKind(option, 'DefElem') ?? {};
    const called = nameOf(objectParts(arg));
    const name = typeof defname === 'string' ? defname.toLowerCase() : '';
    if (called && callingSettings.has(name)) noteCall(called, [], walker);
  }
}

function functionOptions(options: readonly unknown[], walker: Walker): void {
  for (const option of options) {
    const { defname, arg } = tryKind(option, 'DefElem') ?? {};
    if (defname === 'as') walker.draft.opaque();
    if (defname === 'set') changeSettings(tryKind(arg, 'VariableSetStmt') ?? {}, walker.draft);
    const support = defname === 'support' ? nameOf(objectParts(arg)) : undefined;
    if (support) walker.draft.function(support);
  }
}

/** BEGIN ATOMIC holds a list of lists of statements, RETURN an expression. */
function functionBody(body: unknown, scope: Scope, walker: Walker): void {
  const node = tryNode(body);
  if (!node) return; // no body, or one without statements
  if (node.kind === 'ReturnStmt') walker.walk(node.fields['returnval'], scope);
  else if (node.kind !== 'List') walker.statement(body, scope);
  else
    for (const item of listOf(node.fields, 'items'))
      walker.deeper(() => functionBody(item, scope, walker));
}
