import { tableAccesses, type Facts, type TableAccess } from '../facts.ts';
import type { Principal, Workload } from '../identity/principal.ts';
import type { Unreadable } from '../operation.ts';
import { elementsOf, type Element } from './elements.ts';
import { writeName } from './names.ts';
import { apiVersion } from './resources.ts';

/** Something that was done, so many times. */
export interface Seen {
  readonly facts: Facts | Unreadable;
  readonly who: Principal;
  readonly workload: Workload;
  readonly backend: string;
  readonly count: number;
}

/** Policies that allow what was seen and nothing else, as documents to be written down. */
export interface Suggestion {
  readonly policies: readonly SuggestedPolicy[];
  /** How often each rule would have been needed. */
  readonly counts: ReadonlyMap<SuggestedRule, RuleCounts>;
  /** Operations that no rule can allow, since nobody could read them. */
  readonly unreadable: number;
  /** Operations that ran what nobody could read: their rules deserve a look before they are taken over. */
  readonly opaque: number;
}

/** An AuditPolicy for one namespace: it observes, so that it can be tried before it enforces. */
export interface SuggestedPolicy {
  readonly apiVersion: string;
  readonly kind: 'AuditPolicy';
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly podSelector: object;
    readonly mode: 'Observe';
    readonly defaultAction: 'Deny';
    readonly rules: readonly SuggestedRule[];
  };
}

/** A rule as it is written in a document. */
export interface SuggestedRule {
  readonly name: string;
  readonly backends: readonly string[];
  readonly subjects: readonly SuggestedSubject[];
  /** Absent: whatever passes there, for a backend that is no PostgreSQL. */
  readonly postgres?: {
    readonly commands?: readonly string[];
    readonly tables?: readonly { readonly name: string; readonly access: readonly TableAccess[] }[];
    readonly functions?: readonly string[];
  };
  readonly action: 'Allow';
}

/** Operations, and those of them that had a command, table or function of a rule, by its name there. */
export interface RuleCounts {
  readonly operations: number;
  readonly commands: ReadonlyMap<string, number>;
  readonly tables: ReadonlyMap<string, number>;
  readonly functions: ReadonlyMap<string, number>;
}

/** Whom such a rule is about. */
export type SuggestedSubject =
  | { readonly provider: string; readonly users: readonly string[] }
  | {
      readonly serviceAccounts: readonly { readonly namespace: string; readonly name: string }[];
    };

const maxRules = 64; // of one policy
const maxItems = 256; // of one list
const maxAccounts = 64; // of one subject

/** What one subject did at one backend. */
interface Use {
  readonly namespace: string;
  readonly backend: string;
  readonly subject: SubjectKey;
  operations: number;
  readonly commands: Map<string, number>;
  readonly tables: Map<string, { readonly accesses: Set<TableAccess>; count: number }>;
  readonly functions: Map<string, number>;
  /** Something was done that has no elements to allow one by one. */
  wholly: boolean;
}

type SubjectKey =
  | { readonly kind: 'token'; readonly provider: string; readonly user: string }
  | { readonly kind: 'workload'; readonly namespace: string; readonly name: string };

/** Works out the least that allows what was seen; feed it with what was allowed, not with what was denied. */
export function suggest(seen: Iterable<Seen>): Suggestion {
  const usage = new Usage();
  for (const each of seen) usage.add(each);
  return usage.suggestion();
}

/** What was seen so far, added up: as large as what the rules will list. */
export class Usage {
  readonly #uses = new Map<string, Use>();
  #unreadable = 0;
  #opaque = 0;

  add({ facts, who, workload, backend, count }: Seen): void {
    if (facts.protocol === 'Unreadable') {
      this.#unreadable += count;
      return;
    }
    const use = useOf(this.#uses, who, workload, backend);
    use.operations += count;
    if (facts.protocol === 'TCP') {
      use.wholly = true;
      return;
    }
    if (facts.statements.some(({ isOpaque }) => isOpaque)) this.#opaque += count;
    for (const statement of facts.statements)
      for (const element of elementsOf(statement)) addElement(use, element, count);
  }

  suggestion(): Suggestion {
    const counts = new Map<SuggestedRule, RuleCounts>();
    const policies = policiesFor([...this.#uses.values()], counts);
    return { policies, counts, unreadable: this.#unreadable, opaque: this.#opaque };
  }
}

function useOf(
  uses: Map<string, Use>,
  who: Principal,
  { namespace, serviceAccount }: Workload,
  backend: string,
): Use {
  const subject: SubjectKey =
    who.kind === 'token'
      ? { kind: 'token', provider: who.provider, user: who.user }
      : { kind: 'workload', namespace, name: serviceAccount };
  const key = JSON.stringify([namespace, backend, subject]);
  const use = uses.get(key) ?? {
    namespace,
    backend,
    subject,
    operations: 0,
    commands: new Map(),
    tables: new Map(),
    functions: new Map(),
    wholly: false,
  };
  uses.set(key, use);
  return use;
}

function addElement({ commands, tables, functions }: Use, element: Element, count: number): void {
  switch (element.kind) {
    case 'command':
      increase(commands, element.command, count);
      return;
    case 'table': {
      // The table that the text names covers its parts.
      if (element.through && element.through.kind !== 'View') return;
      const name = patternOf(element);
      const table = tables.get(name) ?? { accesses: new Set(), count: 0 };
      table.accesses.add(element.access);
      table.count += count;
      tables.set(name, table);
      return;
    }
    case 'function':
      if (!element.harmless) increase(functions, patternOf(element), count);
  }
}

function increase(counts: Map<string, number>, name: string, by: number): void {
  counts.set(name, (counts.get(name) ?? 0) + by);
}

/** The narrowest pattern that covers a name; a whole schema is written with an asterisk, which is no name. */
function patternOf({ schema, name }: { schema: string | undefined; name: string }): string {
  if (name !== '*') return writeName({ schema, name });
  return schema === undefined ? '*' : `${writeName({ schema: undefined, name: schema })}.*`;
}

function policiesFor(
  uses: readonly Use[],
  counts: Map<SuggestedRule, RuleCounts>,
): readonly SuggestedPolicy[] {
  const namespaces = Map.groupBy(uses, ({ namespace }) => namespace);
  return [...namespaces.keys()].sort().flatMap((namespace) => {
    const rules = rulesFor(namespaces.get(namespace) ?? [], counts);
    return chunks(rules, maxRules).map((some, index): SuggestedPolicy => ({
      apiVersion,
      kind: 'AuditPolicy',
      metadata: { name: index === 0 ? 'suggested' : `suggested-${index + 1}`, namespace },
      spec: { podSelector: {}, mode: 'Observe', defaultAction: 'Deny', rules: some },
    }));
  });
}

/** Subjects that did the same at a backend share their rules. */
function rulesFor(
  uses: readonly Use[],
  counts: Map<SuggestedRule, RuleCounts>,
): readonly SuggestedRule[] {
  const groups = new Map<string, { backend: string; blocks: readonly Block[]; of: Use[] }>();
  for (const use of uses) {
    const blocks = blocksFor(use);
    const key = JSON.stringify([use.backend, blocks]);
    const group = groups.get(key) ?? { backend: use.backend, blocks, of: [] };
    group.of.push(use);
    groups.set(key, group);
  }
  const rules = [...groups]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, { backend, blocks, of }]) => {
      const subjects = subjectsOf(of.map(({ subject }) => subject));
      const counted = countsOf(of);
      return blocks.map((postgres) => ({ backend, subjects, postgres, counted }));
    });
  return rules.map(({ backend, subjects, postgres, counted }, index) => {
    const rule: SuggestedRule = {
      name: `allow-${index + 1}`,
      backends: [backend],
      subjects,
      ...(postgres ? { postgres } : {}),
      action: 'Allow',
    };
    counts.set(rule, counted);
    return rule;
  });
}

function countsOf(uses: readonly Use[]): RuleCounts {
  const sum = { commands: new Map(), tables: new Map(), functions: new Map() };
  let operations = 0;
  for (const use of uses) {
    operations += use.operations;
    for (const [name, count] of use.commands) increase(sum.commands, name, count);
    for (const [name, { count }] of use.tables) increase(sum.tables, name, count);
    for (const [name, count] of use.functions) increase(sum.functions, name, count);
  }
  return { ...sum, operations };
}

/** Undefined: whatever is done there. */
type Block = SuggestedRule['postgres'];

function blocksFor({ commands, tables, functions, wholly }: Use): readonly Block[] {
  const commandLists = chunks([...commands.keys()].sort(), maxItems);
  const tableLists = chunks([...tables.keys()].sort(), maxItems);
  const functionLists = chunks([...functions.keys()].sort(), maxItems);
  const count = Math.max(commandLists.length, tableLists.length, functionLists.length);
  const blocks = Array.from({ length: count }, (_, index): Block => {
    const [some, names, called] = [commandLists[index], tableLists[index], functionLists[index]];
    return {
      ...(some ? { commands: some } : {}),
      ...(names
        ? { tables: names.map((name) => ({ name, access: accessesOf(tables, name) })) }
        : {}),
      ...(called ? { functions: called } : {}),
    };
  });
  return wholly ? [undefined, ...blocks] : blocks;
}

function accessesOf(tables: Use['tables'], name: string): readonly TableAccess[] {
  return tableAccesses.filter((access) => tables.get(name)?.accesses.has(access));
}

function subjectsOf(keys: readonly SubjectKey[]): readonly SuggestedSubject[] {
  const tokens = keys.filter((key) => key.kind === 'token');
  const workloads = keys.filter((key) => key.kind === 'workload');
  const providers = Map.groupBy(tokens, ({ provider }) => provider);
  const named = [...providers].flatMap(([provider, of]) =>
    chunks(of.map(({ user }) => user).sort(), maxItems).map((users) => ({ provider, users })),
  );
  const accounts = workloads
    .map(({ namespace, name }) => ({ namespace, name }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  return [
    ...named,
    ...chunks(accounts, maxAccounts).map((serviceAccounts) => ({ serviceAccounts })),
  ];
}

function chunks<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  );
}
