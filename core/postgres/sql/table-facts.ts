import type { TableAccess, TableFact, Through } from '../../facts.ts';
import type { NameUse } from './survey.ts';
import type { Definition, FunctionName, Relation } from './catalogue.ts';

/** So many tables a statement are told apart; what comes after them is `*`, anything at all. */
export const maxTables = 4096;

/** How a relation is used, by the text or by what the text names. */
export interface Use {
  readonly access: TableAccess;
  readonly columns: readonly string[];
  readonly only: boolean;
  /** Undefined where the text itself names it. */
  readonly through: Through | undefined;
}

interface MutableTableFact extends TableFact {
  readonly columns: string[];
}

/** Gathers what a statement uses: what it names, and whatever that leads to. */
export class TableFacts {
  readonly #facts = new Map<string, MutableTableFact>();
  /** Relations that were followed, by how. */
  readonly #followed = new Map<Relation, Set<string>>();
  /** What is there already of what the text names at the moment, by relation: accesses with columns. */
  readonly #reached = new Map<Relation, Set<string>>();
  readonly #onCall: (called: FunctionName) => void;
  #runsCode = false;
  #truncated = false;

  /** `onCall` is told each function that views and rules call. */
  constructor(onCall: (called: FunctionName) => void) {
    this.#onCall = onCall;
  }

  /** Whether a write runs triggers or rules. */
  get runsCode(): boolean {
    return this.#runsCode;
  }

  /** Whether there was more than is told apart, which may call anything. */
  get truncated(): boolean {
    return this.#truncated;
  }

  get all(): readonly TableFact[] {
    return [...this.#facts.values()];
  }

  /** Adds a name as it is, without following it. */
  add(schema: string | undefined, name: string, use: Omit<Use, 'only'>): void {
    if (this.#facts.size >= maxTables && name !== '*') return this.#addRest(use);
    const { access, columns, through } = use;
    const way = through ? [through.kind, through.schema, through.name] : [];
    const key = [access, schema, name, ...way].join('\0'); // no name holds a zero
    const before = this.#facts.get(key);
    if (before) {
      before.columns.push(...columns.filter((column) => !before.columns.includes(column)));
    } else this.#facts.set(key, { schema, name, access, columns: [...columns], through });
  }

  /**
   * Adds a relation and what it leads to. What is behind a view is taken whole: which of its columns come from which of
   * the view's is not told apart.
   */
  follow(relation: Relation, use: Use): void {
    this.#reached.clear();
    const pending: [Relation, Use][] = [[relation, use]];
    for (let next = pending.pop(); next; next = pending.pop()) {
      if (this.#facts.size >= maxTables) this.#addRest(next[1]);
      else for (const found of this.#step(...next).toReversed()) pending.push(found);
    }
  }

  #addRest({ access }: Pick<Use, 'access'>): void {
    this.#truncated = true;
    this.add(undefined, '*', { access, columns: ['*'], through: undefined });
  }

  #step(relation: Relation, use: Use): [Relation, Use][] {
    this.add(relation.schema, relation.name, use);
    if (holdsOthersRows(relation))
      this.add(undefined, '*', { access: use.access, columns: ['*'], through: use.through });
    this.#isReached(relation, use);
    this.#addAncestors(relation, use);
    if (!this.#isNew(relation, use)) return [];
    const { access, columns } = use;
    const next: [Relation, Use][] = [];
    const through = (kind: Through['kind']): Through => wayOf(kind, relation, use);
    if (relation.table) {
      next.push([relation.table, { access, columns, only: true, through: through('Parent') }]);
    }
    if (access !== 'Define') {
      next.push(...this.#definition(relation.view, access, through('View')));
    }
    if (access === 'Write') {
      this.#runsCode ||= relation.runsCode;
      next.push(...this.#rules(relation.rules, through('View')));
    }
    if (!use.only) {
      for (const child of relation.children) {
        next.push([child, { access, columns, only: false, through: through('Child') }]);
      }
    }
    return next;
  }

  /** A write through a view goes to the first relation of its text: PostgreSQL allows it with a single one alone. */
  #definition(view: Definition, access: 'Read' | 'Write', through: Through): [Relation, Use][] {
    for (const called of view.calls) this.#onCall(called);
    return view.uses.map(({ relation, columns }, index) => [
      relation,
      access === 'Write' && index === 0
        ? { access, columns: ['*'], only: false, through }
        : { access: 'Read', columns, only: false, through },
    ]);
  }

  /** What a rule does to the relations that it uses is not told apart: it may read and write each. */
  #rules(rules: Definition, through: Through): [Relation, Use][] {
    for (const called of rules.calls) this.#onCall(called);
    return rules.uses.flatMap(({ relation, columns }): [Relation, Use][] => [
      [relation, { access: 'Read', columns, only: false, through }],
      [relation, { access: 'Write', columns: ['*'], only: false, through }],
    ]);
  }

  /** Those that led here are there already: a parent whose child this is. */
  #addAncestors(relation: Relation, use: Use): void {
    const way = wayOf('Parent', relation, use);
    const seen = new Set<Relation>();
    const pending = [...relation.parents];
    for (let parent = pending.pop(); parent; parent = pending.pop()) {
      if (seen.has(parent)) continue;
      seen.add(parent);
      if (!this.#isReached(parent, use)) {
        this.add(parent.schema, parent.name, { ...use, through: way });
      }
      pending.push(...parent.parents);
    }
  }

  /** Notes a use, and says whether it was noted before. */
  #isReached(relation: Relation, { access, columns }: Use): boolean {
    const keys = this.#reached.get(relation) ?? new Set();
    this.#reached.set(relation, keys);
    const before = keys.size;
    for (const column of columns) keys.add(`${access}\0${column}`);
    keys.add(access);
    return keys.size === before;
  }

  #isNew(relation: Relation, { access, only, columns, through }: Use): boolean {
    const key = [access, only, through?.kind, through?.schema, through?.name, ...columns].join(
      '\0',
    );
    const before = this.#followed.get(relation);
    if (before?.has(key)) return false;
    if (before) before.add(key);
    else this.#followed.set(relation, new Set([key]));
    return true;
  }
}

/** Statistics hold values of any table's columns, and what is too long for a table's own rows is in another. */
const statistics: ReadonlySet<string> = new Set(['pg_statistic', 'pg_statistic_ext_data']);

/** Whether rows of other tables are found in a relation. */
export function holdsOthersRows({ schema, name }: NameUse): boolean {
  if (schema === 'pg_catalog') return statistics.has(name);
  return schema === undefined
    ? name.startsWith('pg_toast_')
    : /^pg_toast(?:_temp_\d+)?$/.test(schema);
}

/**
 * By what a relation leads on. It is the first of its kind, so that what covers a partitioned table, also one behind a
 * view, covers the partitions of its partitions.
 */
function wayOf(kind: Through['kind'], { schema, name }: Relation, { through }: Use): Through {
  const isFirst = through === undefined || (through.kind === 'View' && kind !== 'View');
  return isFirst ? { kind, schema, name } : through;
}
