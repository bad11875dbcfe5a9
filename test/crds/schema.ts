import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Environment, type ParseResult } from '@marcbachmann/cel-js';
import { parse } from 'yaml';
import { projectDirectory } from '../../cli/instance.ts';

/** The part of structural schemas that the CRDs use, with the meaning that Kubernetes gives it. */
export interface Schema {
  readonly type: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly description?: string;
  readonly format?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-validations'?: readonly {
    readonly rule: string;
    readonly message: string;
  }[];
}

/** Every keyword of `Schema`: another one would be ignored here and heeded by Kubernetes. */
export const keywords: ReadonlySet<string> = new Set([
  'type', 'description', 'format', 'properties', 'additionalProperties', 'required', 'items', 'enum', 'default', 'pattern',
  'minLength', 'maxLength', 'minItems', 'maxItems', 'maxProperties', 'minimum', 'maximum', 'x-kubernetes-list-type',
  'x-kubernetes-list-map-keys', 'x-kubernetes-validations',
]); // prettier-ignore

export interface Definition {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly group: string;
    readonly scope: string;
    readonly names: Readonly<Record<string, unknown>>;
    readonly versions: readonly [
      {
        readonly name: string;
        readonly subresources: unknown;
        readonly additionalPrinterColumns: readonly {
          readonly name: string;
          readonly jsonPath: string;
        }[];
        readonly schema: { readonly openAPIV3Schema: Schema };
      },
    ];
  };
}

export function readDefinition(plural: string): Definition {
  return parse(readFileSync(join(projectDirectory, `crds/${plural}.yaml`), 'utf8')) as Definition;
}

export type Fields = Readonly<Record<string, unknown>>;

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Visits a schema and all within it, with paths such as `spec.rules[].name`. */
export function* walk(schema: Schema, path = ''): Generator<readonly [path: string, Schema]> {
  yield [path, schema];
  for (const [name, child] of Object.entries(schema.properties ?? {}))
    yield* walk(child, path === '' ? name : `${path}.${name}`);
  if (schema.items) yield* walk(schema.items, `${path}[]`);
  if (schema.additionalProperties) yield* walk(schema.additionalProperties, `${path}{}`);
}

/** Fills in defaults as the API server does before it validates. */
export function withDefaults(schema: Schema, value: unknown): unknown {
  if (Array.isArray(value) && schema.items)
    return value.map((item: unknown) => withDefaults(schema.items ?? schema, item));
  if (!isFields(value)) return value;
  const filled = new Map(Object.entries(value));
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    const given = filled.get(name) ?? child.default;
    if (given !== undefined) filled.set(name, withDefaults(child, given));
  }
  return Object.fromEntries(filled);
}

/** Says what the API server has against a value, with unknown fields refused as `kubectl` has them by default. */
export function validate(schema: Schema, value: unknown, path = ''): string[] {
  const errors = [...structuralErrors(schema, value, path)];
  if (errors.length > 0) return errors;
  return (schema['x-kubernetes-validations'] ?? [])
    .filter(({ rule }) => !holds(rule, value))
    .map(({ message }) => `${path}: ${message}`);
}

function* structuralErrors(schema: Schema, value: unknown, path: string): Generator<string> {
  if (schema.enum && !schema.enum.includes(value)) yield `${path}: none of the enum`;
  switch (schema.type) {
    case 'boolean':
      if (typeof value !== 'boolean') yield `${path}: no boolean`;
      return;
    case 'integer':
      if (!Number.isInteger(value)) yield `${path}: no integer`;
      else if (Number(value) < (schema.minimum ?? -Infinity)) yield `${path}: too small`;
      else if (Number(value) > (schema.maximum ?? Infinity)) yield `${path}: too large`;
      return;
    case 'string':
      if (typeof value !== 'string') yield `${path}: no string`;
      else yield* textErrors(schema, value, path);
      return;
    case 'array':
      if (!Array.isArray(value)) yield `${path}: no array`;
      else yield* listErrors(schema, value, path);
      return;
    case 'object':
      if (!isFields(value)) yield `${path}: no object`;
      else yield* fieldErrors(schema, value, path);
  }
}

function* textErrors(schema: Schema, value: string, path: string): Generator<string> {
  const { length } = Array.from(value); // of code points, as Go counts them
  if (length > (schema.maxLength ?? Infinity)) yield `${path}: too long`;
  if (length < (schema.minLength ?? 0)) yield `${path}: too short`;
  if (schema.pattern !== undefined && !new RegExp(schema.pattern, 'u').test(value))
    yield `${path}: not of the pattern`;
}

function* listErrors(schema: Schema, value: readonly unknown[], path: string): Generator<string> {
  if (value.length > (schema.maxItems ?? Infinity)) yield `${path}: too many`;
  if (value.length < (schema.minItems ?? 0)) yield `${path}: too few`;
  const [key] = schema['x-kubernetes-list-map-keys'] ?? [];
  if (schema['x-kubernetes-list-type'] !== 'atomic') {
    const ids = value.map((item) => (key !== undefined && isFields(item) ? item[key] : item));
    if (new Set(ids).size < ids.length) yield `${path}: the same twice`;
  }
  for (const [index, item] of value.entries())
    if (schema.items) yield* validate(schema.items, item, `${path}[${index}]`);
}

function* fieldErrors(schema: Schema, value: Fields, path: string): Generator<string> {
  const entries = Object.entries(value).filter(([, field]) => field !== undefined);
  if (entries.length > (schema.maxProperties ?? Infinity)) yield `${path}: too many`;
  for (const name of schema.required ?? [])
    if (value[name] === undefined) yield `${path}.${name}: missing`;
  for (const [name, field] of entries) {
    const child = schema.properties?.[name] ?? schema.additionalProperties;
    if (child) yield* validate(child, field, `${path}.${name}`);
    else yield `${path}.${name}: unknown`;
  }
}

const environment = new Environment({ unlistedVariablesAreDyn: false }).registerVariable(
  'self',
  'dyn',
);
const compiled = new Map<string, ParseResult>();

function holds(rule: string, self: unknown): boolean {
  const evaluate = compiled.get(rule) ?? environment.parse(rule);
  compiled.set(rule, evaluate);
  try {
    return evaluate({ self }) === true;
  } catch {
    return false; // as the API server has it: what cannot be evaluated does not hold
  }
}
