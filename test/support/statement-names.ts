import type { SchemaRelation } from './statement-schema.ts';

/** A statement, and what the server is asked about it. */
export interface GeneratedStatement {
  readonly text: string;
  /** What EXPLAIN takes of it: all but the COPY around a query. */
  readonly explained: string;
  /** Itself, where a view can be made of it: it reads alone. */
  readonly query: string | undefined;
}

/** What a FROM item is called there and the columns that it has; they are of types that go into bigint and text. */
export interface Item {
  readonly name: string;
  readonly schema: string | undefined;
  readonly numbers: readonly string[];
  readonly texts: readonly string[];
  /** What FOR UPDATE does: it locks it, leaves it alone, or is refused. */
  readonly locking: 'locks' | 'passes' | 'refused';
  /** Whether its name alone stands for a row. */
  readonly hasRow: boolean;
}

export interface Names {
  readonly items: Item[];
  readonly outer: Names | undefined;
}

export type Shape = readonly ('id' | 'label')[];

export const usual = { numbers: ['id', 'parent_id'], texts: ['label'] };
export const shapes: readonly Shape[] = [['id', 'label'], ['label'], ['id']];
/** Some are names of tables or columns, which they hide. */
export const aliases = [
  'orders',
  'items',
  'animals',
  'x',
  'y',
  'label',
  'seen',
  'Odd "Alias',
  'parts',
];
export const cteNames = [
  'orders',
  'items',
  'parts',
  'totals',
  'scratch',
  'pg_class',
  'w',
  'animals',
];
export const derived = { locking: 'passes', hasRow: true } as const;

export function quoted(name: string): string {
  return /^[a-z_][a-z_0-9]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

export function isUsual({ kind, name }: SchemaRelation): boolean {
  return kind !== 'sequence' && name !== 'pg_class';
}

export function columnsOf(shape: Shape): Pick<Item, 'numbers' | 'texts'> {
  return {
    numbers: shape.includes('id') ? ['id'] : [],
    texts: shape.includes('label') ? ['label'] : [],
  };
}

export function sharedColumns(left: Item, right: Item): readonly string[] {
  return [...left.numbers, ...left.texts].filter((column) =>
    [...right.numbers, ...right.texts].includes(column),
  );
}
