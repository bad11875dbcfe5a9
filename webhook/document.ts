import { isObject } from '#core/policy/fields.ts';
import { parseResource, type Parsed } from '#core/policy/parse.ts';

/** What a resource may have of JSON, in bytes; reading more of it would hold up everybody else. */
export const maxDocumentBytes = 256 * 1024;

/** A document with its length and what it means. */
export interface MeasuredDocument {
  readonly bytes: number;
  readonly parsed: Parsed;
}

/** Reads a document as sidecars do, unless it is too long to be read. */
export function readDocument(document: Readonly<Record<string, unknown>>): MeasuredDocument {
  const bytes = Buffer.byteLength(JSON.stringify(document));
  if (bytes <= maxDocumentBytes) return { bytes, parsed: parseResource(document) };
  const message = `it has ${bytes} bytes of JSON, want at most ${maxDocumentBytes}: have several`;
  return { bytes, parsed: { problems: [{ path: 'spec', message }] } };
}

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

/** Names a document as people do, `Kind/namespace/name`, also one that is no resource. */
export function nameOfDocument(document: Readonly<Record<string, unknown>>): string {
  const { kind, metadata } = document;
  const { namespace, name } = isObject(metadata) ? metadata : {};
  return (
    [kind, namespace, name].filter((part) => typeof part === 'string').join('/') || 'a resource'
  );
}
