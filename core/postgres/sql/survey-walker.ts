import type { TableAccess } from '../../facts.ts';
import { ChaperoneError } from '../../errors.ts';
import { StatementDraft, type RelationName } from './survey-draft.ts';
import { Scope } from './survey-scope.ts';
import type { StatementSurvey } from './survey.ts';
import { type Fields, textOf, tryFields, tryNode } from './tree.ts';

/** Notes what a statement does, its command first. */
export type StatementHandler = (fields: Fields, scope: Scope, walker: Walker) => void;
/** Notes what a node is and returns what of it is still to be walked, undefined for nothing. */
export type NodeHandler = (fields: Fields, scope: Scope, walker: Walker) => unknown;
/** Handlers by kind of node. */
export type Handlers<H> = Readonly<Record<string, H>>;

/**
 * A query inside a query is one or two levels, an expression inside another none: those are walked in a loop. Deeper ones
 * are refused, for each level takes room on the stack.
 */
const maxDepth = 200;

/**
 * Walks a parse tree into a draft. Whatever has no handler is walked all the same, so that no relation or function is
 * missed inside a node that nobody thought of.
 */
export class Walker {
  readonly draft = new StatementDraft();
  readonly #statements: ReadonlyMap<string, StatementHandler>;
  readonly #nodes: ReadonlyMap<string, NodeHandler>;
  /** How many queries around here define a CTE of a name. */
  readonly #ctes = new Map<string, number>();
  #depth = 0;
  /** Of CREATE SCHEMA: where the unqualified names of what it creates go. */
  newSchema: string | undefined;

  constructor(
    statements: ReadonlyMap<string, StatementHandler>,
    nodes: ReadonlyMap<string, NodeHandler>,
  ) {
    this.#statements = statements;
    this.#nodes = nodes;
  }

  /** Surveys a statement on its own. @throws ChaperoneError (unsupported, too-large) */
  survey(statement: unknown): StatementSurvey {
    const walker = new Walker(this.#statements, this.#nodes);
    walker.statement(statement, new Scope());
    return walker.draft.finish();
  }

  /** Takes a statement with its command, also where the same node could be a subquery. */
  statement(value: unknown, scope: Scope): void {
    const node = tryNode(value);
    const handler = node && this.#statements.get(node.kind);
    if (!handler)
      throw new ChaperoneError(
        'unsupported',
        `SQL that is not known: ${node?.kind ?? 'no statement'}`,
      );
    this.deeper(() => handler(node.fields, scope, this));
  }

  /** Walks whatever is below a value. */
  walk(value: unknown, scope: Scope): void {
    this.deeper(() => this.#walk(value, scope));
  }

  #walk(value: unknown, scope: Scope): void {
    const pending = [value];
    while (pending.length > 0) {
      const next = pending.pop();
      if (Array.isArray(next))
        for (let at = next.length; at > 0; at -= 1) pending.push(next[at - 1]);
      else {
        const node = tryNode(next);
        const rest = node ? this.#node(node.kind, node.fields, scope) : this.#bare(next, scope);
        if (rest !== undefined) pending.push(rest);
      }
    }
  }

  #node(kind: string, fields: Fields, scope: Scope): unknown {
    const handler = this.#nodes.get(kind);
    if (handler) return handler(fields, scope, this);
    const statement = this.#statements.get(kind);
    if (!statement) return Object.values(fields);
    this.deeper(() => statement(fields, scope, this));
    return undefined;
  }

  /** Fields whose kind the tree leaves out because the grammar fixes it. */
  #bare(value: unknown, scope: Scope): unknown {
    const fields = tryFields(value);
    if (!fields) return undefined;
    if ('relname' in fields) return this.#node('RangeVar', fields, scope);
    if ('funcname' in fields) return this.#node('FuncCall', fields, scope);
    if ('typemod' in fields) return this.#node('TypeName', fields, scope);
    return Object.values(fields);
  }

  /** Runs a step one level further down. @throws ChaperoneError (too-large) */
  deeper<T>(step: () => T): T {
    this.#depth += 1;
    if (this.#depth > maxDepth)
      throw new ChaperoneError('too-large', 'the SQL is nested too deeply to judge');
    const result = step();
    this.#depth -= 1;
    return result;
  }

  /** Lets a name stand for a CTE until it is hidden again. */
  showCte(name: string): void {
    this.#ctes.set(name, (this.#ctes.get(name) ?? 0) + 1);
  }

  hideCte(name: string): void {
    this.#ctes.set(name, (this.#ctes.get(name) ?? 0) - 1);
  }

  isCte(range: Fields): boolean {
    const name = textOf(range, 'relname') ?? '';
    return textOf(range, 'schemaname') === undefined && (this.#ctes.get(name) ?? 0) > 0;
  }

  /** Notes a use of the relation that a RangeVar names and returns the columns of that use. */
  relation(range: Fields, access: TableAccess): Set<string> {
    return this.draft.relation(relationName(range), access);
  }

  /** Notes that a relation is defined, changed or dropped, and returns the columns of that. */
  define(range: Fields): Set<string> {
    const name = relationName(range);
    if (range['relpersistence'] === 't') this.draft.changesMeaning();
    return this.draft.relation({ ...name, schema: name.schema ?? this.newSchema }, 'Define');
  }
}

/** Reads a RangeVar; the database in front of a name is always the current one's. */
function relationName(range: Fields): RelationName {
  return {
    schema: textOf(range, 'schemaname'),
    name: textOf(range, 'relname') ?? '',
    only: range['inh'] !== true,
  };
}
