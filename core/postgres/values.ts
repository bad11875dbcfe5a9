import { formatDate, formatInterval, formatTime, formatTimestamp, formatZone } from './datetime.ts';
import { decodeUtf8, type DecodeText } from './encoding.ts';
import { BodyReader } from './reader.ts';

/** 0 is PostgreSQL's text format, 1 its binary one. */
export type Format = number;

/**
 * Returns a value as text, as psql would show it in UTC. What is binary and of an unknown type, or is not what its type
 * says, is shown as `\x…`. The text is hostile: whoever prints it escapes control characters.
 */
export function formatValue(
  typeOid: number,
  format: Format,
  bytes: Buffer,
  decodeText: DecodeText = decodeUtf8,
): string {
  if (format === 0) return decodeText(bytes);
  const decode = scalarTypes.get(typeOid);
  const element = arrayTypes.get(typeOid);
  try {
    if (decode) return decodeWhole(decode, bytes, decodeText);
    if (element !== undefined) return array(element, bytes, decodeText);
  } catch {
    // Not what its type says: a client may send anything as a parameter.
  }
  return hex(bytes);
}

type Decode = (reader: BodyReader) => string;

const hex = (bytes: Buffer): string => `\\x${bytes.toString('hex')}`;
const text: Decode = (reader) => reader.restText();
const oid: Decode = (reader) => String(reader.uint32());
const int64 = (reader: BodyReader): bigint => reader.bytes(8).readBigInt64BE();

/** OIDs of range types, and of what they range over. */
const rangeTypes = new Map([[3904, 23], [3906, 1700], [3908, 1114], [3910, 1184], [3912, 1082], [3926, 20]]); // prettier-ignore

/** OIDs of multirange types, and of their ranges. */
const multirangeTypes = new Map([[4451, 3904], [4532, 3906], [4533, 3908], [4534, 3910], [4535, 3912], [4536, 3926]]); // prettier-ignore

/** Decoders of the binary format by the OID of the type (catalogue `pg_type`). */
const scalarTypes = new Map<number, Decode>([
  [16, (reader) => (reader.byte() === 0 ? 'f' : 't')], // bool
  [17, (reader) => hex(reader.rest())], // bytea
  [18, internalChar], // "char"
  [19, text], // name
  [20, (reader) => String(int64(reader))], // int8
  [21, (reader) => String(reader.int16())], // int2
  [23, (reader) => String(reader.int32())], // int4
  [25, text],
  [26, oid],
  [28, oid], // xid
  [114, text], // json
  [142, text], // xml
  [650, network], // cidr
  [700, (reader) => float(shortestFloat4(reader.bytes(4).readFloatBE()), 6)], // float4
  [701, (reader) => float(reader.bytes(8).readDoubleBE(), 15)], // float8
  [705, text], // unknown
  [829, macAddress], // macaddr
  [869, network], // inet
  [1042, text], // bpchar
  [1043, text], // varchar
  [1082, (reader) => formatDate(reader.int32())], // date
  [1083, (reader) => formatTime(int64(reader))], // time
  [1114, (reader) => formatTimestamp(int64(reader))], // timestamp
  [1184, (reader) => formatTimestamp(int64(reader), '+00')], // timestamptz
  [1186, interval],
  [1266, (reader) => `${formatTime(int64(reader))}${formatZone(reader.int32())}`], // timetz
  [1700, numeric],
  [2950, uuid],
  [3802, jsonb],
  ...[...rangeTypes].map(([type, bound]): [number, Decode] => [type, (reader) => range(bound, reader)]),
  ...[...multirangeTypes].map(([type, of]): [number, Decode] => [type, (reader) => multirange(of, reader)]),
]); // prettier-ignore

/** OIDs of array types, and of their elements. */
const arrayTypes = new Map<number, number>([
  [143, 142], [199, 114], [651, 650], [1000, 16], [1001, 17], [1002, 18], [1003, 19], [1005, 21], [1007, 23],
  [1009, 25], [1011, 28], [1014, 1042], [1015, 1043], [1016, 20], [1021, 700], [1022, 701], [1028, 26], [1040, 829],
  [1041, 869], [1115, 1114], [1182, 1082], [1183, 1083], [1185, 1184], [1187, 1186], [1231, 1700], [1270, 1266],
  [2951, 2950], [3807, 3802], [3905, 3904], [3907, 3906], [3909, 3908], [3911, 3910], [3913, 3912], [3927, 3926],
  [6150, 4451], [6151, 4532], [6152, 4533], [6153, 4534], [6155, 4535], [6157, 4536],
]); // prettier-ignore

/** @throws when bytes are missing, or are left: what is not shown must not be hidden behind what is. */
function decodeWhole(decode: Decode, bytes: Buffer, decodeText: DecodeText): string {
  const reader = new BodyReader(bytes, decodeText);
  const shown = decode(reader);
  reader.end();
  return shown;
}

function notOfItsType(): RangeError {
  return new RangeError('the value is not what its type says');
}

/** One byte; those that are not ASCII are written in octal (PostgreSQL's `charout`). */
function internalChar(reader: BodyReader): string {
  const byte = reader.byte();
  if (byte > 0x7f) return `\\${byte.toString(8)}`;
  return byte === 0 ? '' : String.fromCharCode(byte);
}

function shortestFloat4(value: number): number {
  for (let digits = 1; digits < 9; digits += 1) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === value) return candidate;
  }
  return Number(value.toPrecision(9));
}

/**
 * The shortest digits that read back as the same number; with an exponent below -4 and from `limit` on. Where two texts
 * are as good, PostgreSQL may write the other one.
 */
function float(value: number, limit: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  if (Object.is(value, -0)) return '-0';
  const [mantissa = '', exponent = ''] = value.toExponential().split('e');
  const power = Number(exponent);
  if (power >= limit || power < -4) {
    return `${mantissa}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
  }
  return value.toFixed(Math.max(0, mantissa.replace(/^-?\d\.?/, '').length - power));
}

function interval(reader: BodyReader): string {
  const micros = int64(reader);
  const days = reader.int32();
  return formatInterval(reader.int32(), days, micros);
}

const signs = { negative: 0x4000, nan: 0xc000, infinity: 0xd000, minusInfinity: 0xf000 };

/** Digits to base 10 000 with a weight and a display scale (PostgreSQL's `numeric_send`). */
function numeric(reader: BodyReader): string {
  const count = reader.count();
  const weight = reader.int16();
  const sign = reader.count();
  const scale = reader.count();
  if (sign === signs.nan) return 'NaN';
  if (sign === signs.infinity) return 'Infinity';
  if (sign === signs.minusInfinity) return '-Infinity';
  if (sign !== 0 && sign !== signs.negative) throw notOfItsType();
  const digits = Array.from({ length: count }, () => {
    const digit = reader.count();
    if (digit > 9999) throw notOfItsType();
    return String(digit).padStart(4, '0');
  });
  const at = (index: number): string => digits[index] ?? '0000';
  let whole = '';
  for (let index = 0; index <= weight; index += 1) whole += at(index);
  let fraction = '';
  for (let index = weight + 1; fraction.length < scale; index += 1) fraction += at(index);
  const shown = whole.replace(/^0+(?=\d)/, '') || '0';
  const decimals = scale > 0 ? `.${fraction.slice(0, scale)}` : '';
  return `${sign === signs.negative ? '-' : ''}${shown}${decimals}`;
}

function uuid(reader: BodyReader): string {
  return reader
    .bytes(16)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** A version byte, then text. */
function jsonb(reader: BodyReader): string {
  if (reader.byte() !== 1) throw notOfItsType();
  return text(reader);
}

function macAddress(reader: BodyReader): string {
  return Array.from(reader.bytes(6), (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

const families = { ipv4: 2, ipv6: 3 };

/** Family, prefix length, whether it is a cidr, the length of the address and the address (`network_send`). */
function network(reader: BodyReader): string {
  const family = reader.byte();
  const prefix = reader.byte();
  const isCidr = reader.byte() !== 0;
  const address = reader.bytes(reader.byte());
  const want = family === families.ipv4 ? 4 : 16;
  if ((family !== families.ipv4 && family !== families.ipv6) || address.length !== want) {
    throw notOfItsType();
  }
  if (prefix > want * 8) throw notOfItsType();
  const shown = want === 4 ? address.join('.') : ipv6(address);
  return isCidr || prefix < want * 8 ? `${shown}/${prefix}` : shown;
}

/** The longest run of zeros is left out, and an embedded IPv4 address is written as one (RFC 5952). */
function ipv6(address: Buffer): string {
  const words = Array.from({ length: 8 }, (_, index) => address.readUInt16BE(index * 2));
  const bits = words.map((word) => (word === 0 ? '0' : '1')).join('');
  const runs = [...bits.matchAll(/00+/g)].toSorted((a, b) => b[0].length - a[0].length);
  const [longest] = runs;
  const from = longest?.index ?? 8;
  const length = longest?.[0].length ?? 0;
  const mapped = length === 5 && words[5] === 0xffff;
  const embedsIpv4 = from === 0 && (length === 6 || mapped);
  const parts = words.map((word) => word.toString(16));
  if (embedsIpv4) parts.splice(6, 2, address.subarray(12).join('.'));
  if (length === 0) return parts.join(':');
  return `${parts.slice(0, from).join(':')}::${parts.slice(from + length).join(':')}`;
}

const rangeFlags = { empty: 1, lowerInclusive: 2, upperInclusive: 4, lowerInfinite: 8, upperInfinite: 16 }; // prettier-ignore

/** Flags, then the bounds that there are (PostgreSQL's `range_send`). */
function range(type: number, reader: BodyReader): string {
  const flags = reader.byte();
  if (flags === rangeFlags.empty) return 'empty';
  const has = (flag: keyof typeof rangeFlags): boolean => (flags & rangeFlags[flag]) !== 0;
  if (flags >= 32 || has('empty')) throw notOfItsType();
  const bound = (isInfinite: boolean): string => {
    if (isInfinite) return '';
    const value = reader.value();
    if (value === undefined) throw notOfItsType();
    return quotedBound(formatValue(type, 1, value));
  };
  const lower = bound(has('lowerInfinite'));
  const upper = bound(has('upperInfinite'));
  return `${has('lowerInclusive') ? '[' : '('}${lower},${upper}${has('upperInclusive') ? ']' : ')'}`;
}

function quotedBound(bound: string): string {
  if (bound !== '' && !/["\\()[\], \t\n\v\f\r]/.test(bound)) return bound;
  return `"${bound.replaceAll(/["\\]/g, '$&$&')}"`;
}

/** A number of ranges, each with its length (`multirange_send`). */
function multirange(type: number, reader: BodyReader): string {
  const count = reader.int32();
  if (count < 0 || count > reader.left / 4) throw notOfItsType();
  const ranges = Array.from({ length: count }, () => {
    const value = reader.value();
    if (value === undefined) throw notOfItsType();
    return formatValue(type, 1, value);
  });
  return `{${ranges.join(',')}}`;
}

const maxDimensions = 6; // MAXDIM of PostgreSQL
const maxElements = 100_000;

/** Dimensions, a flag, the element's type, then the elements (PostgreSQL's `array_send`). */
function array(elementType: number, bytes: Buffer, decodeText: DecodeText): string {
  const reader = new BodyReader(bytes);
  const dimensions = reader.int32();
  reader.int32(); // whether there are NULLs
  if (reader.uint32() !== elementType || dimensions < 0 || dimensions > maxDimensions) {
    throw notOfItsType();
  }
  const sizes = Array.from({ length: dimensions }, () => ({
    size: reader.int32(),
    lower: reader.int32(),
  }));
  // Each element has a length of four bytes: sizes that promise more elements than there are bytes are a lie.
  const elements = sizes.reduce((product, { size }) => product * (size > 0 ? size : NaN), 1);
  if (!(elements <= Math.min(maxElements, 1 + reader.left / 4))) throw notOfItsType();
  const read = (depth: number): string => {
    const items = Array.from({ length: sizes[depth]?.size ?? 0 }, () => {
      if (depth < dimensions - 1) return read(depth + 1);
      const value = reader.value();
      return value === undefined ? 'NULL' : quoted(formatValue(elementType, 1, value, decodeText));
    });
    return `{${items.join(',')}}`;
  };
  const shown = read(0);
  reader.end();
  const moved = sizes.some(({ lower }) => lower !== 1);
  const bounds = sizes.map(({ size, lower }) => `[${lower}:${lower + size - 1}]`).join('');
  return moved ? `${bounds}=${shown}` : shown;
}

function quoted(element: string): string {
  const plain =
    element !== '' && !/[{}",\\ \t\n\v\f\r]/.test(element) && element.toUpperCase() !== 'NULL';
  return plain ? element : `"${element.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}
