import type { Random } from './random.ts';
import {
  aliases,
  sharedColumns,
  columnsOf,
  cteNames,
  derived,
  isUsual,
  quoted,
  shapes,
  usual,
  type GeneratedStatement,
  type Item,
  type Names,
  type Shape,
} from './statement-names.ts';
import {
  mayUse,
  placesOf,
  schemaRelations,
  type SchemaRelation,
  type Situation,
} from './statement-schema.ts';

/** Queries nest no further than about this. */
const maxDepth = 3;
const endings = [' search depth first by id set ord', ' cycle id set seen using path'];

/** Makes statements over `schemaDefinition`, nearly all of which PostgreSQL takes. */
export class StatementGenerator {
  readonly #random: Random;
  readonly #version: number;
  readonly #situation: Situation;
  readonly #relations: readonly SchemaRelation[];
  /** Names of CTEs, by what they hide; with columns where they may be used. */
  #ctes: readonly { readonly name: string; readonly shape: Shape | undefined }[] = [];
  #depth = 0;
  #changes = false;
  #isBranch = false;
  #fresh = 0;

  constructor(random: Random, version: number, situation: Situation) {
    this.#random = random;
    this.#version = version;
    this.#situation = situation;
    this.#relations = schemaRelations.filter(({ schema }) => mayUse(situation.role, schema));
  }

  statement(): GeneratedStatement {
    this.#ctes = [];
    this.#depth = 0;
    this.#changes = false;
    if (this.#chance(35)) {
      const text = this.#modify();
      const isCopied = this.#chance(8) && text.includes(' returning ') && !text.startsWith('merge');
      return {
        text: isCopied ? `copy (${text}) to stdout` : text,
        explained: text,
        query: undefined,
      };
    }
    const query = this.#chance(10)
      ? this.#withChange()
      : this.#chance(6)
        ? `table ${this.#bareRelation()}`
        : this.#query(undefined, undefined);
    const readsAlone = !this.#changes;
    const plain = { text: query, explained: query, query: readsAlone ? query : undefined };
    if (!readsAlone || this.#chance(70)) return plain;
    const text = this.#random.pick([
      `copy (${query}) to stdout`,
      `declare c cursor for ${query}`,
      `explain (costs off) ${query}`,
      `create temp table made as ${query}`,
      `create temp view made as ${query}`,
    ]);
    return { ...plain, text };
  }

  // Odds and names

  #chance(percent: number): boolean {
    return this.#random.below(100) < percent;
  }

  #pick<T>(...options: readonly T[]): T {
    return this.#random.pick(options);
  }

  #written(relation: SchemaRelation, isTarget = false): { text: string; schema?: string } {
    const { schema, name } = relation;
    const places = placesOf(this.#situation);
    const found = places.find((place) =>
      schemaRelations.some((other) => other.schema === place && other.name === name),
    );
    const isHidden = !isTarget && this.#ctes.some((cte) => cte.name === name);
    if (found === schema && !isHidden && this.#chance(70)) return { text: quoted(name) };
    return { text: `${quoted(schema)}.${quoted(name)}`, schema };
  }

  #bareRelation(): string {
    return this.#written(this.#random.pick(this.#relations)).text;
  }

  #alias(taken: readonly Item[]): string {
    const name = this.#chance(60) ? this.#random.pick(aliases) : `a${(this.#fresh += 1)}`;
    return taken.some((item) => item.name === name) ? `b${(this.#fresh += 1)}` : name;
  }

  // Queries

  /** Without a shape a query has any columns. */
  #query(shape: Shape | undefined, outer: Names | undefined): string {
    this.#depth += 1;
    const ctes = this.#ctes;
    const clause = this.#depth <= maxDepth && this.#chance(18) ? this.#with(outer) : '';
    const body =
      this.#depth < maxDepth && this.#chance(14)
        ? this.#setOperation(shape ?? this.#random.pick(shapes), outer)
        : this.#chance(6)
          ? this.#rows(shape, outer)
          : this.#select(shape, outer);
    this.#ctes = ctes;
    this.#depth -= 1;
    return `${clause}${body}`;
  }

  #with(outer: Names | undefined): string {
    const isRecursive = this.#chance(35);
    const count = 1 + this.#random.below(3);
    const names = [...new Set(Array.from({ length: count }, () => this.#random.pick(cteNames)))];
    const before = this.#ctes;
    if (isRecursive) this.#ctes = [...before, ...names.map((name) => ({ name, shape: undefined }))];
    const written = names.map((name, index) => {
      const shape: Shape = ['id', 'label'];
      const isLoop = isRecursive && index === 0;
      const body = isLoop ? this.#recursion(name, outer) : this.#query(shape, outer);
      this.#ctes = [...this.#ctes, { name, shape }];
      const mode = isLoop ? '' : this.#pick('', '', ' materialized', ' not materialized');
      const columns = this.#pick('', '(id, label)');
      const end = isLoop ? this.#pick('', ...endings) : '';
      return `${quoted(name)}${columns} as${mode} (${body})${end}`;
    });
    return `with ${isRecursive ? 'recursive ' : ''}${written.join(', ')} `;
  }

  #recursion(name: string, outer: Names | undefined): string {
    const relation = this.#random.pick(this.#relations.filter(isUsual));
    const start = this.#select(['id', 'label'], outer, true);
    return (
      `${start} union all select r.id + 1, t.label::text from ${quoted(name)} r` +
      ` join ${this.#written(relation).text} t on t.parent_id = r.id`
    );
  }

  #setOperation(shape: Shape, outer: Names | undefined): string {
    const branch = (): string => {
      const before = this.#isBranch;
      this.#isBranch = true;
      const text = this.#query(shape, outer);
      this.#isBranch = before;
      return `(${text})`;
    };
    const operation = this.#pick('union', 'union all', 'intersect', 'except', 'except all');
    const order = this.#chance(30) ? ` order by ${this.#pick('1', shape[0] ?? '1')}` : '';
    return `${branch()} ${operation} ${branch()}${order}${this.#limit(outer)}`;
  }

  #values(shape: Shape, outer: Names | undefined): string {
    const row = (): string => `(${this.#shaped(shape, { items: [], outer }, false)})`;
    return `values ${row()}, ${row()}`;
  }

  /** With a shape, its columns have the names of that. */
  #rows(shape: Shape | undefined, outer: Names | undefined): string {
    if (!shape) return this.#values(['id'], outer);
    return `select * from (${this.#values(shape, outer)}) as v(${shape.join(', ')})`;
  }

  #limit(outer: Names | undefined): string {
    if (!this.#chance(20)) return '';
    return this.#depth < maxDepth && this.#chance(20)
      ? ` limit (${this.#select(['id'], outer, true)} limit 1)`
      : ` limit ${1 + this.#random.below(9)} offset 1`;
  }

  #select(shape: Shape | undefined, outer: Names | undefined, isPlain = false): string {
    this.#depth += 1;
    const names: Names = { items: [], outer };
    const from = this.#from(names);
    const where = this.#chance(45) ? ` where ${this.#boolean(names)}` : '';
    const kind = isPlain ? 100 : this.#random.below(100);
    let text: string;
    if (kind < 14) text = this.#grouped(shape, names, `${from.text}${where}`);
    else if (kind < 26) text = this.#windowed(shape, names, `${from.text}${where}`);
    else {
      const distinct = isPlain ? '' : this.#pick('', '', '', '', '', 'distinct ');
      const list = shape ? this.#shaped(shape, names, true) : this.#targets(names, distinct !== '');
      text = `select ${distinct}${list}${from.text}${where}`;
      if (distinct === '' && !isPlain && this.#chance(20))
        text += ` order by ${shape && this.#chance(50) ? shape[0] : this.#text(names)} desc`;
      if (!isPlain) text += this.#limit(outer);
      const mayLock =
        !isPlain && distinct === '' && from.lockable && !this.#changes && !this.#isBranch;
      if (mayLock && this.#chance(12)) text += this.#lock(names);
    }
    this.#depth -= 1;
    return text;
  }

  #lock({ items }: Names): string {
    const strength = this.#pick('update', 'share', 'no key update', 'key share');
    const lockable = items.filter((item) => item.locking === 'locks');
    const of = this.#chance(40) ? ` of ${quoted(this.#random.pick(lockable).name)}` : '';
    return ` for ${strength}${of}`;
  }

  #grouped(shape: Shape | undefined, names: Names, rest: string): string {
    const key = this.#column(names, 'numbers') ?? '1 + 1';
    const own: Names = { items: names.items, outer: undefined }; // else it is the outer query's aggregate
    const counted = this.#chance(50) ? `count(${this.#number(own)})` : 'count(*)';
    const filter = this.#chance(20) ? ` filter (where ${this.#boolean(own)})` : '';
    const having = this.#chance(40) ? ` having max(${this.#text(own)}) > 'a'` : '';
    const by = this.#pick(key, `rollup (${key})`, `grouping sets ((${key}), ())`);
    const outputs = (shape ?? ['id', 'label']).map((output) =>
      output === 'id'
        ? `(${counted}${filter})::int as id`
        : `min(${this.#text(own)})::text as label`,
    );
    return `select ${outputs.join(', ')}${rest} group by ${by}${having}`;
  }

  #windowed(shape: Shape | undefined, names: Names, rest: string): string {
    const window = `partition by ${this.#text(names)} order by ${this.#number(names)}`;
    const isNamed = this.#chance(50);
    const over = isNamed ? 'w' : `(${window})`;
    const outputs = (shape ?? ['label', 'id']).map((output) =>
      output === 'id'
        ? `(${this.#pick('row_number()', `count(${this.#number(names)})`)} over ${over})::int as id`
        : `(lag(${this.#text(names)}) over ${over})::text as label`,
    );
    return `select ${outputs.join(', ')}${rest}${isNamed ? ` window w as (${window})` : ''}`;
  }

  #shaped(shape: Shape, names: Names, isNamed: boolean): string {
    return shape
      .map((output) => {
        const value =
          output === 'id' ? `(${this.#number(names)})::int` : `(${this.#text(names)})::text`;
        return isNamed ? `${value} as ${output}` : value;
      })
      .join(', ');
  }

  #targets(names: Names, mustCompare: boolean): string {
    const target = (): string => {
      const [kind, item] = [this.#random.below(10), this.#item(names)];
      if (kind < 2 && names.items.length > 0 && !mustCompare) return '*';
      if (kind < 4 && item && !mustCompare) return `${quoted(item.name)}.*`;
      if (kind < 5 && item?.hasRow) return `to_jsonb(${quoted(item.name)})`;
      return kind < 8 ? this.#number(names) : this.#text(names);
    };
    return Array.from({ length: 1 + this.#random.below(3) }, target).join(', ');
  }

  // FROM

  #from(names: Names): { text: string; lockable: boolean } {
    const count = this.#depth > maxDepth + 1 ? 1 : this.#random.below(4);
    if (count === 0 && this.#depth > 2) return { text: '', lockable: false };
    let text = this.#fromItem(names, false);
    let lockable = true;
    let start = 0;
    for (let index = 1; index < count; index += 1) {
      const end = names.items.length;
      const [part, keeps] = this.#joined(names, start);
      if (part.startsWith(',')) start = end;
      lockable &&= keeps;
      text += part;
    }
    lockable &&= names.items.some((item) => item.locking === 'locks');
    lockable &&= names.items.every((item) => item.locking !== 'refused');
    return { text: ` from ${text}`, lockable };
  }

  /** A join to what stands before, and whether FOR UPDATE may lock what is on both its sides. */
  #joined(names: Names, start: number): readonly [string, boolean] {
    const before = names.items.slice(start); // a comma binds less than a join
    const kind = this.#random.below(8);
    if (kind === 0) return [`, ${this.#fromItem(names, true)}`, true];
    if (kind === 1) return [` cross join ${this.#fromItem(names, true)}`, true];
    if (kind === 2) return [` left join ${this.#fromItem(names, true, true)} on true`, false];
    const item = this.#fromItem(names, false);
    const added = names.items.at(-1);
    const [left] = before;
    const shared = before.length === 1 && added && left ? sharedColumns(left, added) : [];
    if (kind === 3 && before.length === 1) return [` natural join ${item}`, true];
    if (kind === 4 && shared.length > 0) {
      const alias = this.#chance(30) ? ` as j${(this.#fresh += 1)}` : '';
      return [
        ` ${this.#pick('', 'left ')}join ${item} using (${shared.join(', ')})${alias}`,
        false,
      ];
    }
    if (kind === 5 && left?.numbers[0] && added?.numbers[0]) {
      const columns = [left, added].map((one) => `${quoted(one.name)}.${one.numbers[0]}`);
      return [` ${this.#pick('full', 'right')} join ${item} on ${columns.join(' = ')}`, false];
    }
    const isInner = this.#chance(60);
    return [
      `${isInner ? '' : ' left'} join ${item} on ${this.#boolean({ ...names, items: names.items.slice(start) })}`,
      isInner,
    ];
  }

  #fromItem(names: Names, seesLeft: boolean, isNullable = false): string {
    const kind = this.#random.below(20);
    const { items } = names;
    const around = seesLeft ? names : names.outer;
    if (kind < 2 && this.#depth <= maxDepth) {
      const shape = this.#random.pick(shapes);
      const body = this.#query(shape, around);
      return `${seesLeft ? 'lateral ' : ''}(${body})${this.#derived(items, shape)}`;
    }
    if (kind < 4) return this.#function(names, around);
    if (kind < 5)
      return `(${this.#values(['id', 'label'], undefined)})${this.#derived(items, ['id', 'label'], true)}`;
    if (kind < 6 && this.#depth <= maxDepth && !isNullable) return this.#nested(names);
    const usable = this.#ctes.filter(
      (cte, index) =>
        cte.shape && !this.#ctes.slice(index + 1).some(({ name }) => name === cte.name),
    );
    if (usable.length > 0 && this.#chance(50)) {
      const { name, shape } = this.#random.pick(usable);
      const isTaken = items.some((item) => item.name === name);
      if (shape && (isTaken || this.#chance(50)))
        return `${quoted(name)}${this.#derived(items, shape)}`;
      if (shape) items.push({ ...columnsOf(shape), name, schema: undefined, ...derived });
      return quoted(name);
    }
    return this.#relation(items);
  }

  #derived(items: Item[], shape: Shape, isListed = false): string {
    const name = this.#alias(items);
    items.push({
      ...columnsOf(shape),
      name,
      schema: undefined,
      ...derived,
      hasRow: name !== 'label',
    });
    return ` as ${quoted(name)}${isListed ? `(${shape.join(', ')})` : ''}`;
  }

  #function(names: Names, around: Names | undefined): string {
    const argument = around && this.#chance(60) ? this.#number(around) : '3';
    const recent =
      this.#situation.role === 'clerk' ? 'app.recent' : this.#pick('app.recent', 'hr.recent');
    const lateral = this.#pick('', 'lateral ');
    if (this.#chance(50))
      return `${lateral}${recent}(${argument})${this.#derived(names.items, ['id', 'label'])}`;
    const call = this.#pick(`generate_series(1, ${argument})`, `unnest(array[${argument}])`);
    const text = this.#pick(call, `rows from (${call}, ${call}) with ordinality`);
    return `${lateral}${text}${this.#derived(names.items, ['id'], true)}`;
  }

  #nested(names: Names): string {
    const inner: Names = { items: [...names.items], outer: names.outer };
    const start = inner.items.length;
    const first = this.#relation(inner.items);
    const second = this.#relation(inner.items);
    const isHidden = this.#chance(40);
    const added = inner.items.slice(start);
    if (!isHidden) names.items.push(...added);
    else {
      const name = this.#alias(names.items);
      names.items.push({ name, schema: undefined, numbers: [], texts: [], ...derived });
      return `(${first} cross join ${second}) as ${quoted(name)}`;
    }
    const on = this.#boolean({ items: added, outer: names.outer });
    return `(${first} join ${second} on ${on})`;
  }

  #relation(items: Item[]): string {
    const relation = this.#random.pick(this.#relations);
    const { text, schema } = this.#written(relation);
    const { kind, name } = relation;
    const only = kind === 'table' && this.#chance(12) ? 'only ' : '';
    const locking = kind === 'table' || kind === 'view' ? 'locks' : 'refused';
    const hasRow = kind !== 'sequence';
    const isTaken = items.some((item) => item.name === name);
    const sample =
      (kind === 'table' || kind === 'matview') && this.#chance(6) ? ' tablesample system (50)' : '';
    const columns =
      kind === 'sequence'
        ? { numbers: ['last_value'], texts: [] }
        : name === 'pg_class'
          ? { numbers: [], texts: ['relname'] }
          : usual;
    if (!isTaken && this.#chance(55)) {
      items.push({ ...columns, name, schema, locking, hasRow });
      return `${only}${text}${sample}`;
    }
    const alias = this.#alias(items);
    const isListed = isUsual(relation) && name !== 'dogs' && this.#chance(12);
    items.push({
      ...(isListed ? { numbers: ['k', 'parent'], texts: ['word'] } : columns),
      name: alias,
      schema: undefined,
      locking,
      hasRow: hasRow && alias !== 'label', // which is a column first
    });
    const list = isListed ? '(k, parent, word)' : '';
    return `${only}${text} ${this.#pick('', 'as ')}${quoted(alias)}${list}${sample}`;
  }

  // Expressions

  /** An item that is visible: the nearest of its name. */
  #item(names: Names): Item | undefined {
    const visible: Item[] = [];
    for (let at: Names | undefined = names; at; at = at.outer) {
      const near = at.items.filter((item) => !visible.some(({ name }) => name === item.name));
      if (near.length > 0 && (this.#chance(75) || !at.outer)) return this.#random.pick(near);
      visible.push(...near);
    }
    return visible.length > 0 ? this.#random.pick(visible) : undefined;
  }

  #column(names: Names, type: 'numbers' | 'texts'): string | undefined {
    const item = this.#item(names);
    if (!item || item[type].length === 0) return undefined;
    const column = this.#random.pick(item[type]);
    if (names.items.length === 1 && names.items[0] === item && this.#chance(50)) return column;
    if (item.schema !== undefined && item.schema !== 'pg_temp' && this.#chance(30))
      return `${quoted(item.schema)}.${quoted(item.name)}.${column}`;
    return item.hasRow && item.numbers.length + item.texts.length > 1 && this.#chance(8)
      ? `(${quoted(item.name)}).${column}`
      : `${quoted(item.name)}.${column}`;
  }

  #number(names: Names): string {
    const column = this.#column(names, 'numbers');
    const kind = this.#random.below(column === undefined ? 8 : 24);
    if (this.#depth < maxDepth + 1) {
      if (kind === 0) return `(${this.#select(['id'], names, true)} limit 1)`;
      if (kind === 1) return `cardinality(array(${this.#query(['id'], names)}))`;
      if (kind === 2) return `(select count(*) from (${this.#query(['label'], names)}) q)`;
    }
    if (kind === 3) return `app.doubled(${column ?? '2'})`;
    if (kind === 4) return `coalesce(${column ?? 'null'}, 4)`;
    if (kind === 5) return `case when ${this.#boolean(names)} then 1 else ${column ?? '2'} end`;
    return column ?? String(this.#random.below(100));
  }

  #text(names: Names): string {
    const column = this.#column(names, 'texts');
    const kind = this.#random.below(column === undefined ? 6 : 16);
    const value = column ?? `'w'`;
    if (kind === 0) return `lower(${value})`;
    if (kind === 1) return `app.mask(${value})`;
    if (kind === 2 && this.#depth < maxDepth + 1)
      return `(${this.#select(['label'], names, true)} limit 1)`;
    return `${value}::text`;
  }

  #boolean(names: Names): string {
    this.#depth += 1;
    const text = this.#comparison(names);
    this.#depth -= 1;
    return this.#chance(10) ? `not (${text})` : text;
  }

  #comparison(names: Names): string {
    const kind = this.#random.below(this.#depth <= maxDepth + 1 ? 14 : 8);
    const item = this.#item(names);
    if (kind < 4)
      return `${this.#number(names)} ${this.#pick('=', '<', '>=')} ${this.#number(names)}`;
    if (kind < 5) return `${this.#text(names)} operator(app.===) ${this.#text(names)}`;
    if (kind < 6) return `${this.#text(names)} like 'a%'`;
    if (kind < 7 && item?.hasRow) return `${quoted(item.name)} is not null`;
    if (kind < 8) return `${this.#number(names)} between 1 and 50`;
    if (kind < 10) return `exists (${this.#query(undefined, names)})`;
    if (kind < 12) return `${this.#number(names)} in (${this.#query(['id'], names)})`;
    if (kind < 13) return `${this.#number(names)} > all (${this.#query(['id'], names)})`;
    return `(${this.#number(names)}, ${this.#text(names)}) = any (${this.#query(['id', 'label'], names)})`;
  }

  // Changes

  #withChange(): string {
    this.#changes = true;
    const name = this.#random.pick(cteNames);
    const target = this.#random.pick(this.#relations.filter(({ hasKey }) => hasKey));
    const { text } = this.#written(target, true);
    const change = this.#pick(
      `insert into ${text} as t (id, label) ${this.#query(['id', 'label'], undefined)}`,
      `update ${text} as t set label = 'x'`,
      `delete from ${text} as t`,
    );
    this.#ctes = [{ name, shape: ['id', 'label'] }];
    return `with ${name} as (${change} returning t.id, t.label) ${this.#select(undefined, undefined)}`;
  }

  #modify(): string {
    this.#changes = true;
    this.#depth = 1;
    const target = this.#random.pick(this.#relations.filter(({ isWritable }) => isWritable));
    const hasRules = target.name === 'ruled' || target.name === 'redirected';
    const clause = !hasRules && this.#chance(20) ? this.#with(undefined) : '';
    const { text, schema } = this.#written(target, true);
    const alias = this.#chance(50) ? this.#alias([]) : undefined;
    const item = { ...usual, name: alias ?? target.name, schema, ...derived };
    const own: Item =
      alias === undefined ? item : { ...item, schema: undefined, hasRow: alias !== 'label' };
    const written = alias === undefined ? text : `${text} as ${quoted(alias)}`;
    const names: Names = { items: [own], outer: undefined };
    const kind = this.#random.below(target.hasKey ? 5 : 3);
    const body =
      kind === 0
        ? this.#update(written, names)
        : kind === 1
          ? this.#delete(written, names)
          : kind === 4
            ? this.#merge(written, names)
            : this.#insert(written, names, target);
    return `${clause}${body}`;
  }

  #returning(names: Names): string {
    return this.#chance(35) ? ` returning ${this.#targets(names, false)}` : '';
  }

  #insert(written: string, names: Names, target: SchemaRelation): string {
    const rows = this.#chance(10)
      ? ' default values'
      : ` (id, label) ${this.#query(['id', 'label'], undefined)}`;
    let conflict = '';
    if (target.hasKey && this.#chance(40)) {
      const [item] = names.items;
      const excluded: Item = { ...usual, name: 'excluded', schema: undefined, ...derived };
      const both: Names = { items: [...(item ? [item] : []), excluded], outer: undefined };
      conflict = this.#pick(
        ' on conflict do nothing',
        ` on conflict (id) do update set label = excluded.label where ${this.#boolean(both)}`,
        ` on conflict (id) do update set label = ${this.#text(both)}`,
      );
    }
    return `insert into ${written}${rows}${conflict}${this.#returning(names)}`;
  }

  #update(written: string, names: Names): string {
    const from = this.#chance(50) ? this.#more(names, 'from') : '';
    const set = this.#chance(25)
      ? `(label, parent_id) = (${this.#select(['label', 'id'], names, true)} limit 1)`
      : `label = ${this.#text(names)}`;
    const where = this.#chance(70) ? ` where ${this.#boolean(names)}` : '';
    return `update ${this.#only(written)} set ${set}${from}${where}${this.#returning(names)}`;
  }

  #delete(written: string, names: Names): string {
    const using = this.#chance(50) ? this.#more(names, 'using') : '';
    const where = this.#chance(70) ? ` where ${this.#boolean(names)}` : '';
    return `delete from ${this.#only(written)}${using}${where}${this.#returning(names)}`;
  }

  #only(written: string): string {
    return this.#chance(10) ? `only ${written}` : written;
  }

  /** Further items, which do not see the target. */
  #more(names: Names, word: 'from' | 'using'): string {
    return ` ${word} ${this.#fromItem(names, false)}`;
  }

  #merge(written: string, names: Names): string {
    const [target] = names.items;
    const source = this.#fromItem(names, false);
    const on = `${quoted(target?.name ?? '')}.id = ${this.#number(names)}`;
    const only: Names = { items: names.items.slice(1), outer: undefined };
    const whens = [
      ` when matched and ${this.#boolean(names)} then update set label = ${this.#text(names)}`,
      ` when matched then delete`,
      ` when not matched and ${this.#boolean(only)} then do nothing`,
      ` when not matched then insert (id, label) values (${this.#number(only)}, ${this.#text(only)})`,
    ].filter(() => this.#chance(70));
    const more =
      this.#version >= 17 && this.#chance(30) ? ' when not matched by source then delete' : '';
    const clauses = `${whens.join('')}${more}` || ' when matched then do nothing';
    const returning = this.#version >= 17 ? this.#returning(names) : '';
    return `merge into ${written} using ${source} on ${on}${clauses}${returning}`;
  }
}
