import { buildDescribe } from '#core/postgres/frontend.ts';
import { buildMessage, int16, int32 } from '#core/postgres/reader.ts';

const all = (format: 0 | 1): Buffer => Buffer.concat([int16(1), int16(format)]);
export const parse = (name: string, text: string, types: readonly number[] = []): Buffer =>
  buildMessage('P', name, text, int16(types.length), ...types.map((type) => int32(type)));
export const close = (kind: 'S' | 'P', name: string): Buffer =>
  buildMessage('C', Buffer.from(kind), name);
export const ofStatement = (name: string): Buffer => buildDescribe({ kind: 'statement', name });
export const ofPortal = (name: string): Buffer => buildDescribe({ kind: 'portal', name });

export interface BindOptions {
  readonly portal?: string;
  readonly values?: readonly (Buffer | null)[];
  readonly binary?: boolean;
}

/** Binds with all parameters and results in one format. */
export function bind(
  statement: string,
  { portal = '', values = [], binary = false }: BindOptions = {},
): Buffer {
  const format = all(binary ? 1 : 0);
  const given = values.map((value) =>
    value === null ? int32(-1) : Buffer.concat([int32(value.length), value]),
  );
  return buildMessage('B', portal, statement, format, int16(values.length), ...given, format);
}
