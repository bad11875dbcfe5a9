import { surveySelect } from './survey-select.ts';
import type { Handlers, NodeHandler, Walker } from './survey-walker.ts';
import type { NameUse } from './survey.ts';
import { listOf, nameOf, restOf, stringsOf, textOf, tryKind, tryLiteral } from './tree.ts';

/** Nodes that may stand inside any statement. */
export const expressionNodes: Handlers<NodeHandler> = {
  SelectStmt(fields, scope, walker) {
    surveySelect(fields, scope, walker);
  },

  /** One where no handler expects it: better read than missed. */
  RangeVar(fields, _, walker) {
    if (!walker.isCte(fields)) walker.relation(fields, 'Read').add('*');
  },

  ColumnRef(fields, scope, walker) {
    const parts = listOf(fields, 'fields');
    const names = stringsOf(parts);
    const isStar = tryKind(parts.at(-1), 'A_Star') !== undefined;
    if (!isStar && names.length > 1) walker.draft.attribute(names.at(-1) ?? '');
    scope.column(names, isStar);
  },

  A_Indirection(fields, _, walker) {
    for (const name of stringsOf(listOf(fields, 'indirection'))) walker.draft.attribute(name);
    return Object.values(fields);
  },

  FuncCall(fields, _, walker) {
    const name = nameOf(stringsOf(listOf(fields, 'funcname')));
    if (name) noteCall(name, listOf(fields, 'args'), walker);
    return restOf(fields, 'funcname');
  },

  A_Expr(fields, _, walker) {
    const kind = textOf(fields, 'kind') ?? '';
    const name = nameOf(stringsOf(listOf(fields, 'name')));
    const compared = between.get(kind);
    if (compared) for (const operator of compared) plainOperator(operator, walker);
    else if (name) walker.draft.operator(name);
    return restOf(fields, 'name');
  },

  SubLink(fields, _, walker) {
    const name = nameOf(stringsOf(listOf(fields, 'operName')));
    if (name) walker.draft.operator(name);
    else if (fields['testexpr'] !== undefined) plainOperator('=', walker); // IN
    return restOf(fields, 'operName');
  },

  CaseExpr(fields, _, walker) {
    if (fields['arg'] !== undefined) plainOperator('=', walker);
    return Object.values(fields);
  },

  SortBy(fields, _, walker) {
    const name = nameOf(stringsOf(listOf(fields, 'useOp')));
    if (name) walker.draft.operator(name);
    return restOf(fields, 'useOp');
  },

  /** Only the first column of `(a, b) = …` brings the source, for the tree repeats it with each. */
  MultiAssignRef(fields) {
    return fields['colno'] === 1 ? fields['source'] : undefined;
  },

  /** What stands in a type's modifiers looks like columns and is none. */
  TypeName() {
    return undefined;
  },

  IndexElem: namedColumn,
  PartitionElem: namedColumn,
  StatsElem: namedColumn,
};

function namedColumn(...[fields, scope]: Parameters<NodeHandler>): unknown {
  const name = textOf(fields, 'name');
  if (name !== undefined) scope.column([name], false);
  return [fields['expr'], fields['opclassopts']];
}

function plainOperator(name: string, walker: Walker): void {
  walker.draft.operator({ schema: undefined, name });
}

/** Operators that BETWEEN stands for. */
const between: ReadonlyMap<string, readonly string[]> = new Map([
  ['AEXPR_BETWEEN', ['>=', '<=']],
  ['AEXPR_NOT_BETWEEN', ['<', '>']],
  ['AEXPR_BETWEEN_SYM', ['>=', '<=']],
  ['AEXPR_NOT_BETWEEN_SYM', ['<', '>']],
]);

/** Functions that run a text as SQL or read a table whose name they are given, whatever schema they are in. */
const runsText =
  /^(?:query_to_xml(?:schema|_and_xmlschema)?|(?:table|schema|database)_to_xml(?:schema|_and_xmlschema)?|ts_stat|dblink.*|crosstab.*|connectby|xpath_table)$/;

/** Notes a function that is called; definitions name some that will be, with arguments that do not stand there. */
export function noteCall(name: NameUse, args: readonly unknown[], walker: Walker): void {
  walker.draft.function(name);
  special.get(name.name)?.(args, walker);
  if (runsText.test(name.name)) walker.draft.opaque();
}

/** Functions whose arguments say more than their name. */
const special: ReadonlyMap<string, (args: readonly unknown[], walker: Walker) => void> = new Map([
  [
    'set_config',
    (args: readonly unknown[], walker: Walker) =>
      walker.draft.setting(tryLiteral(argument(args, 'setting_name')) ?? '*'),
  ],
  ['nextval', changesSequence],
  ['setval', changesSequence],
  [
    'ts_rewrite',
    (args: readonly unknown[], walker: Walker) => {
      if (args.length < 3) walker.draft.opaque(); // its second argument is a query then
    },
  ],
]);

/** Returns an argument by its name, or the first one where names are left out. */
function argument(args: readonly unknown[], name: string): unknown {
  const named = args
    .map((arg) => tryKind(arg, 'NamedArgExpr'))
    .find((arg) => arg && textOf(arg, 'name') === name);
  return named ? named['arg'] : args[0];
}

function changesSequence(args: readonly unknown[], walker: Walker): void {
  walker.draft.readOnly = false;
  const text = tryLiteral(args[0]);
  const name = text === undefined ? undefined : nameOf(partsOfText(text));
  if (name) walker.draft.relation({ ...name, only: false }, 'Write').add('*');
  else walker.draft.everyRelation(undefined, 'Write'); // which one, only its evaluation tells
}

/** Reads a dotted name out of a text as `regclass` does: folded where it is not quoted. */
function partsOfText(text: string): readonly string[] {
  const part = /\s*(?:"((?:[^"]|"")*)"|([^".\s]+))\s*(?:\.|$)/y;
  const parts: string[] = [];
  while (part.lastIndex < text.length) {
    const found = part.exec(text);
    if (!found) return [];
    const [, quoted, plain = ''] = found;
    parts.push(quoted?.replaceAll('""', '"') ?? plain.toLowerCase());
  }
  return parts;
}
