import { Environment, type ParseResult } from '@marcbachmann/cel-js';
import type { Principal } from '../identity/principal.ts';

const environment = new Environment({
  unlistedVariablesAreDyn: false,
  limits: { maxAstNodes: 500, maxDepth: 50, maxListElements: 100, maxMapEntries: 100 },
}).registerVariable({
  name: 'principal',
  schema: {
    kind: 'string',
    user: 'string',
    groups: 'list<string>',
    provider: 'string',
    onBehalfOf: 'string',
  },
});

/** Says what is wrong with a CEL expression over the principal that is to give a string, or undefined where nothing is. */
export function checkPrincipalExpression(text: string): string | undefined {
  const compiled = compile(text);
  return 'mistake' in compiled ? compiled.mistake : undefined;
}

/**
 * Evaluates such an expression for one principal; what a principal does not have is empty.
 * @returns undefined where it gives no string, as at the first of no groups.
 */
export function evaluateForPrincipal(text: string, principal: Principal): string | undefined {
  const compiled = compile(text);
  if ('mistake' in compiled) return undefined;
  const isToken = principal.kind === 'token';
  const variables = {
    kind: principal.kind,
    user: principal.user,
    groups: isToken ? [...principal.groups] : [],
    provider: isToken ? principal.provider : '',
    onBehalfOf: isToken ? (principal.onBehalfOf ?? '') : '',
  };
  try {
    const value: unknown = compiled.evaluate({ principal: variables });
    return typeof value === 'string' ? value : undefined;
  } catch {
    return undefined; // an error of evaluation, such as an index beyond the end
  }
}

function compile(text: string): { readonly evaluate: ParseResult } | { readonly mistake: string } {
  try {
    const evaluate = environment.parse(text);
    const { valid, type, error } = evaluate.check();
    if (!valid) return { mistake: `not CEL over the principal: ${firstLine(error)}` };
    if (type !== 'string' && type !== 'dyn')
      return { mistake: `want an expression that gives a string; this gives ${type}` };
    return { evaluate };
  } catch (error) {
    return { mistake: `not CEL over the principal: ${firstLine(error)}` };
  }
}

/** The library's messages quote the text in the lines that follow. */
function firstLine(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : 'it cannot be read';
}
