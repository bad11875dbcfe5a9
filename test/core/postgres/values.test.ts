import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client, types } from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { formatValue } from '#core/postgres/values.ts';
import { startInstance, type TestInstance } from '../../support/instance.ts';

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
