import type {
  RuleCounts,
  SuggestedPolicy,
  SuggestedRule,
  Suggestion,
} from '#core/policy/suggest.ts';
import { yamlLine } from './yaml-words.ts';

/** Writes suggested policies in YAML, with how often each thing was seen as comments. */
export function suggestionYaml({
  policies,
  counts,
}: Pick<Suggestion, 'policies' | 'counts'>): string {
  return policies.map((policy) => policyLines(policy, counts).join('\n')).join('\n---\n');
}

function policyLines(
  { apiVersion, kind, metadata, spec }: SuggestedPolicy,
  counts: Suggestion['counts'],
): string[] {
  return [
    `apiVersion: ${apiVersion}`,
    `kind: ${kind}`,
    'metadata:',
    `  name: ${metadata.name}`,
    `  namespace: ${yamlLine(metadata.namespace)}`,
    'spec:',
    `  podSelector: ${yamlLine(spec.podSelector)}`,
    `  mode: ${spec.mode} # Enforce, once "chaperone replay" shows what you expect`,
    `  defaultAction: ${spec.defaultAction}`,
    '  rules:',
    ...spec.rules.flatMap((rule) => ruleLines(rule, counts.get(rule)).map((line) => `    ${line}`)),
  ];
}

function ruleLines(
  { name, backends, subjects, postgres, action }: SuggestedRule,
  counts: RuleCounts | undefined,
): string[] {
  const { commands = [], tables = [], functions = [] } = postgres ?? {};
  const counted = (what: 'commands' | 'tables' | 'functions', item: string): string => {
    const count = counts?.[what].get(item);
    return count === undefined ? '' : ` # ${count}`;
  };
  const named = (what: 'commands' | 'functions', items: readonly string[]): string[] => [
    `    ${what}:`,
    ...items.map((item) => `      - ${yamlLine(item)}${counted(what, item)}`),
  ];
  return [
    `- name: ${name}${counts ? ` # seen ${counts.operations} times` : ''}`,
    `  backends: ${yamlLine(backends)}`,
    '  subjects:',
    ...subjects.map((subject) => `    - ${yamlLine(subject)}`),
    ...(postgres ? ['  postgres:'] : []),
    ...(commands.length === 0 ? [] : named('commands', commands)),
    ...(tables.length === 0 ? [] : ['    tables:']),
    ...tables.map((table) => `      - ${yamlLine(table)}${counted('tables', table.name)}`),
    ...(functions.length === 0 ? [] : named('functions', functions)),
    `  action: ${action}`,
  ];
}
