import { normalizeSync, scanSync } from 'libpg-query';

const maxShapeLength = 8 * 1024;
const maxKept = 1_000;

/** What PostgreSQL's lexer calls constants: FCONST, SCONST, USCONST, BCONST, XCONST, ICONST. */
const constants = new Set([260, 261, 262, 263, 264, 266]);
const parameter = 267;
const comments = new Set([275, 276]);

/** The module returns some of its errors as if they were texts, and they quote the one they are about. None begins so. */
const mark = '/**/';

/** What may be or hide a constant, where the parser has put parameters for those that it knows. */
const suspicious = /['\\]|--|\/\*|\$[^\d\s]*\$|(?<![\w$".])\.?\d/;

/** Texts without anything that is quoted, and without comments: what looks like an integer in them is one. */
const plain = /^(?:[\w \t\n\r\f.,;:=<>()[\]+*%|&!~^?@#]|-(?!-)|\/(?!\*))*$/;
const integers = /(?<![\w.])\d+(?![\w.])/g;

/** Replaces constants of texts by parameters, and leaves comments out. Texts that differ in integers alone are read once. */
export class Shaper {
  readonly #kept = new Map<string, string | undefined>();

  /** Undefined for a text that PostgreSQL's grammar does not take. */
  shapeOf(text: string): string | undefined {
    const key = plain.test(text) ? text.replaceAll(integers, '1') : text;
    if (this.#kept.has(key)) return this.#kept.get(key);
    const shape = shapeOf(key);
    if (this.#kept.size >= maxKept) this.#kept.clear();
    this.#kept.set(key, shape);
    return shape;
  }
}

function shapeOf(text: string): string | undefined {
  if (text.trim() === '') return text;
  let shape: string;
  try {
    const normalized = normalizeSync(mark + text);
    if (!normalized.startsWith(mark)) return undefined;
    shape = normalized.slice(mark.length);
    // The parser leaves comments as they are, and constants of most commands that are no queries.
    if (suspicious.test(shape)) shape = withoutConstants(shape).trim();
  } catch (error) {
    const { name } = error instanceof Error ? error : new Error('unknown');
    if (name === 'RangeError' || name === 'RuntimeError') throw error; // the module is not to be used again
    return undefined; // whatever is wrong with it: its text must not show
  }
  return shape.length <= maxShapeLength ? shape : `${shape.slice(0, maxShapeLength)}…`;
}

/** Goes by the lexer alone: every constant becomes a parameter, every comment a space. */
function withoutConstants(text: string): string {
  const bytes = Buffer.from(text);
  const { tokens } = scanSync(text);
  let last = Math.max(0, ...tokens.map(({ tokenType, text: name }) => (tokenType === parameter ? Number(name.slice(1)) : 0))); // prettier-ignore
  let end = 0;
  let shape = '';
  for (const token of tokens) {
    shape += bytes.toString('utf8', end, token.start);
    end = token.end;
    if (comments.has(token.tokenType)) shape += ' ';
    else if (constants.has(token.tokenType)) shape += `$${(last += 1)}`;
    else shape += bytes.toString('utf8', token.start, token.end);
  }
  return shape + bytes.toString('utf8', end);
}
