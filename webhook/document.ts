import { isObject } from '#core/policy/fields.ts';

/** Returns what an author wrote of an object of the API, without what the API server adds to it. */
export function documentOf(object: unknown): Readonly<Record<string, unknown>> {
  if (!isObject(object)) return {};
  const { status: _, metadata, ...document } = object;
  if (!isObject(metadata)) return document;
  const { name, generateName, namespace, labels } = metadata;
  // Of an object whose name the server makes up, only its beginning is known by now.
  const settled = name ?? (typeof generateName === 'string' ? `${generateName}x` : undefined);
  return { ...document, metadata: { name: settled, namespace, labels } };
}
