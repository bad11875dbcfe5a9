import { jsonLine } from './statements.ts';

/** What reads as itself in YAML 1.1 and 1.2 without quotes. */
const plain = /^[A-Za-z][A-Za-z_]*(?:[ @./-][A-Za-z_]+)*$/;
const words: ReadonlySet<string> = new Set([
  'true',
  'false',
  'null',
  'yes',
  'no',
  'on',
  'off',
  'y',
  'n',
]);

/** Writes a text as YAML on one line, in which nothing steers a terminal: in quotes where it needs them. */
function yamlText(text: string): string {
  if (plain.test(text) && !words.has(text.toLowerCase())) return text;
  return jsonLine(text).trimEnd(); // JSON is YAML
}

/** Writes a value as YAML on one line: lists in brackets, mappings in braces. */
export function yamlLine(value: unknown): string {
  if (typeof value === 'string') return yamlText(value);
  if (Array.isArray(value)) return `[${value.map(yamlLine).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return `{${fields.map(([name, field]) => `${yamlText(name)}: ${yamlLine(field)}`).join(', ')}}`;
}
