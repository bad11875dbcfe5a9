import { parse } from '@marcbachmann/cel-js';

/** Says what is wrong with a CEL expression of a rule, or undefined where nothing is. */
export function checkExpression(text: string): string | undefined {
  try {
    parse(text);
    return undefined;
  } catch (error) {
    return error instanceof Error ? `not CEL: ${error.message.split('\n', 1)[0]}` : 'not CEL';
  }
}
