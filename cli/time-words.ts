import { UsageError } from './command.ts';

const unitMs: ReadonlyMap<string, number> = new Map([
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);

/** Turns `15m` ago or a time into RFC 3339; `option` is what was typed before it. @throws UsageError. */
export function parseTime(text: string, nowMs: number, option = '--since'): string {
  const [, amount, unit = ''] = /^(\d{1,6})(s|m|h|d)$/.exec(text) ?? [];
  const ms =
    amount === undefined ? Date.parse(text) : nowMs - Number(amount) * (unitMs.get(unit) ?? NaN);
  if (Number.isNaN(ms))
    throw new UsageError(`${option}: got "${text}", want 15m, 2h, 7d or a time`);
  return new Date(ms).toISOString();
}
