import { isObject } from '#core/policy/fields.ts';
import { tryParseQuantity } from '../../webhook/same-part.ts';
import type { Fields } from './kube-requests.ts';

/** Compares pods as an API server stores them. */

/** A difference of two objects: where, with what has a name under its name, `spec.containers[app].env[HOME].value`. */
export interface Difference {
  readonly kind: 'added' | 'changed' | 'removed';
  readonly path: string;
}

/** What the API server gives to every object anew. */
const ownFields = ['name', 'generateName', 'namespace', 'uid', 'creationTimestamp', 'managedFields', 'generation', 'resourceVersion']; // prettier-ignore

/** A pod without what differs from one to the next of the same text; of its status only how it is evicted. */
export function settled(pod: Fields): Fields {
  const { metadata, spec, status } = structuredClone(pod);
  const others = Object.entries(isObject(metadata) ? metadata : {});
  const kept = Object.fromEntries(others.filter(([name]) => !ownFields.includes(name)));
  const annotations = Object.entries(isObject(kept['annotations']) ? kept['annotations'] : {});
  // That of a LimitRange says what it gave to which container.
  kept['annotations'] = Object.fromEntries(annotations.filter(([name]) => name !== 'kubernetes.io/limit-ranger')); // prettier-ignore
  return {
    metadata: kept,
    spec: readable(spec),
    status: { qosClass: isObject(status) ? status['qosClass'] : undefined },
  };
}

/** Amounts as numbers, whose spelling says nothing; and the drawn end of a volume's name as an `x`. */
function readable(value: unknown, name = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => readable(item));
  if (typeof value === 'string') return value.replace(/^(kube-api-access-)\w{5}$/, '$1x');
  if (!isObject(value)) return value;
  const amounts = ['requests', 'limits'].includes(name);
  return Object.fromEntries(
    Object.entries(value).map(([field, inner]) => [
      field,
      amounts || field === 'sizeLimit'
        ? (tryParseQuantity(inner) ?? inner)
        : readable(inner, field),
    ]),
  );
}

/** With lists sorted whose order depends on which webhook was asked first, and means nothing. */
export function sorted(value: unknown, name = ''): unknown {
  if (Array.isArray(value)) {
    const items = value.map((item: unknown) => sorted(item));
    const unordered = ['env', 'volumes', 'volumeMounts'].includes(name);
    return unordered ? items.toSorted((a, b) => (keyOf(a, 0) < keyOf(b, 0) ? -1 : 1)) : items;
  }
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([field, inner]) => [field, sorted(inner, field)]),
  );
}

/** Everything in which two objects differ. */
export function differences(before: unknown, after: unknown, path = ''): readonly Difference[] {
  const [old, now] = [entriesOf(before, after), entriesOf(after, before)];
  if (old && now) {
    const named = Array.isArray(before ?? after) || /^metadata\.(labels|annotations)$/.test(path);
    const at = (key: string): string => (named ? `${path}[${key}]` : `${path}.${key}`).replace(/^\./, ''); // prettier-ignore
    return [...new Set([...old.keys(), ...now.keys()])].flatMap((key) =>
      differences(old.get(key), now.get(key), at(key)),
    );
  }
  if (before === undefined) return after === undefined ? [] : [{ kind: 'added', path }];
  if (after === undefined) return [{ kind: 'removed', path }];
  return JSON.stringify(before) === JSON.stringify(after) ? [] : [{ kind: 'changed', path }];
}

/** By key; of what is not there, none where the other one has some. */
function entriesOf(value: unknown, other: unknown): ReadonlyMap<string, unknown> | undefined {
  const isPart = isObject(other) && typeof other['name'] === 'string'; // a container, say, is there or not as a whole
  if (value === undefined && !isPart && (isList(other) || isObject(other))) return new Map();
  if (isList(value)) return new Map(value.map((item, index) => [keyOf(item, index), item]));
  return isObject(value) && !(other === undefined && typeof value['name'] === 'string')
    ? new Map(Object.entries(value))
    : undefined;
}

/** Lists of texts and numbers are compared as a whole. */
function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.every(isObject) && value.length > 0;
}

function keyOf(item: unknown, index: number): string {
  const { mountPath, name } = isObject(item) ? item : {};
  return [mountPath, name].find((key) => typeof key === 'string') ?? String(index);
}
