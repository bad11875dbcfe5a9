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

/** Whom such a rule is about. */
export type SuggestedSubject =
  | { readonly provider: string; readonly users: readonly string[] }
  | {
      readonly serviceAccounts: readonly { readonly namespace: string; readonly name: string }[];
    };

const maxRules = 64; // of one policy
const maxItems = 256; // of one list

/** What one subject did at one backend. */
interface Use {
  readonly namespace: string;
  readonly backend: string;
  readonly subject: SubjectKey;
  readonly commands: Set<string>;
  readonly tables: Map<string, Set<TableAccess>>;
  readonly functions: Set<string>;
  /** Something was done that has no elements to allow one by one. */
  wholly: boolean;
}

type SubjectKey =
  | { readonly kind: 'token'; readonly provider: string; readonly user: string }
  | { readonly kind: 'workload'; readonly namespace: string; readonly name: string };

/** Works out the least that allows what was seen; feed it with what was allowed, not with what was denied. */
export function suggest(seen: Iterable<Seen>): Suggestion {
  const uses = new Map<string, Use>();
  let unreadable = 0;
  let opaque = 0;
  for (const { facts, who, workload, backend, count } of seen) {
    if (facts.protocol === 'Unreadable') {
      unreadable += count;
      continue;
    }
    const use = useOf(uses, who, workload, backend);
    if (facts.protocol === 'TCP') {
      use.wholly = true;
      continue;
    }
    if (facts.statements.some(({ isOpaque }) => isOpaque)) opaque += count;
    for (const statement of facts.statements)
      for (const element of elementsOf(statement)) addElement(use, element);
  }
  return { policies: policiesFor([...uses.values()]), unreadable, opaque };
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
    commands: new Set(),
    tables: new Map(),
    functions: new Set(),
    wholly: false,
  };
  uses.set(key, use);
  return use;
}

function addElement({ commands, tables, functions }: Use, element: Element): void {
  switch (element.kind) {
    case 'command':
      commands.add(element.command);
      return;
    case 'table': {
      // The table that the text names covers its parts.
      if (element.through && element.through.kind !== 'View') return;
      const name = patternOf(element);
      tables.set(name, (tables.get(name) ?? new Set()).add(element.access));
      return;
    }
    case 'function':
      if (!element.harmless) functions.add(patternOf(element));
  }
}

/** The narrowest pattern that covers a name; a whole schema is written with an asterisk, which is no name. */
function patternOf({ schema, name }: { schema: string | undefined; name: string }): string {
  if (name !== '*') return writeName({ schema, name });
  return schema === undefined ? '*' : `${writeName({ schema: undefined, name: schema })}.*`;
}

function policiesFor(uses: readonly Use[]): readonly SuggestedPolicy[] {
  const namespaces = Map.groupBy(uses, ({ namespace }) => namespace);
  return [...namespaces.keys()].sort().flatMap((namespace) => {
    const rules = rulesFor(namespaces.get(namespace) ?? []);
    return chunks(rules, maxRules).map((some, index): SuggestedPolicy => ({
      apiVersion,
      kind: 'AuditPolicy',
      metadata: { name: index === 0 ? 'suggested' : `suggested-${index + 1}`, namespace },
      spec: { podSelector: {}, mode: 'Observe', defaultAction: 'Deny', rules: some },
    }));
  });
}

/** Subjects that did the same at a backend share their rules. */
function rulesFor(uses: readonly Use[]): readonly SuggestedRule[] {
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
      return blocks.map((postgres) => ({ backend, subjects, postgres }));
    });
  return rules.map(({ backend, subjects, postgres }, index) => ({
    name: `allow-${index + 1}`,
    backends: [backend],
    subjects,
    ...(postgres ? { postgres } : {}),
    action: 'Allow',
  }));
}

/** Undefined: whatever is done there. */
type Block = SuggestedRule['postgres'];

function blocksFor({ commands, tables, functions, wholly }: Use): readonly Block[] {
  const commandLists = chunks([...commands].sort(), maxItems);
  const tableLists = chunks([...tables.keys()].sort(), maxItems);
  const functionLists = chunks([...functions].sort(), maxItems);
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
  return tableAccesses.filter((access) => tables.get(name)?.has(access));
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
  return [...named, ...chunks(accounts, maxItems).map((serviceAccounts) => ({ serviceAccounts }))];
}

function chunks<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  );
}
