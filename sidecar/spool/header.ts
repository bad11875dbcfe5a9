import type { RecordFields } from '#core/record/kinds.ts';
import type { Moment } from './clock.ts';

/**
 * Builds a header without its last brace. It is put together as text: of its fields only those that an author filled in
 * need escaping.
 */
export function beginHeader(
  fields: RecordFields,
  stream: string,
  seq: number,
  { time, monoNs }: Moment,
): string {
  return `{"v":1,${JSON.stringify(fields).slice(1, -1)},"stream":"${stream}","seq":${seq},"time":"${time}","monoNs":${monoNs}`;
}

/** How every header begins. */
export const headerStart = '{"v":1,';
