/** Statements of which no fact depends on the value of an integer, but for what `bounding` names. */
const planned = /^\s*(?:select|insert|update|delete|merge|with|values)\b/i;
/** Words before integers that are facts. */
const bounding = /\b(?:limit|fetch)\b/i;
/**
 * Nothing that may be quoted, and no comment: what looks like an integer in such a text is one. Spaces are PostgreSQL's
 * alone; any other is part of a name.
 */
const plain = /^(?:[\w \t\n\r\f.,;:=<>()[\]+*%|&!~^?@#]|-(?!-)|\/(?!\*))*$/;
const integers = /(?<![\w.])\d+(?![\w.])/g;
const maxLength = 4_096; // a longer text seldom comes again with other integers alone

/**
 * Returns a text that stands for all which differ from it in integers alone, so that `WHERE id = 7` needs no parsing after
 * `WHERE id = 8`: the same grammar, the same names. Undefined where it is not certain that nothing else differs.
 */
export function generalForm(text: string): string | undefined {
  if (text.length > maxLength || !planned.test(text)) return undefined;
  if (!plain.test(text) || bounding.test(text)) return undefined;
  return text.replaceAll(integers, '1'); // which is right wherever an integer is
}
