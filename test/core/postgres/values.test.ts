import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client, types } from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { BodyReader, int32 } from '#core/postgres/reader.ts';
import { formatValue } from '#core/postgres/values.ts';
import { startInstance, type TestInstance } from '../../support/instance.ts';
import { Random, scaled } from '../../support/random.ts';

describe('formatValue', () => {
  let instance: TestInstance;
  let client: Client;
  before(async () => {
    instance = await startInstance();
    client = await instance.connect();
    await client.query("SET timezone = 'UTC'; SET bytea_output = 'hex'");
  });
  after(async () => {
    await client.end();
    await instance[Symbol.asyncDispose]();
  });

  const values = [
    'true', 'false', "'x'::\"char\"", "'a name'::name", '9223372036854775807::int8', '(-32768)::int2', '(-2147483648)::int4',
    "'Ünïcode \"quoted\"'::text", '4294967295::oid', `'{"a": [1, null]}'::json`, `'{"a": [1, null]}'::jsonb`, "'\\xdeadbeef'::bytea",
    '0.1::float4', '1e20::float4', '1e6::float4', '99999::float4', '1e14::float8', '1e15::float8', '0.0001::float8', '0.00001::float8', '-1234.5678::float8', '0.1::float8', '1e300::float8', "'NaN'::float8", "'-Infinity'::float4", "'-0'::float8", '123456789.125::float8',
    '0::numeric', '-0.5::numeric', '123456.789::numeric', '10000::numeric', '0.00001234::numeric', '1e30::numeric', "'NaN'::numeric", '100.00::numeric(8,2)',
    "'ab '::char(5)", "'v'::varchar(3)", "'2026-02-28'::date", "'0044-03-15 BC'::date", "'infinity'::date", "'9999-12-31'::date",
    "'23:59:59.5'::time", "'2026-01-02 03:04:05.006'::timestamp", "'1999-12-31 23:59:59.999999'::timestamp", "'2026-01-02 03:04:05+02'::timestamptz",
    "'infinity'::timestamptz", "'1969-07-20 20:17:40'::timestamp", "'0044-03-15 12:00 BC'::timestamp",
    "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", 'ARRAY[1, NULL, 3]', "ARRAY['a,b', '', 'NULL', 'q\"', 'plain']", 'ARRAY[[1,2],[3,4]]', "'{}'::int[]",
    'ARRAY[1.5, 2]::numeric[]', "ARRAY[true, false]", "ARRAY['2026-01-01'::date]",
    "'[0:1]={7,8}'::int[]", "'[-1:0][2:3]={{1,2},{3,4}}'::int[]", "ARRAY[E'tab\\t', U&'nb\\00A0sp', E'back\\\\slash', '{']", "ARRAY['1 day'::interval]", "ARRAY['ab '::char(5)]",
    "'5874897-12-31'::date", "'4713-01-01 BC'::date", "'294276-12-31 23:59:59.999999'::timestamp", "'2000-02-29'::date", "'24:00'::time",
    "'1 year 2 mons 3 days 04:05:06.7'::interval", "'0'::interval", "'-1 year -2 mons +3 days -04:05:06'::interval", "'1 mon -1 day'::interval", "'-1 day +00:00:01'::interval", "'-13 mons'::interval", "'100:00:00'::interval", "'infinity'::interval", "'-infinity'::interval",
    "'12:00:00.25+05:30'::timetz", "'12:00-08'::timetz", "'00:00+00:00:01'::timetz", "'0044-03-15 12:00+00 BC'::timestamptz",
    "'10.1.2.3'::inet", "'10.1.2.3/8'::inet", "'10.0.0.0/8'::cidr", "'10.1.2.3/32'::cidr", "'::'::inet", "'::1'::inet", "'::5'::inet", "'::1.2.3.4'::inet", "'::ffff:1.2.3.4'::inet", "'2001:db8::1:0:0:1'::inet", "'2001:db8:0:1:1:1:1:1/64'::inet", "'1:0:0:2::3'::inet", "'fe80::/10'::cidr",
    "int4range(1, 10)", "int8range(NULL, 5, '(]')", "'empty'::int4range", "'(,)'::numrange", "'[1.50,2.25]'::numrange", "'[2026-01-01,)'::daterange", "'[-infinity,infinity]'::daterange", "'[2026-01-01 00:00,2026-01-02 12:30:00.5)'::tsrange", "'(,2026-01-02 12:30+02]'::tstzrange",
    "'{}'::int4multirange", "'{[1,3),[5,9)}'::int8multirange", "'{[1.5,2],(5,)}'::nummultirange", "'{[2026-01-01,2026-02-01)}'::datemultirange", "'{[2026-01-01,2026-02-01)}'::tsmultirange", "'{[2026-01-01,2026-02-01)}'::tstzmultirange",
    "ARRAY[int4range(1, 10), 'empty']", "ARRAY['[2026-01-01,2026-02-01)'::tsrange]", "ARRAY['{[1,3),[5,9)}'::int4multirange, '{}']", "ARRAY['{[2026-01-01,)}'::tstzmultirange]",
    "'08:00:2b:01:02:03'::macaddr", "'\\377'::\"char\"", "''::\"char\"", "'42'::xid",
  ]; // prettier-ignore

  const raw = { getTypeParser: () => (value: unknown) => value } as unknown as typeof types; // values as they came
  for (const value of values) {
    test(`shows the binary form of ${value} as the server shows its text`, async () => {
      const text = await client.query<{ v: string }>({ text: `SELECT ${value} AS v`, types: raw });
      const chunks: Buffer[] = [];
      for await (const chunk of client.query(
        copyTo(`COPY (SELECT ${value}) TO STDOUT (FORMAT binary)`),
      )) {
        chunks.push(chunk as Buffer); // a stream without encoding
      }
      // 19 bytes of header, the number of columns, then the value with its length.
      const row = Buffer.concat(chunks).subarray(19 + 2);
      const bytes = row.subarray(4, 4 + row.readInt32BE());
      assert.equal(formatValue(text.fields[0]?.dataTypeID ?? 0, 1, bytes), text.rows[0]?.v);
    });
  }

  const random = [
    ['float8', "(random() - 0.5) * 10 ^ (random(-30, 30))"],
    ['float4', "((random() - 0.5) * 10 ^ (random(-30, 30)))::float4"],
    ['numeric', "(random(-1e20, 1e20) / (10 ^ random(0, 25))::numeric)::numeric(60, 10)"],
    ['numeric', "random(0, 1e9::numeric) / 1e15"],
    ['date', "'2000-01-01'::date + random(-2000000, 100000000)"],
    ['timestamp', "'2000-01-01'::timestamp + make_interval(days => random(-2400000, 100000000), secs => random() * 1e5)"],
    ['interval', "make_interval(months => random(-40, 40), days => random(-40, 40), secs => random(-1, 1) * random() * 1e6)"],
    ['timetz', "('2026-01-01 UTC'::timestamptz + make_interval(secs => random() * 86400))::timetz AT TIME ZONE make_interval(secs => random(-50000, 50000))"],
    ['inet', "('0::'::inet + random(0, 9e18::int8)) | ('::ffff:0:0'::inet + random(0, 9999))"],
  ] as const; // prettier-ignore
  // Of two texts for one binary number either will do.
  const readBack = new Map<string, (shown: string) => unknown>([
    ['float8', Number],
    ['float4', (shown) => Math.fround(Number(shown))],
  ]);
  for (const [type, expression] of random) {
    const same = readBack.get(type) ?? ((shown: string) => shown);
    test(`shows random values of ${type} (${expression}) as the server does`, async () => {
      await client.query('SELECT setseed(0.26)');
      const chunks: Buffer[] = [];
      const values = `SELECT ${expression} AS v FROM generate_series(1, ${scaled(20_000)})`;
      for await (const chunk of client.query(
        copyTo(`COPY (SELECT v, format('%s', v) FROM (${values}) AS t) TO STDOUT (FORMAT binary)`),
      )) {
        chunks.push(chunk as Buffer); // a stream without encoding
      }
      const oid = await client.query<{ oid: number }>(`SELECT '${type}'::regtype::oid AS oid`);
      const reader = new BodyReader(Buffer.concat(chunks).subarray(19));
      let rows = 0;
      for (; reader.int16() === 2; rows += 1) {
        const value = reader.value() ?? Buffer.alloc(0);
        const shown = reader.value()?.toString() ?? '';
        assert.equal(same(formatValue(oid.rows[0]?.oid ?? 0, 1, value)), same(shown));
      }
      assert.equal(rows, scaled(20_000));
    });
  }

  const array = (type: number, sizes: readonly number[], elements: Buffer): Buffer =>
    Buffer.concat([
      int32(sizes.length),
      int32(0),
      int32(type),
      ...sizes.flatMap((size) => [int32(size), int32(1)]),
      elements,
    ]);
  const withLength = (bytes: Buffer): Buffer => Buffer.concat([int32(bytes.length), bytes]);

  test('does not follow arrays within arrays, whose quotes would double at each depth', () => {
    let nested = array(1007, [1], withLength(Buffer.from([1])));
    for (let depth = 0; depth < 60; depth += 1) nested = array(1007, [1], withLength(nested));
    assert.equal(formatValue(1007, 1, nested), `\\x${nested.toString('hex')}`);
  });

  for (const sizes of [[1_000_000_000, 0], [-1, -1], [100_000], [1_000, 100], [0]]) {
    test(`does not believe an array that says it has ${sizes.join(' by ')} elements`, () => {
      const bytes = array(23, sizes, Buffer.alloc(40));
      assert.equal(formatValue(1007, 1, bytes), `\\x${bytes.toString('hex')}`);
    });
  }

  test('hides no bytes behind a value', () => {
    assert.equal(formatValue(23, 1, Buffer.from('0000000101', 'hex')), '\\x0000000101');
    assert.equal(formatValue(16, 1, Buffer.from('01ff', 'hex')), '\\x01ff');
    assert.equal(
      formatValue(
        1007,
        1,
        Buffer.concat([array(23, [1], withLength(int32(7))), Buffer.from('x')]),
      ).slice(0, 2),
      '\\x',
    );
  });

  test('takes any bytes for any type', () => {
    const seeded = new Random(26);
    const types = [
      16, 18, 20, 23, 700, 869, 1007, 1009, 1082, 1083, 1114, 1186, 1266, 1700, 2950, 3802, 3904,
      3905, 3908, 4451,
    ];
    for (let round = 0; round < scaled(50_000); round += 1) {
      const type = seeded.pick(types);
      const noise = seeded.bytes(seeded.below(30));
      const bytes = seeded.below(2) === 0 ? noise : array(23, [1 + seeded.below(3)], noise);
      assert.equal(typeof formatValue(type, 1, bytes), 'string', `round ${round}`);
    }
  });

  test('shows what is not what its type says as bytes', () => {
    assert.equal(formatValue(23, 1, Buffer.from([1])), '\\x01');
    assert.equal(formatValue(1700, 1, Buffer.from([0xff, 0xff])), '\\xffff');
    assert.equal(
      formatValue(
        1007,
        1,
        Buffer.from('0000000700000000000000170000000100000001', 'hex'),
      ).startsWith('\\x'),
      true,
    );
  });
});
