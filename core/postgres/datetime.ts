/**
 * Dates and times as PostgreSQL writes them with `DateStyle = ISO`, `IntervalStyle = postgres` and `TimeZone = UTC`.
 * Times are microseconds, dates are days from 2000-01-01 (PostgreSQL, `src/backend/utils/adt/datetime.c`).
 */

const microsPerSecond = 1_000_000n;
const microsPerDay = 86_400n * microsPerSecond;
const largest = { int32: 0x7fff_ffff, int64: 0x7fff_ffff_ffff_ffffn };
const smallest = { int32: -0x8000_0000, int64: -0x8000_0000_0000_0000n };

/** Writes a `date`. */
export function formatDate(days: number): string {
  if (days === largest.int32) return 'infinity';
  if (days === smallest.int32) return '-infinity';
  const { text, era } = calendarDay(days);
  return `${text}${era}`;
}

/** Writes a `timestamp`, or with the zone `+00` a `timestamptz`. */
export function formatTimestamp(micros: bigint, zone = ''): string {
  if (micros === largest.int64) return 'infinity';
  if (micros === smallest.int64) return '-infinity';
  const time = ((micros % microsPerDay) + microsPerDay) % microsPerDay;
  const { text, era } = calendarDay(Number((micros - time) / microsPerDay));
  return `${text} ${formatTime(time)}${zone}${era}`;
}

/** Writes a `time`. @throws RangeError when it is not a time of day. */
export function formatTime(micros: bigint): string {
  if (micros < 0n || micros > microsPerDay) throw new RangeError('not a time of day');
  return clock(micros);
}

/** Writes the zone of a `timetz`, given in seconds west of Greenwich. */
export function formatZone(secondsWest: number): string {
  const seconds = Math.abs(secondsWest);
  const parts = [Math.trunc(seconds / 3600), Math.trunc(seconds / 60) % 60, seconds % 60];
  while (parts.length > 1 && parts.at(-1) === 0) parts.pop();
  const shown = parts.map((part) => String(part).padStart(2, '0')).join(':');
  return `${secondsWest <= 0 ? '+' : '-'}${shown}`;
}

/** Writes an `interval`, such as `1 year 2 mons -3 days +04:05:06.7`. */
export function formatInterval(months: number, days: number, micros: bigint): string {
  if (months === largest.int32 && days === largest.int32 && micros === largest.int64)
    return 'infinity';
  if (months === smallest.int32 && days === smallest.int32 && micros === smallest.int64)
    return '-infinity';
  const parts: string[] = [];
  let negative = false; // the part before: one that turns positive again says so
  const add = (value: number, unit: string): void => {
    if (value === 0) return;
    const sign = negative && value > 0 ? '+' : '';
    parts.push(`${sign}${value} ${unit}${value === 1 ? '' : 's'}`);
    negative = value < 0;
  };
  add(Math.trunc(months / 12), 'year');
  add(months % 12, 'mon');
  add(days, 'day');
  if (micros !== 0n || parts.length === 0) {
    const sign = micros < 0n ? '-' : negative ? '+' : '';
    parts.push(`${sign}${clock(micros < 0n ? -micros : micros)}`);
  }
  return parts.join(' ');
}

function clock(micros: bigint): string {
  const pad = (value: bigint): string => value.toString().padStart(2, '0');
  const seconds = micros / microsPerSecond;
  const fraction = (micros % microsPerSecond).toString().padStart(6, '0').replace(/0+$/, '');
  const time = `${pad(seconds / 3600n)}:${pad((seconds / 60n) % 60n)}:${pad(seconds % 60n)}`;
  return fraction === '' ? time : `${time}.${fraction}`;
}

const daysBeforeEpoch = 730_425; // from 0000-03-01 to 2000-01-01, in the proleptic Gregorian calendar
const daysPerEra = 146_097; // 400 years

/** Year, month and day by eras of 400 years that begin in March, since `Date` ends long before PostgreSQL does. */
function calendarDay(days: number): { text: string; era: string } {
  const since = days + daysBeforeEpoch;
  const era = Math.floor(since / daysPerEra);
  const dayOfEra = since - era * daysPerEra;
  const leapDays =
    Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096);
  const yearOfEra = Math.floor((dayOfEra - leapDays) / 365);
  const dayOfYear =
    dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1;
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  const pad = (value: number, width: number): string => String(value).padStart(width, '0');
  const shown = year > 0 ? year : 1 - year;
  return {
    text: `${pad(shown, 4)}-${pad(month, 2)}-${pad(day, 2)}`,
    era: year > 0 ? '' : ' BC',
  };
}
