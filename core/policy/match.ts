import { tableAccesses, type TableAccess } from '../facts.ts';
import type { Element } from './elements.ts';
import { NameSet, tryParseName } from './names.ts';
import type { PostgresMatch } from './rules.ts';

/** What a rule says of statements, made ready to look through. */
export class Match {
  /** Undefined: of any statement. */
  readonly readOnly: boolean | undefined;
  /** About whole statements, not about elements of them. */
  readonly isWhole: boolean;
  /** Names that cannot be read: the rule has no meaning then. */
  readonly wrongNames: readonly string[];
  readonly #commands: ReadonlySet<string>;
  readonly #tables: ReadonlyMap<TableAccess, NameSet>;
  readonly #functions: NameSet;

  constructor({ commands, tables, functions, readOnly }: PostgresMatch) {
    const wrongNames: string[] = [];
    const addTo = (sets: readonly (NameSet | undefined)[], name: string): void => {
      const pattern = tryParseName(name);
      if (pattern) for (const set of sets) set?.add(pattern);
      else wrongNames.push(name);
    };
    this.readOnly = readOnly;
    this.isWhole = !commands && !tables && !functions;
    this.#commands = new Set(commands?.map((command) => command.toUpperCase()));
    const byAccess = new Map(tableAccesses.map((access) => [access, new NameSet()] as const));
    for (const { name, access } of tables ?? [])
      addTo(
        access.map((one) => byAccess.get(one)),
        name,
      );
    this.#tables = byAccess;
    this.#functions = new NameSet();
    for (const name of functions ?? []) addTo([this.#functions], name);
    this.wrongNames = wrongNames;
  }

  /** Whether an Allow covers an element. */
  covers(element: Element): boolean {
    switch (element.kind) {
      case 'command':
        if (this.#commands.has(element.command)) return true;
        return !element.opaque && (this.isWhole || this.#commands.has('*'));
      case 'table':
        return this.isWhole || this.#coversTable(element);
      case 'function':
        return this.isWhole || this.#functions.covers(element);
    }
  }

  /** Whether a Deny or a RequireApproval means an element: where that is uncertain, it does. */
  touches(element: Element): boolean {
    switch (element.kind) {
      case 'command':
        return this.#touchesCommand(element.command);
      case 'table':
        return this.#tables.get(element.access)?.touches(element) === true;
      case 'function':
        return this.#functions.touches(element);
    }
  }

  // Parts of a partitioned or inherited table are that table; what a view reads is not the view.
  #coversTable(table: Extract<Element, { kind: 'table' }>): boolean {
    const names = this.#tables.get(table.access);
    if (!names) return false;
    if (names.covers(table)) return true;
    const { through } = table;
    return through !== undefined && through.kind !== 'View' && names.covers(through);
  }

  // COPY means COPY TO and COPY FROM, CREATE every CREATE there is.
  #touchesCommand(command: string): boolean {
    if (this.#commands.has('*')) return true;
    for (let end = command.length; end > 0; end = command.lastIndexOf(' ', end - 1))
      if (this.#commands.has(command.slice(0, end))) return true;
    return false;
  }
}
