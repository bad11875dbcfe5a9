import type { RelationName } from '../facts.ts';

/** What a rule says of names: undefined stands for any. */
export interface NamePattern {
  readonly schema: string | undefined;
  readonly name: string | undefined;
}

/**
 * Reads `name`, `schema.name`, `schema.*` or `*`. Case counts, as in the catalogue; double quotes hold a name with dots, quotes or
 * an asterisk in it, as PostgreSQL writes them. Returns undefined for anything else.
 */
export function tryParseName(text: string): NamePattern | undefined {
  const parts = splitName(text);
  if (!parts) return undefined;
  const [first, second] = parts;
  if (!first) return undefined;
  if (!second) return { schema: undefined, name: first.any ? undefined : first.name };
  if (first.any) return undefined;
  return { schema: first.name, name: second.any ? undefined : second.name };
}

interface Part {
  readonly name: string;
  /** An asterisk without quotes. */
  readonly any: boolean;
}

const partPattern = /"((?:[^"\0]|"")+)"|([^."*\0\s]+)|(\*)/y;

function splitName(text: string): readonly Part[] | undefined {
  const parts: Part[] = [];
  let at = 0;
  for (;;) {
    partPattern.lastIndex = at;
    const match = partPattern.exec(text);
    if (!match || parts.length === 2) return undefined;
    const [whole, quoted, plain] = match;
    parts.push({ name: quoted?.replaceAll('""', '"') ?? plain ?? '*', any: whole === '*' });
    at += whole.length;
    if (at === text.length) return parts;
    if (text[at] !== '.') return undefined;
    at += 1;
  }
}

/** Writes a name so that `tryParseName` reads it as that name and nothing else. */
export function writeName({ schema, name }: RelationName): string {
  return schema === undefined ? writePart(name) : `${writePart(schema)}.${writePart(name)}`;
}

// Upper case in quotes, as resources want it: without, SQL reads it as lower case.
function writePart(part: string): string {
  return /^[^."*\0\s\p{C}A-Z]+$/u.test(part) ? part : `"${part.replaceAll('"', '""')}"`;
}

/** The whole of a schema, where a statement names no single thing in it. */
const wholeSchema = '*';

/** Patterns as sets, so that a thousand of them cost as little to look through as one. */
export class NameSet {
  #any = false;
  readonly #inAnySchema = new Set<string>();
  readonly #wholeSchemas = new Set<string>();
  readonly #exact = new Map<string, Set<string>>();

  add({ schema, name }: NamePattern): void {
    if (schema === undefined) {
      if (name === undefined) this.#any = true;
      else this.#inAnySchema.add(name);
    } else if (name === undefined) this.#wholeSchemas.add(schema);
    else this.#exact.set(schema, (this.#exact.get(schema) ?? new Set()).add(name));
  }

  /** Whether a grant for these names is one for this: certainly, so that a schema nobody knows is covered by no named one. */
  covers({ schema, name }: RelationName): boolean {
    if (this.#any) return true;
    if (schema !== undefined && this.#wholeSchemas.has(schema)) return true;
    if (name === wholeSchema) return false;
    if (this.#inAnySchema.has(name)) return true;
    return schema !== undefined && this.#exact.get(schema)?.has(name) === true;
  }

  /** Whether this may be one of these names: an unknown schema may be any, and a whole schema holds any name. */
  touches({ schema, name }: RelationName): boolean {
    if (this.#any || this.#inAnySchema.has(name)) return true;
    if (name === wholeSchema && this.#inAnySchema.size > 0) return true;
    if (schema !== undefined) {
      const names = this.#exact.get(schema);
      if (this.#wholeSchemas.has(schema)) return true;
      return names !== undefined && (name === wholeSchema || names.has(name));
    }
    if (this.#wholeSchemas.size > 0) return true;
    if (name === wholeSchema) return this.#exact.size > 0;
    return [...this.#exact.values()].some((names) => names.has(name));
  }
}
