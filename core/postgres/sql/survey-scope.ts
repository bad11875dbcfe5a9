/** What a FROM item lets column names stand for. */
export interface FromItem {
  /** Its alias or name; undefined for a subquery without either. */
  readonly name: string | undefined;
  /** What may stand before its name; undefined: nothing, or whatever `search_path` finds. */
  readonly schema: string | undefined;
  /** Notes a column of it, or `*`; undefined where its columns are no relation's. */
  readonly read: ((column: string) => void) | undefined;
  /** Notes that FOR UPDATE or its like locks it; undefined where that reaches no relation. */
  readonly lock: (() => void) | undefined;
  /** Whether it stands for items before it, as the alias of a join does. */
  readonly spans?: true;
}

/** Beyond so many pairs of relations and unqualified columns in one query, all columns are taken instead. */
const maxSpread = 10_000;
/** Beyond so many items of one name in one query, which differ by schema at best, all columns of the others are taken. */
const maxNamesakes = 64;
/** Beyond so many unqualified columns that may belong to an outer query, all of its columns are taken instead. */
const maxCarried = 1_000;

/**
 * The names that columns of one query may be qualified with. Nobody knows here which relation has which columns, so an
 * unqualified one counts for every relation of its query and of those around it.
 */
export class Scope {
  readonly parent: Scope | undefined;
  readonly items: FromItem[] = [];
  readonly #byName = new Map<string, FromItem[]>();
  readonly #bare = new Set<string>();
  #takesAll = false;
  #takesUnknown = false;
  #isLocked = false;

  constructor(parent?: Scope) {
    this.parent = parent;
  }

  add(item: FromItem): void {
    this.items.push(item);
    if (item.name === undefined) return;
    const same = this.#byName.get(item.name);
    if (!same) this.#byName.set(item.name, [item]);
    else if (same.length < maxNamesakes) same.push(item);
    else item.read?.('*');
  }

  /** The items that a name stands for in this query itself. */
  named(name: string): readonly FromItem[] {
    return this.#byName.get(name) ?? [];
  }

  /** Takes the parts of a column's name, `isStar` for one that ends in `.*`. */
  column(parts: readonly string[], isStar: boolean): void {
    const qualifier = isStar ? parts : parts.slice(0, -1);
    const column = isStar ? '*' : parts.at(-1);
    const table = qualifier.at(-1);
    if (column === undefined) return;
    if (table !== undefined) this.#qualified(qualifier.at(-2), table, column);
    else if (isStar) this.#takesAll = true;
    else this.#bare.add(column);
  }

  #qualified(schema: string | undefined, table: string, column: string): void {
    const found = this.named(table).filter(
      (item) => schema === undefined || item.schema === undefined || item.schema === schema,
    );
    for (const item of found) item.read?.(column);
    if (found.length === 0 && this.parent) this.parent.#qualified(schema, table, column);
  }

  lockAll(): void {
    if (this.#isLocked) return;
    this.#isLocked = true;
    for (const item of this.items) item.lock?.();
  }

  /** Hands out the unqualified columns once all items and all columns are known. */
  close(): void {
    const isWide = this.#takesUnknown || this.#bare.size * this.items.length > maxSpread;
    for (const item of this.items)
      if (item.spans) this.#readWhole(item);
      else {
        if (this.#takesAll || isWide) item.read?.('*');
        if (!isWide) for (const column of this.#bare) this.#readBare(item, column);
      }
    this.#carry();
  }

  #readWhole(item: FromItem): void {
    if (item.name !== undefined && this.#bare.has(item.name)) item.read?.('*');
  }

  /** A name of a FROM item stands for a whole row. */
  #readBare(item: FromItem, column: string): void {
    item.read?.(item.name === column ? '*' : column);
  }

  #carry(): void {
    if (this.parent === undefined) return;
    if (this.#takesUnknown || this.#bare.size > maxCarried) this.parent.#takesUnknown = true;
    else
      for (const column of this.#bare) if (!this.#byName.has(column)) this.parent.#bare.add(column);
  }
}
