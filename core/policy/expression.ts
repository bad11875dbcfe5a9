import type { ASTNode, Environment, ParseResult } from '@marcbachmann/cel-js';
import {
  fieldNames,
  operationEnvironment,
  principalEnvironment,
  type Terms,
} from './vocabulary.ts';

/**
 * CEL without what can take long: an expression comes from whoever may write a policy, and what it runs over from an agent.
 * There are no patterns, nothing that builds lists or longer and longer strings in loops, and a loop within another runs only
 * through what belongs to the outer one's item. So its cost is known before it is evaluated.
 */

const maxLength = 2_048;

const plainCalls: ReadonlySet<string> = new Set(['has', 'size', 'string', 'int', 'double']);
const methods: ReadonlySet<string> = new Set([
  'size',
  'startsWith',
  'endsWith',
  'contains',
  'lowerAscii',
  'upperAscii',
  'trim',
]);
/** Make new strings and lists: not in loops. */
const builders: ReadonlySet<string> = new Set(['split', 'join', 'substring', 'indexOf']);
const loops: ReadonlySet<string> = new Set(['all', 'exists', 'exists_one']);

/** Steps that evaluating may take; over all expressions of one operation, some 50 ms. */
export class Effort {
  #left = 1_000_000;

  /** Returns false when it is used up. */
  spend(steps: number): boolean {
    this.#left -= steps;
    return this.#left >= 0;
  }
}

/** An expression that was parsed, checked and bounded. */
export class Expression {
  readonly #evaluate: ParseResult;
  readonly #cost: Cost;
  /** Whether it names `statement` at all: where there is none, it has nothing to say. */
  readonly asksOfStatement: boolean;

  constructor(evaluate: ParseResult, cost: Cost) {
    this.#evaluate = evaluate;
    this.#cost = cost;
    this.asksOfStatement = cost.asksOfStatement;
  }

  /** Its value, or what is wrong; never throws. */
  over({ variables, items }: Terms, effort: Effort): Value {
    const { once, each, pairs } = this.#cost;
    if (!effort.spend(once + each * items + pairs * items * items))
      return { error: 'it would take too long over what this statement holds' };
    try {
      return { value: this.#evaluate(variables) as unknown };
    } catch (error) {
      return { error: summaryOf(error) };
    }
  }
}

/** What evaluating comes to. */
export type Value =
  | { readonly value: unknown; readonly error?: never }
  | { readonly value?: never; readonly error: string };

/** An expression, or why it is none. */
export type ParsedExpression =
  | { readonly expression: Expression; readonly problem?: never }
  | { readonly expression?: never; readonly problem: string };

/** Reads the condition of a rule: CEL over `statement`, `principal`, `workload` and `backend` that is true or false. */
export function parseCondition(text: string): ParsedExpression {
  return parse(text, operationEnvironment, 'bool');
}

/** Reads the value of a setting: CEL over `principal` that is a string. */
export function parseSetting(text: string): ParsedExpression {
  return parse(text, principalEnvironment, 'string');
}

/** Says what is wrong with the condition of a rule; undefined when nothing is. */
export function checkExpression(text: string): string | undefined {
  return parseCondition(text).problem;
}

/** Says what is wrong with the value of a setting; undefined when nothing is. */
export function checkSetting(text: string): string | undefined {
  return parseSetting(text).problem;
}

function parse(text: string, environment: Environment, type: 'bool' | 'string'): ParsedExpression {
  if (text.length > maxLength) return { problem: `want at most ${maxLength} characters` };
  try {
    const parsed = environment.parse(text);
    const cost = new Cost();
    const offence = cost.add(parsed.ast, []);
    if (offence !== undefined) return { problem: offence };
    const checked = parsed.check();
    if (!checked.valid) return { problem: summaryOf(checked.error) };
    if (checked.type !== type) return { problem: `is of type ${checked.type}, want ${type}` };
    return { expression: new Expression(parsed, cost) };
  } catch (error) {
    return { problem: summaryOf(error) };
  }
}

// The message of such an error goes over several lines, with the text in it.
function summaryOf(error: unknown): string {
  if (error instanceof Error && 'summary' in error && typeof error.summary === 'string')
    return error.summary.slice(0, 200);
  return error instanceof Error ? error.message.slice(0, 200) : 'it cannot be evaluated';
}

/** Steps that an expression takes: some once, some for each item of all lists, some for each pair of items. */
class Cost {
  once = 0;
  each = 0;
  pairs = 0;
  asksOfStatement = false;

  /** Adds a node and what is in it; `items` are the loops' variables around it. Returns what is not allowed there. */
  add(node: ASTNode, items: readonly string[]): string | undefined {
    if (items.length === 0) this.once += 1;
    else this.each += 1;
    switch (node.op) {
      case 'value':
        return undefined;
      case 'id':
        if (node.args === 'statement' && !items.includes('statement')) this.asksOfStatement = true;
        return undefined;
      case '.':
        if (!fieldNames.has(node.args[1])) return `nothing has a field ${node.args[1]}`;
        return this.add(node.args[0], items);
      case 'call': {
        const [name, args] = node.args;
        return plainCalls.has(name) ? this.#addAll(args, items) : notOffered(name);
      }
      case 'rcall': {
        const [name, receiver, args] = node.args;
        if (loops.has(name)) return this.#addLoop(receiver, args, items);
        if (builders.has(name) && items.length > 0) return `${name}() is not offered in a loop`;
        if (!methods.has(name) && !builders.has(name)) return notOffered(name);
        return this.#addAll([receiver, ...args], items);
      }
      case 'in':
        if (node.args[1].op !== 'list') {
          if (items.length === 0) this.each += 1;
          else this.pairs += 1;
        }
        return this.#addAll(node.args, items);
      case 'list':
        return this.#addAll(node.args, items);
      case '!_':
      case '-_':
        return this.add(node.args, items);
      case 'map':
      case '.?':
      case '[?]':
        return notOffered(node.op);
      default:
        return this.#addAll(node.args, items);
    }
  }

  #addAll(nodes: readonly ASTNode[], items: readonly string[]): string | undefined {
    for (const node of nodes) {
      const offence = this.add(node, items);
      if (offence !== undefined) return offence;
    }
    return undefined;
  }

  #addLoop(
    list: ASTNode,
    [variable, ...body]: readonly ASTNode[],
    items: readonly string[],
  ): string | undefined {
    if (variable?.op !== 'id') return 'want the name of a variable as the first argument of a loop';
    if (list.op !== '.') return 'a loop runs through a field, such as statement.tables';
    if (items.length > 0 && rootOf(list) !== items.at(-1))
      return 'a loop within another runs only through a field of the outer one’s item'; // else it would run through all for each
    // One name for two things would make the outer's list look like the inner item's own.
    if (items.includes(variable.args)) return `${variable.args} is a loop’s variable already`;
    return this.add(list, items) ?? this.#addAll(body, [...items, variable.args]);
  }
}

function rootOf(node: ASTNode): string | undefined {
  let at = node;
  while (at.op === '.') at = at.args[0];
  return at.op === 'id' ? at.args : undefined;
}

function notOffered(name: string): string {
  if (name === 'matches')
    return 'matches() is not offered, since a pattern can take for ever: use startsWith, endsWith or contains';
  return `${name} is not offered`;
}
