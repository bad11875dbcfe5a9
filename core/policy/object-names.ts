import {
  FieldReader,
  integer,
  list,
  mapOf,
  object,
  oneOf,
  Problems,
  set,
  text,
  type Read,
} from './fields.ts';
import type { LabelSelector, Metadata } from './resources.ts';

/** Accepts the name of an object of Kubernetes. */
export const name = text(
  'a name (RFC 1123: lower case, digits, "-" and ".")',
  /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/,
);

/** Accepts what Kubernetes calls a DNS label, as namespaces are. */
export const namespace = dnsLabel('a namespace');

/** Accepts a host name without a port, or an IP address. */
export const host = text('a host name or an address', /^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$/);

/** Accepts the number of a port. */
export const port = integer(1, 65_535);

const labelKey = text(
  'a label key such as "app" or "example.com/app"',
  /^([a-z0-9.-]{1,253}\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/,
  317,
);
const label = text('a label value', /^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$/, 63);
const annotation = text('a string', /^[^]*$/, 65_536);

/** Accepts a DNS label, which messages call `want`. */
export function dnsLabel(want: string): Read<string> {
  return text(
    `${want} (RFC 1123: lower case, digits and "-")`,
    /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/,
    63,
  );
}

/** Reads `metadata`, with a namespace or without. */
export function metadataOf(namespaced: boolean): Read<Metadata> {
  return object((fields, problems) => {
    const named = fields.required('name', name) ?? '';
    const labels = fields.optional('labels', mapOf(labelKey, label)) ?? new Map();
    fields.optional('annotations', mapOf(labelKey, annotation));
    if (namespaced)
      return { name: named, namespace: fields.required('namespace', namespace) ?? '', labels };
    fields.optional('namespace', (_, path) => problems.add(path, 'this kind has no namespace'));
    return { name: named, namespace: undefined, labels };
  });
}

/** Reads a label selector. */
export function labelSelector(fields: FieldReader): LabelSelector {
  return {
    matchLabels: fields.optional('matchLabels', mapOf(labelKey, label, 64)) ?? new Map(),
    matchExpressions:
      fields.optional('matchExpressions', list(object(labelExpression), 0, 32)) ?? [],
  };
}

/** Selects everything; for where none could be read. */
export const anyLabels: LabelSelector = { matchLabels: new Map(), matchExpressions: [] };

function labelExpression(
  fields: FieldReader,
  problems: Problems,
): LabelSelector['matchExpressions'][number] {
  const operator =
    fields.required('operator', oneOf('In', 'NotIn', 'Exists', 'DoesNotExist')) ?? 'Exists';
  const values = fields.optional('values', set(label, 0, 64)) ?? [];
  const needsValues = operator === 'In' || operator === 'NotIn';
  if (needsValues !== values.length > 0) {
    problems.add(fields.path('values'), needsValues ? 'missing' : `${operator} takes no values`);
  }
  return { key: fields.required('key', labelKey) ?? '', operator, values };
}
