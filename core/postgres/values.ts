import { BodyReader } from './reader.ts';

/** 0 is PostgreSQL's text format, 1 its binary one. */
export type Format = number;

/**
 * Returns a value as text, as psql would show it. What is binary and of an unknown type is shown as `\x…`.
 * The text is hostile: whoever prints it escapes control characters.
 */
export function formatValue(typeOid: number, format: Format, bytes: Buffer): string {
  if (format === 0) return bytes.toString('utf8');
  const decode = binaryTypes.get(typeOid);
  try {
    return decode ? decode(bytes) : hex(bytes);
  } catch {
    return hex(bytes); // not what its type says: a client may send anything as a parameter
  }
}

const utf8 = (bytes: Buffer): string => bytes.toString('utf8');
const hex = (bytes: Buffer): string => `\\x${bytes.toString('hex')}`;
const microsPerDay = 86_400_000_000n;
const postgresEpochDays = 10_957n; // from 1970-01-01 to 2000-01-01

/** Decoders of the binary format by the OID of the type (catalogue `pg_type`). */
const binaryTypes = new Map<number, (bytes: Buffer) => string>([
  [16, (bytes) => (bytes.readUInt8() === 0 ? 'f' : 't')], // bool
  [17, hex], // bytea
  [18, utf8], // "char"
  [19, utf8], // name
  [20, (bytes) => bytes.readBigInt64BE().toString()], // int8
  [21, (bytes) => bytes.readInt16BE().toString()], // int2
  [23, (bytes) => bytes.readInt32BE().toString()], // int4
  [25, utf8], // text
  [26, (bytes) => bytes.readUInt32BE().toString()], // oid
  [114, utf8], // json
  [142, utf8], // xml
  [700, (bytes) => float(Math.fround(bytes.readFloatBE()), 9)], // float4
  [701, (bytes) => float(bytes.readDoubleBE(), 17)], // float8
  [1042, utf8], // bpchar
  [1043, utf8], // varchar
  [1082, date],
  [1083, (bytes) => clock(bytes.readBigInt64BE())], // time
  [1114, (bytes) => timestamp(bytes)],
  [1184, (bytes) => `${timestamp(bytes)}+00`.replace(/infinity\+00$/, 'infinity')], // timestamptz, in UTC
  [1700, numeric],
  [2950, uuid],
  [3802, (bytes) => utf8(bytes.subarray(1))], // jsonb: a version byte, then text
  ...[
    [1000, 16], [1001, 17], [1005, 21], [1007, 23], [1009, 25], [1015, 1043], [1016, 20], [1021, 700],
    [1022, 701], [1028, 26], [1115, 1114], [1182, 1082], [1185, 1184], [1231, 1700], [2951, 2950], [3807, 3802],
  ].map(([oid = 0]): [number, (bytes: Buffer) => string] => [oid, array]), // prettier-ignore
]);

function float(value: number, digits: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  if (Object.is(value, -0)) return '-0';
  return scientific(shortest(value, digits), digits === 9 ? 6 : 15);
}

/** The shortest decimal that reads back as the same number, as PostgreSQL writes it. */
function shortest(value: number, digits: number): number {
  for (let precision = 1; precision < digits; precision += 1) {
    const candidate = Number(value.toPrecision(precision));
    if ((digits === 9 ? Math.fround(candidate) : candidate) === value) return candidate;
  }
  return value;
}

/** PostgreSQL writes exponents of at least two digits, below -4 and from `limit` on. */
function scientific(value: number, limit: number): string {
  const [mantissa = '', exponent = ''] = value.toExponential().split('e');
  const power = Number(exponent);
  if (power >= limit || power < -4) {
    return `${mantissa}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
  }
  return value.toFixed(Math.max(0, mantissa.replace(/^-?\d\.?/, '').length - power));
}

function date(bytes: Buffer): string {
  const days = bytes.readInt32BE();
  if (days === 0x7fff_ffff) return 'infinity';
  if (days === -0x8000_0000) return '-infinity';
  return day(BigInt(days));
}

/** `days` from 2000-01-01, in the proleptic Gregorian calendar. */
function day(days: bigint): string {
  const ms = Number((days + postgresEpochDays) * 86_400_000n);
  const at = new Date(ms);
  const year = at.getUTCFullYear();
  const shown = String(year > 0 ? year : 1 - year).padStart(4, '0');
  return `${shown}-${at.toISOString().slice(-19, -14)}${year > 0 ? '' : ' BC'}`;
}

function clock(micros: bigint): string {
  const pad = (value: bigint): string => value.toString().padStart(2, '0');
  const seconds = micros / 1_000_000n;
  const fraction = (micros % 1_000_000n).toString().padStart(6, '0').replace(/0+$/, '');
  const time = `${pad(seconds / 3600n)}:${pad((seconds / 60n) % 60n)}:${pad(seconds % 60n)}`;
  return fraction === '' ? time : `${time}.${fraction}`;
}

function timestamp(bytes: Buffer): string {
  const micros = bytes.readBigInt64BE();
  if (micros === 0x7fff_ffff_ffff_ffffn) return 'infinity';
  if (micros === -0x8000_0000_0000_0000n) return '-infinity';
  const rest = ((micros % microsPerDay) + microsPerDay) % microsPerDay;
  const text = day((micros - rest) / microsPerDay);
  const [plain = text, era = ''] = text.split(' ');
  return `${plain} ${clock(rest)}${era === '' ? '' : ` ${era}`}`;
}

/** Base-10 000 digits with a weight and a display scale (PostgreSQL's `numeric_send`). */
function numeric(bytes: Buffer): string {
  const reader = new BodyReader(bytes);
  const count = reader.count();
  const weight = reader.int16();
  const sign = reader.count();
  const scale = reader.count();
  if (sign === 0xc000) return 'NaN';
  if (sign === 0xd000) return 'Infinity';
  if (sign === 0xf000) return '-Infinity';
  const digits = Array.from({ length: count }, () => String(reader.count()).padStart(4, '0'));
  const at = (index: number): string => digits[index] ?? '0000';
  let whole = '';
  for (let index = 0; index <= weight; index += 1) whole += at(index);
  let fraction = '';
  for (let index = weight + 1; fraction.length < scale; index += 1)
    fraction += index < 0 ? '0000' : at(index);
  const shown = whole.replace(/^0+(?=\d)/, '') || '0';
  return `${sign === 0x4000 ? '-' : ''}${shown}${scale > 0 ? `.${fraction.slice(0, scale)}` : ''}`;
}

function uuid(bytes: Buffer): string {
  if (bytes.length !== 16) return hex(bytes);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const maxElements = 100_000;

/** Dimensions, a flag, the element type, then the elements (PostgreSQL's `array_send`). */
function array(bytes: Buffer): string {
  const reader = new BodyReader(bytes);
  const dimensions = reader.int32();
  reader.int32();
  const element = reader.uint32();
  if (dimensions === 0) return '{}';
  if (dimensions < 0 || dimensions > 6) return hex(bytes);
  const sizes = Array.from({ length: dimensions }, () => {
    const size = reader.int32();
    reader.int32(); // the lower bound, which is 1 but for arrays that say otherwise
    return size;
  });
  if (sizes.reduce((product, size) => product * size, 1) > maxElements) return hex(bytes);
  const read = (depth: number): string => {
    const items = Array.from({ length: sizes[depth] ?? 0 }, () => {
      if (depth < dimensions - 1) return read(depth + 1);
      const value = reader.value();
      return value === undefined ? 'NULL' : quoted(formatValue(element, 1, value));
    });
    return `{${items.join(',')}}`;
  };
  return read(0);
}

function quoted(text: string): string {
  const plain = text !== '' && !/[{}",\\\s]/.test(text) && text.toUpperCase() !== 'NULL';
  return plain ? text : `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}
