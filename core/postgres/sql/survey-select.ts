import { Scope, type FromItem } from './survey-scope.ts';
import type { Walker } from './survey-walker.ts';
import {
  type Fields,
  childOf,
  listOf,
  nameOf,
  restOf,
  stringsOf,
  textOf,
  tryKind,
  tryNode,
  tryString,
} from './tree.ts';

/** Beyond so many relations under one alias of a join, all of their columns are taken with the first that is named. */
const maxMembers = 64;

/** Walks a query as a subquery of `parent`, and returns the scope of its own names. */
export function surveySelect(fields: Fields, parent: Scope, walker: Walker): Scope {
  return walker.deeper(() => {
    const closeCtes = openCtes(fields, parent, walker);
    const isPlain = !isSetOperation(fields);
    const scope = isPlain
      ? plainSelect(fields, parent, walker)
      : setOperation(fields, parent, walker);
    closeCtes();
    return scope;
  });
}

/**
 * Walks the CTEs of a WITH and lets their names hide relations until the returned function is called. Without RECURSIVE
 * a CTE sees those before it alone.
 */
export function openCtes(fields: Fields, parent: Scope, walker: Walker): () => void {
  const clause = childOf(fields, 'withClause') ?? {};
  const ctes = listOf(clause, 'ctes').map((cte) => tryKind(cte, 'CommonTableExpr') ?? {});
  const names = ctes.map((cte) => textOf(cte, 'ctename') ?? '');
  const isRecursive = clause['recursive'] === true;
  if (isRecursive) for (const name of names) walker.showCte(name);
  ctes.forEach((cte, at) => {
    walker.walk(restOf(cte, 'ctename', 'aliascolnames'), parent);
    if (!isRecursive) walker.showCte(names[at] ?? '');
  });
  return () => {
    for (const name of names) walker.hideCte(name);
  };
}

function isSetOperation(fields: Fields): boolean {
  return childOf(fields, 'larg') !== undefined;
}

/** Branches of long chains are taken in a loop, for a chain nests as deep as it is long. */
function setOperation(fields: Fields, parent: Scope, walker: Walker): Scope {
  const scope = new Scope(parent);
  const pending = [fields['rarg'], fields['larg']];
  while (pending.length > 0) {
    const branch = (pending.pop() ?? {}) as Fields; // the grammar fixes the kind
    const isLink = isSetOperation(branch) && !hasOwnClauses(branch);
    if (isLink) pending.push(branch['rarg'], branch['larg']);
    else surveySelect(branch, parent, walker);
  }
  for (const sort of listOf(fields, 'sortClause')) orderBy(sort, scope, walker, () => true);
  walker.walk(restOf(fields, 'larg', 'rarg', 'withClause', 'sortClause', 'intoClause'), scope);
  selectInto(fields, walker);
  scope.close();
  return scope;
}

/** Whether a branch has more to it than its two sides. */
function hasOwnClauses(fields: Fields): boolean {
  return ['withClause', 'sortClause', 'limitOffset', 'limitCount', 'lockingClause'].some(
    (name) => fields[name] !== undefined,
  );
}

function plainSelect(fields: Fields, parent: Scope, walker: Walker): Scope {
  const scope = new Scope(parent);
  for (const item of listOf(fields, 'fromClause')) surveyFrom(item, scope, walker);
  const taken = ['fromClause', 'withClause', 'distinctClause', 'sortClause', 'lockingClause'];
  walker.walk(restOf(fields, ...taken, 'intoClause'), scope);
  const outputs = new Set(
    listOf(fields, 'targetList').map((target) =>
      textOf(tryKind(target, 'ResTarget') ?? {}, 'name'),
    ),
  );
  for (const name of ['distinctClause', 'sortClause'])
    for (const sort of listOf(fields, name))
      orderBy(sort, scope, walker, (column) => outputs.has(column));
  for (const clause of listOf(fields, 'lockingClause')) lock(clause, scope, walker);
  selectInto(fields, walker);
  scope.close();
  return scope;
}

/** A bare name in ORDER BY or DISTINCT ON is that of an output column first, and no relation's. */
function orderBy(
  sort: unknown,
  scope: Scope,
  walker: Walker,
  isOutput: (column: string) => boolean,
): void {
  const by = tryKind(sort, 'SortBy');
  const reference = tryKind(by?.['node'] ?? sort, 'ColumnRef');
  const parts = reference ? listOf(reference, 'fields') : [];
  const column = parts.length === 1 ? tryString(parts[0]) : undefined;
  if (column === undefined || !isOutput(column)) walker.walk(sort, scope);
  else if (by) walker.walk({ SortBy: { useOp: by['useOp'] } }, scope);
}

function lock(clause: unknown, scope: Scope, walker: Walker): void {
  walker.draft.readOnly = false;
  const relations = listOf(tryKind(clause, 'LockingClause') ?? {}, 'lockedRels');
  if (relations.length === 0) scope.lockAll();
  for (const relation of relations) {
    const name = textOf(tryKind(relation, 'RangeVar') ?? {}, 'relname') ?? '';
    for (const item of scope.named(name)) item.lock?.();
  }
}

function selectInto(fields: Fields, walker: Walker): void {
  const into = childOf(childOf(fields, 'intoClause') ?? {}, 'rel');
  if (!into) return;
  walker.make(into).add('*');
  walker.draft.defines();
}

/** Takes one item of FROM or USING into a scope. */
export function surveyFrom(item: unknown, scope: Scope, walker: Walker): void {
  const node = tryNode(item);
  if (!node) return;
  const { kind, fields } = node;
  if (kind === 'RangeVar') scope.add(relationItem(fields, walker));
  else if (kind === 'JoinExpr') joined(fields, scope, walker);
  else if (kind === 'RangeSubselect') scope.add(subselectItem(fields, scope, walker));
  else if (kind === 'RangeTableSample') {
    surveyFrom(fields['relation'], scope, walker);
    const method = nameOf(stringsOf(listOf(fields, 'method')));
    if (method) walker.draft.function(method);
    walker.walk(restOf(fields, 'relation', 'method'), scope);
  } else {
    walker.walk(item, scope); // functions, XMLTABLE and JSON_TABLE see what stands before them
    scope.add(derived(aliasOf(fields) ?? functionName(fields)));
  }
}

function aliasOf(fields: Fields): string | undefined {
  return textOf(childOf(fields, 'alias') ?? {}, 'aliasname');
}

/** A function in FROM goes by its own name where it has no alias. */
function functionName(fields: Fields): string | undefined {
  const [first] = listOf(tryKind(listOf(fields, 'functions')[0], 'List') ?? {}, 'items');
  return nameOf(stringsOf(listOf(tryKind(first, 'FuncCall') ?? {}, 'funcname')))?.name;
}

function derived(name: string | undefined, lockInner?: () => void): FromItem {
  return { name, schema: undefined, read: undefined, lock: lockInner };
}

function relationItem(range: Fields, walker: Walker): FromItem {
  const alias = aliasOf(range);
  const name = alias ?? textOf(range, 'relname');
  if (walker.isCte(range)) return derived(name);
  const columns = walker.relation(range, 'Read');
  const isRenamed = listOf(childOf(range, 'alias') ?? {}, 'colnames').length > 0;
  return {
    name,
    schema: alias === undefined ? textOf(range, 'schemaname') : undefined,
    read: (column) => columns.add(isRenamed ? '*' : column),
    lock: () => walker.relation(range, 'Write'),
  };
}

function subselectItem(fields: Fields, scope: Scope, walker: Walker): FromItem {
  const outer = fields['lateral'] === true ? scope : scope.parent;
  const select = tryKind(fields['subquery'], 'SelectStmt') ?? {};
  const inner = surveySelect(select, outer ?? new Scope(), walker);
  return derived(aliasOf(fields), () => inner.lockAll());
}

/** Takes a chain of joins from its innermost on, in a loop, for it nests as deep as it is long. */
function joined(outermost: Fields, scope: Scope, walker: Walker): void {
  const chain = [outermost];
  for (let left = outermost['larg']; ; left = chain.at(-1)?.['larg']) {
    const next = tryKind(left, 'JoinExpr');
    if (!next) break;
    chain.push(next);
  }
  const start = scope.items.length;
  surveyFrom(chain.at(-1)?.['larg'], scope, walker);
  let allTaken = start;
  for (const join of chain.toReversed()) {
    walker.deeper(() => surveyFrom(join['rarg'], scope, walker));
    if (join['isNatural'] === true) {
      // Which columns the two sides share, only the catalogue tells.
      for (const item of scope.items.slice(allTaken)) item.read?.('*');
      allTaken = scope.items.length;
    }
    for (const column of stringsOf(listOf(join, 'usingClause'))) scope.column([column], false);
    if (join['isNatural'] === true || join['usingClause'] !== undefined)
      walker.draft.operator({ schema: undefined, name: '=' });
    walker.walk(join['quals'], scope);
    addJoinAliases(join, start, scope);
  }
}

/** An alias of a join, or of its USING, stands for the relations on both sides. */
function addJoinAliases(join: Fields, start: number, scope: Scope): void {
  for (const alias of [childOf(join, 'alias'), childOf(join, 'join_using_alias')]) {
    if (!alias) continue;
    const end = scope.items.length;
    const takesAll = listOf(alias, 'colnames').length > 0 || end - start > maxMembers;
    let isTaken = false;
    scope.add({
      name: textOf(alias, 'aliasname'),
      schema: undefined,
      read: (column) => {
        if (isTaken) return;
        isTaken = takesAll;
        for (const member of scope.items.slice(start, end))
          if (!member.spans) member.read?.(takesAll ? '*' : column);
      },
      lock: undefined, // PostgreSQL refuses it
      spans: true,
    });
  }
}

/** Whether a WHERE stands in a query, in every branch of a set operation. */
export function hasWhere(fields: Fields): boolean {
  const pending = [fields];
  for (let next = pending.pop(); next; next = pending.pop()) {
    const branches = [childOf(next, 'larg'), childOf(next, 'rarg')].filter(
      (side) => side !== undefined,
    );
    if (branches.length === 0 && next['whereClause'] === undefined) return false;
    pending.push(...branches);
  }
  return true;
}

/** Reads how many rows LIMIT or FETCH FIRST lets through: `true` where the text does not say. */
export function limitOf(fields: Fields): number | true | undefined {
  if (fields['limitCount'] === undefined) return undefined;
  const constant = tryKind(fields['limitCount'], 'A_Const');
  if (!constant) return true;
  if (constant['isnull'] === true) return undefined;
  if (fields['limitOption'] === 'LIMIT_OPTION_WITH_TIES') return true;
  const integer = childOf(constant, 'ival');
  const count = integer ? (integer['ival'] ?? 0) : Number(childOf(constant, 'fval')?.['fval']);
  return Number.isSafeInteger(count) && Number(count) >= 0 ? Number(count) : true;
}
