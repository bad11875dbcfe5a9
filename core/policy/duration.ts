import { show, type Read } from './fields.ts';

const unitMs = new Map([
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
]);

/**
 * Accepts a duration of GEP-2257, one to four pairs of up to five digits and a unit such as `1m30s`, from `least` to
 * `most`, and gives it in milliseconds.
 */
export function duration(least: string, most: string, example: string): Read<number> {
  const leastMs = millisecondsOf(least);
  const mostMs = millisecondsOf(most);
  return (value, path, problems) => {
    const valid = typeof value === 'string' && /^([0-9]{1,5}(h|ms|m|s)){1,4}$/.test(value);
    const ms = valid ? millisecondsOf(value) : NaN;
    if (ms >= leastMs && ms <= mostMs) return ms;
    return problems.add(
      path,
      `got ${show(value)}, want a duration from ${least} to ${most} such as "${example}"`,
    );
  };
}

function millisecondsOf(text: string): number {
  let ms = 0;
  for (const [, digits, unit] of text.matchAll(/([0-9]+)(h|ms|m|s)/g))
    ms += Number(digits) * (unitMs.get(unit ?? '') ?? 0);
  return ms;
}
