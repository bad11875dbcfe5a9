import { isFields, type Fields, type Schema } from './schema.ts';

/** A value that was changed in one place. */
export interface Mutant {
  readonly what: string;
  readonly value: unknown;
}

const otherTypes = [1, 1.5, -1, 'x', true, false, [], {}];
const texts = [
  '', ' ', 'a', 'A', 'a b', ' a', 'a\n', '\n', '\t', '\0', '\u001b[2J', '\u0085', 'ä', '😀', '-', '-a', 'a-', 'a.b', 'a.b.c',
  '.a', 'a.', 'a..b', '*', 'a.*', '*.a', 'a*', '"', '""', '"A"', '"a""b"', '"a".b', 'a."B"', 'a/b', 'a/b/c', 'a:1', 'a:0',
  'a:65535', 'a:65536', 'a:99999', 'a:05432', '[::1]:5432', '::1', '[::1]', '1', '0s', '1ms', '60s', '61s', '1m', '24h', '25h',
  '576h', '577h', '1h1m1s1ms', '1s1s1s1s1s', '100000s', '1d', '-1s', '1.5s', 'http://a', 'https://a/b', 'https://a?b',
  'https://a#b', 'https://u@a', 'ftp://a', 'https://', 'http://a b', 'SELECT', 'select', 'DROP', 'CREATE  TABLE', 'NO SUCH', 'Read',
  'user', 'database', 'replication', 'options', 'application_name', 'role', 'session_authorization', 'client_encoding', 'standard_conforming_strings', 'backslash_quote', '_pq_.x', 'search_path', '1a', 'a$', '"x"', 'principal.user', 'principal.', 'true', '1 +', 'other', '__proto__',
]; // prettier-ignore

/**
 * Changes a value in each place of its schema: other types and texts, bounds and what is next to them, fields dropped,
 * unknown ones added, and those added that `values` has from other documents.
 */
export function* mutants(
  schema: Schema,
  value: unknown,
  values: ReadonlyMap<string, readonly unknown[]>,
  path: string,
): Generator<Mutant> {
  for (const other of otherTypes)
    yield { what: `${path} = ${JSON.stringify(other)}`, value: other };
  switch (schema.type) {
    case 'string':
      for (const text of [...(schema.enum ?? []), ...texts, ...lengthsOf(schema, value)])
        yield { what: `${path} = ${JSON.stringify(text)}`.slice(0, 200), value: text };
      return;
    case 'integer': {
      const { minimum = 0, maximum = 0 } = schema;
      for (const number of [minimum - 1, minimum, maximum, maximum + 1])
        yield { what: `${path} = ${number}`, value: number };
      return;
    }
    case 'array':
      if (Array.isArray(value)) yield* listMutants(schema, value, values, path);
      return;
    case 'object':
      if (isFields(value)) yield* fieldMutants(schema, value, values, path);
      return;
    case 'boolean':
      return;
  }
}

function lengthsOf({ maxLength = 0 }: Schema, value: unknown): string[] {
  const base = typeof value === 'string' ? value : '';
  const pad = (length: number): string => base + 'a'.repeat(Math.max(0, length - base.length));
  return ['a'.repeat(maxLength), 'a'.repeat(maxLength + 1), pad(maxLength), pad(maxLength + 1)];
}

function* listMutants(
  schema: Schema,
  value: readonly unknown[],
  values: ReadonlyMap<string, readonly unknown[]>,
  path: string,
): Generator<Mutant> {
  const { items, maxItems = 0, 'x-kubernetes-list-map-keys': [key] = [] } = schema;
  const [first] = value;
  yield { what: `${path}: the first twice`, value: [...value, first] };
  if (key !== undefined && isFields(first))
    yield {
      what: `${path}: the same ${key} twice`,
      value: [{ ...(value.at(-1) as Fields), [key]: first[key] }, ...value],
    };
  for (const length of [maxItems, maxItems + 1]) {
    const numbered = Array.from({ length }, (_, index) => numberedCopy(first, key, index));
    yield { what: `${path}: ${length} items`, value: numbered };
  }
  if (!items) return;
  for (const [index, item] of value.entries()) {
    for (const mutant of mutants(items, item, values, `${path}[]`))
      yield { ...mutant, value: value.with(index, mutant.value) };
  }
}

function numberedCopy(item: unknown, key: string | undefined, index: number): unknown {
  if (typeof item === 'number') return item + index;
  if (typeof item === 'string') return `${item}${index}`;
  if (isFields(item) && key !== undefined)
    return { ...item, [key]: `${String(item[key])}${index}` };
  return item;
}

function* fieldMutants(
  schema: Schema,
  value: Fields,
  values: ReadonlyMap<string, readonly unknown[]>,
  path: string,
): Generator<Mutant> {
  yield { what: `${path}.unheardOf`, value: { ...value, unheardOf: 1 } };
  if (schema.additionalProperties) {
    for (const field of ['', 'a b', 'example.com/a', 'a/b/c', 'a'.repeat(400)])
      yield { what: `${path}[${field}]`, value: { ...value, [field]: 'a' } };
    const { maxProperties = 0 } = schema;
    for (const count of [maxProperties, maxProperties + 1]) {
      const many = Array.from({ length: count }, (_, index) => [`a${index}`, 'a']);
      yield { what: `${path}: ${count} entries`, value: Object.fromEntries(many) as Fields };
    }
  }
  for (const [name, child] of Object.entries({
    ...schema.properties,
    ...additional(schema, value),
  })) {
    const childPath = `${path}.${name}`;
    if (value[name] === undefined) {
      for (const added of values.get(childPath) ?? [])
        yield { what: `${childPath} added`, value: { ...value, [name]: added } };
      continue;
    }
    const { [name]: dropped, ...rest } = value;
    yield { what: `${childPath} dropped`, value: rest };
    for (const mutant of mutants(child, dropped, values, childPath))
      yield { ...mutant, value: { ...value, [name]: mutant.value } };
  }
}

function additional({ additionalProperties }: Schema, value: Fields): Record<string, Schema> {
  if (!additionalProperties) return {};
  return Object.fromEntries(Object.keys(value).map((name) => [name, additionalProperties]));
}

/** Collects every value of a document by its path. */
export function* valuesOf(value: unknown, path: string): Generator<readonly [string, unknown]> {
  yield [path, value];
  if (Array.isArray(value)) for (const item of value) yield* valuesOf(item, `${path}[]`);
  if (isFields(value))
    for (const [name, field] of Object.entries(value)) yield* valuesOf(field, `${path}.${name}`);
}
