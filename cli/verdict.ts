import type { Report, Verdict } from '#core/record/verify-export.ts';
import { printable } from './terminal.ts';

/** What `chaperone verify` ends with, by verdict. */
export const exitCodes: Readonly<Record<Verdict['kind'], number>> = {
  complete: 0,
  unbroken: 3,
  consistent: 4,
  broken: 1,
};

/** What it ends with where something could not be checked. */
export const unchecked = 1;

/** Returns the code that says the most of several. */
export function worstCode(codes: readonly number[]): number {
  return [1, 4, 3].find((code) => codes.includes(code)) ?? 0;
}

/** Says what was found about an export, in a line. */
export function verdictLine({ verdict, records, erased, erasedRanges }: Report): string {
  return `${sentence(verdict, records)}${erasedNote(erased, erasedRanges)}`;
}

function sentence(verdict: Verdict, records: number): string {
  switch (verdict.kind) {
    case 'complete':
      return `complete (${records} records)`;
    case 'unbroken':
      return `unbroken up to ${verdict.upTo}, end unknown`;
    case 'consistent':
      return `consistent, origin unproven: ${printable(verdict.why)}`;
    case 'broken': {
      const where = verdict.stream === undefined ? '' : ` of stream ${printable(verdict.stream)}`;
      return `broken at ${verdict.at}${where}: ${printable(verdict.why)}`;
    }
  }
}

function erasedNote(erased: number, ranges: Report['erasedRanges']): string {
  if (erased === 0) return '';
  const named = ranges.map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`));
  const counted = ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
  const more = counted < erased ? ', …' : '';
  const what = erased === 1 ? 'a payload was erased' : `${erased} payloads were erased`;
  return `; ${what}: ${named.join(', ')}${more}`;
}
