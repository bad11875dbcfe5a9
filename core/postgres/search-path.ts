import { maxNameBytes } from './frontend.ts';

/**
 * Returns the schemas of a `search_path` as SHOW prints it, in their order: identifiers are folded where they are not
 * quoted (SplitIdentifierString). Undefined for a text that PostgreSQL would not take for a list.
 */
export function tryParseSearchPath(text: string): readonly string[] | undefined {
  const schemas: string[] = [];
  const item = /\s*(?:"((?:[^"]|"")*)"|([^\s",]+))\s*(,|$)/gy;
  if (text.trim() === '') return schemas;
  for (let found = item.exec(text); found; found = item.exec(text)) {
    const [, quoted, plain = '', end] = found;
    schemas.push(cut(quoted === undefined ? foldAscii(plain) : quoted.replaceAll('""', '"')));
    if (end === '') return schemas;
  }
  return undefined;
}

/** Cuts a name as PostgreSQL does under UTF-8: SHOW prints the whole of it. */
function cut(name: string): string {
  if (Buffer.byteLength(name) <= maxNameBytes) return name;
  const start = Buffer.from(name).subarray(0, maxNameBytes);
  return new TextDecoder().decode(start, { stream: true });
}

/** Folds as PostgreSQL does under a multi-byte server encoding: ASCII letters alone. */
function foldAscii(identifier: string): string {
  return identifier.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}
