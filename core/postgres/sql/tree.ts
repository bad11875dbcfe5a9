import type { NameUse } from './survey.ts';

/** The fields of one node of a parse tree, or of the tree itself; nothing about them is known. */
export type Fields = Readonly<Record<string, unknown>>;

/** A node where the grammar allows several kinds: `{ "SelectStmt": { … } }`. */
export interface TreeNode {
  readonly kind: string;
  readonly fields: Fields;
}

/** Returns a value as fields, or undefined when it is none. */
export function tryFields(value: unknown): Fields | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  return value as Fields; // whatever it holds is unknown still
}

/** Returns the kind and the fields of a node that names its kind, or undefined: kinds alone begin with a capital. */
export function tryNode(value: unknown): TreeNode | undefined {
  const outer = tryFields(value);
  if (outer === undefined) return undefined;
  for (const kind in outer) {
    const first = kind.charCodeAt(0);
    if (first < 0x41 || first > 0x5a) return undefined;
    return { kind, fields: tryFields(outer[kind]) ?? {} };
  }
  return undefined;
}

/** Returns the fields of a node of one kind, or undefined. */
export function tryKind(value: unknown, kind: string): Fields | undefined {
  const node = tryNode(value);
  return node?.kind === kind ? node.fields : undefined;
}

/** Returns a text, or undefined where it is left out, as the parser does with empty ones. */
export function textOf(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** Returns a list, empty where it is left out. */
export function listOf(fields: Fields, name: string): readonly unknown[] {
  const value = fields[name];
  return Array.isArray(value) ? value : [];
}

/** Returns the fields under a name whose kind the grammar fixes, or undefined. */
export function childOf(fields: Fields, name: string): Fields | undefined {
  return tryFields(fields[name]);
}

/** Returns the values of all fields but those named. */
export function restOf(fields: Fields, ...taken: readonly string[]): readonly unknown[] {
  return Object.keys(fields)
    .filter((name) => !taken.includes(name))
    .map((name) => fields[name]);
}

/** Returns the text of a `String` node, or undefined; an empty one is left out of the tree. */
export function tryString(value: unknown): string | undefined {
  const string = tryKind(value, 'String');
  return string && (textOf(string, 'sval') ?? '');
}

/** Returns the texts of the `String` nodes of a list, others skipped. */
export function stringsOf(list: readonly unknown[]): readonly string[] {
  return list.map(tryString).filter((text) => text !== undefined);
}

/** Returns what a dotted name stands for; the name of a database in front is always the current one's. */
export function nameOf(parts: readonly string[]): NameUse | undefined {
  const name = parts.at(-1);
  return name === undefined ? undefined : { schema: parts.at(-2), name };
}

/** Types whose casts leave a text as it is; by their schema, or anybody's of that name might be meant. */
const plainTypes: ReadonlySet<string> = new Set(['text', 'varchar']);

/** Whether a cast leaves a text as it is: `varchar(9)` and `name` cut it. */
function isPlainCast(cast: Fields): boolean {
  const type = childOf(cast, 'typeName') ?? {};
  const [schema, name = ''] = stringsOf(listOf(type, 'names'));
  if (listOf(type, 'typmods').length + listOf(type, 'arrayBounds').length > 0) return false;
  return schema === 'pg_catalog' ? plainTypes.has(name) : schema === 'regclass';
}

/**
 * Returns the text of a string constant, also one with a cast round it that does not change it, or undefined: then only
 * its evaluation tells.
 */
export function tryLiteral(value: unknown): string | undefined {
  let node = tryNode(value);
  while (node?.kind === 'TypeCast' && isPlainCast(node.fields)) node = tryNode(node.fields['arg']);
  if (node?.kind !== 'A_Const') return undefined;
  const string = childOf(node.fields, 'sval');
  return string && (textOf(string, 'sval') ?? '');
}
