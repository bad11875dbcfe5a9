import type { NameUse } from './survey.ts';
import { listOf, nameOf, stringsOf, tryNode, tryString } from './tree.ts';

/** Kinds of objects whose words in commands are not those of their constant. */
const words: ReadonlyMap<string, string> = new Map([
  ['OBJECT_ATTRIBUTE', 'TYPE'],
  ['OBJECT_COLUMN', 'TABLE'],
  ['OBJECT_DOMCONSTRAINT', 'DOMAIN'],
  ['OBJECT_FDW', 'FOREIGN DATA WRAPPER'],
  ['OBJECT_FOREIGN_SERVER', 'SERVER'],
  ['OBJECT_LARGEOBJECT', 'LARGE OBJECT'],
  ['OBJECT_MATVIEW', 'MATERIALIZED VIEW'],
  ['OBJECT_OPCLASS', 'OPERATOR CLASS'],
  ['OBJECT_OPFAMILY', 'OPERATOR FAMILY'],
  ['OBJECT_STATISTIC_EXT', 'STATISTICS'],
  ['OBJECT_TABCONSTRAINT', 'TABLE'],
  ['OBJECT_TSCONFIGURATION', 'TEXT SEARCH CONFIGURATION'],
  ['OBJECT_TSDICTIONARY', 'TEXT SEARCH DICTIONARY'],
  ['OBJECT_TSPARSER', 'TEXT SEARCH PARSER'],
  ['OBJECT_TSTEMPLATE', 'TEXT SEARCH TEMPLATE'],
]);

const relationTypes: ReadonlySet<string> = new Set([
  'OBJECT_FOREIGN_TABLE',
  'OBJECT_INDEX',
  'OBJECT_MATVIEW',
  'OBJECT_SEQUENCE',
  'OBJECT_TABLE',
  'OBJECT_VIEW',
]);

/** Objects of a relation: their own name stands behind the relation's. */
const partTypes: ReadonlySet<string> = new Set([
  'OBJECT_COLUMN',
  'OBJECT_POLICY',
  'OBJECT_RULE',
  'OBJECT_TABCONSTRAINT',
  'OBJECT_TRIGGER',
]);

/** Returns the words for a kind of object in commands: `MATERIALIZED VIEW`. */
export function objectWords(type: string): string {
  return words.get(type) ?? type.replace(/^OBJECT_/, '').replaceAll('_', ' ');
}

/** Returns the parts of an object's name, however the grammar gives it. */
export function objectParts(object: unknown): readonly string[] {
  const node = tryNode(object);
  if (!node) return [];
  if (node.kind === 'List') return stringsOf(listOf(node.fields, 'items'));
  if (node.kind === 'TypeName') return stringsOf(listOf(node.fields, 'names'));
  if (node.kind === 'ObjectWithArgs') return stringsOf(listOf(node.fields, 'objname'));
  const name = tryString(object);
  return name === undefined ? [] : [name];
}

/** A relation that an object is, or is a part of, and which of its columns, `*` for all. */
export interface ObjectRelation {
  readonly relation: NameUse;
  readonly column: string;
}

/** Returns what an object has to do with relations; all relations of a schema are the one named `*`. */
export function tryObjectRelation(type: string, object: unknown): ObjectRelation | undefined {
  const parts = objectParts(object);
  const own = parts.at(-1);
  if (own === undefined) return undefined;
  if (type === 'OBJECT_SCHEMA') return { relation: { schema: own, name: '*' }, column: '*' };
  const isPart = partTypes.has(type);
  if (!isPart && !relationTypes.has(type)) return undefined;
  const relation = nameOf(isPart ? parts.slice(0, -1) : parts);
  return relation && { relation, column: type === 'OBJECT_COLUMN' ? own : '*' };
}
