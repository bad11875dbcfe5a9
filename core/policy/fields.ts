import type { Problem } from './resources.ts';

/** Collects every mistake of one document, so that its author mends them in one go. */
export class Problems {
  readonly found: Problem[] = [];

  add(path: string, message: string): undefined {
    this.found.push({ path, message });
  }
}

/** Reads one value; returns undefined after having noted what is wrong with it. */
export type Read<T> = (value: unknown, path: string, problems: Problems) => T | undefined;

const maxItems = 256;
const maxShown = 57;

/** A string that a pattern or a predicate accepts, of at most `max` characters. */
export function text(
  want: string,
  accepts: RegExp | ((value: string) => boolean),
  max = 253,
): Read<string> {
  const test = accepts instanceof RegExp ? (value: string) => accepts.test(value) : accepts;
  return (value, path, problems) => {
    if (typeof value !== 'string') return problems.add(path, `got ${show(value)}, want ${want}`);
    if (value.length > max) return problems.add(path, `want at most ${max} characters`);
    return test(value) ? value : problems.add(path, `got ${show(value)}, want ${want}`);
  };
}

/** Accepts one of some words, as they are written. */
export function oneOf<const T extends string>(...allowed: readonly T[]): Read<T> {
  return (value, path, problems) =>
    allowed.find((option) => option === value) ??
    problems.add(path, `got ${show(value)}, want one of ${allowed.join(', ')}`);
}

/** One of the values that this version applies; the schema's others are refused as unsupported. */
export function applied<const T extends string>(
  allowed: readonly T[],
  later: readonly string[],
): Read<T> {
  const read = oneOf(...allowed);
  return (value, path, problems) =>
    typeof value === 'string' && later.includes(value)
      ? problems.add(path, `unsupported: ${show(value)} is not applied by this version`)
      : read(value, path, problems);
}

/** Accepts an integer from `least` to `most`, both included. */
export function integer(least: number, most: number): Read<number> {
  return (value, path, problems) =>
    typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
      ? value
      : problems.add(path, `got ${show(value)}, want an integer from ${least} to ${most}`);
}

/** Accepts true and false. */
export const boolean: Read<boolean> = (value, path, problems) =>
  typeof value === 'boolean' ? value : problems.add(path, `got ${show(value)}, want true or false`);

/** Accepts a list of `least` to `most` items. */
export function list<T>(read: Read<T>, least = 0, most = maxItems): Read<readonly T[]> {
  return (value, path, problems) => {
    if (!Array.isArray(value)) return problems.add(path, `got ${show(value)}, want a list`);
    if (value.length < least) return problems.add(path, `want at least ${least} item`);
    if (value.length > most) return problems.add(path, `want at most ${most} items`);
    const items = value.map((item: unknown, index) => read(item, `${path}[${index}]`, problems));
    return items.filter((item) => item !== undefined);
  };
}

/** Accepts a list of `least` to `most` values, of which none stands twice. */
export function set<T extends string | number>(
  read: Read<T>,
  least = 0,
  most = maxItems,
): Read<readonly T[]> {
  return unique(list(read, least, most), undefined);
}

/** Accepts a list of `least` to `most` mappings, of which no two have the same value under `key`. */
export function keyed<T>(
  key: string,
  read: Read<T>,
  least = 0,
  most = maxItems,
): Read<readonly T[]> {
  return unique(list(read, least, most), key);
}

function unique<T>(read: Read<readonly T[]>, key: string | undefined): Read<readonly T[]> {
  return (value, path, problems) => {
    const items = read(value, path, problems);
    if (!items || !Array.isArray(value)) return undefined;
    const seen = new Set<unknown>();
    for (const [index, item] of value.entries()) {
      const id: unknown = key !== undefined && isObject(item) ? item[key] : item;
      if (typeof id !== 'string' && typeof id !== 'number') continue; // reported already
      if (seen.has(id)) {
        const itemPath = `${path}[${index}]`;
        problems.add(
          key === undefined ? itemPath : child(itemPath, key),
          `${show(id)} stands twice`,
        );
      }
      seen.add(id);
    }
    return items;
  };
}

/** A mapping with at most `most` keys of the author's choice, each of which `readKey` accepts. */
export function mapOf<T>(
  readKey: Read<string>,
  read: Read<T>,
  most = maxItems,
): Read<ReadonlyMap<string, T>> {
  return (value, path, problems) => {
    if (!isObject(value)) return problems.add(path, `got ${show(value)}, want a mapping`);
    const entries = Object.entries(value);
    if (entries.length > most) return problems.add(path, `want at most ${most} entries`);
    const map = new Map<string, T>();
    for (const [name, item] of entries) {
      const itemPath = child(path, name);
      const key = readKey(name, itemPath, problems);
      const known = read(item, itemPath, problems);
      if (key !== undefined && known !== undefined) map.set(key, known);
    }
    return map;
  };
}

/** Reads the fields of one mapping, and refuses whatever was not read. */
export class FieldReader {
  readonly #value: Readonly<Record<string, unknown>>;
  readonly #path: string;
  readonly #problems: Problems;
  readonly #known = new Set<string>();

  constructor(value: Readonly<Record<string, unknown>>, path: string, problems: Problems) {
    this.#value = value;
    this.#path = path;
    this.#problems = problems;
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#value, name) && this.#value[name] !== undefined;
  }

  required<T>(name: string, read: Read<T>): T | undefined {
    this.#known.add(name);
    if (this.has(name)) return read(this.#value[name], this.path(name), this.#problems);
    return this.#problems.add(this.path(name), 'missing');
  }

  optional<T>(name: string, read: Read<T>): T | undefined {
    this.#known.add(name);
    return this.has(name) ? read(this.#value[name], this.path(name), this.#problems) : undefined;
  }

  /** Fields of the schema that nothing applies yet: accepting one would promise what is not kept. */
  unsupported(...names: readonly string[]): void {
    for (const name of names) {
      this.#known.add(name);
      if (this.has(name)) {
        this.#problems.add(this.path(name), 'unsupported: this version does not apply this field');
      }
    }
  }

  /** To be called last. */
  refuseUnknown(): void {
    for (const name of Object.keys(this.#value)) {
      if (!this.#known.has(name)) this.#problems.add(this.path(name), 'unknown field');
    }
  }

  path(name: string): string {
    return child(this.#path, name);
  }
}

/** A mapping with known fields; `read` returns undefined when a required one is missing. */
export function object<T>(read: (fields: FieldReader, problems: Problems) => T): Read<T> {
  return (value, path, problems) => {
    if (!isObject(value)) return problems.add(path, `got ${show(value)}, want a mapping`);
    const fields = new FieldReader(value, path, problems);
    const result = read(fields, problems);
    fields.refuseUnknown();
    return result;
  };
}

/** Says whether a value is a mapping: an object that is no list. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Says what a value is in a message: short, on one line, and without what is inside lists and mappings. */
export function show(value: unknown): string {
  if (typeof value === 'string') return quote(value);
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' && value !== null ? 'a mapping' : String(value);
}

/** Path of a field: `spec.mode`, or `labels["app.kubernetes.io/name"]` where a dot would say something else. */
function child(path: string, name: string): string {
  if (!/^[A-Za-z0-9_-]{1,63}$/.test(name)) return `${path}[${quote(name)}]`;
  return path === '' ? name : `${path}.${name}`;
}

// JSON leaves alone what moves a terminal's cursor (C1) or reorders its text (U+202E).
function quote(text: string): string {
  const short = text.length > maxShown ? `${text.slice(0, maxShown)}…` : text;
  return JSON.stringify(short).replace(
    /[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
