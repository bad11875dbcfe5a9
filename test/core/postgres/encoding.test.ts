import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { isSameEncoding, textDecoder } from '#core/postgres/encoding.ts';
import { startBackendServer, type BackendServer } from '../../support/backend-server.ts';

const read = [
  'UTF8', 'LATIN1', 'LATIN2', 'LATIN3', 'LATIN4', 'LATIN5', 'LATIN6', 'LATIN7', 'LATIN8', 'LATIN9', 'LATIN10',
  'ISO_8859_5', 'ISO_8859_6', 'ISO_8859_7', 'ISO_8859_8', 'WIN1250', 'WIN1251', 'WIN1252', 'WIN1253', 'WIN1254',
  'WIN1255', 'WIN1256', 'WIN1257', 'WIN1258', 'WIN866', 'WIN874', 'KOI8R', 'KOI8U', 'EUC_JP', 'EUC_KR', 'EUC_CN',
  'GBK', 'SJIS',
]; // prettier-ignore
const notRead = ['BIG5', 'UHC', 'GB18030', 'JOHAB', 'EUC_TW', 'EUC_JIS_2004', 'SHIFT_JIS_2004'];

describe('text of a client_encoding', () => {
  let server: BackendServer;
  let client: Client;
  before(async () => {
    server = await startBackendServer({ version: 18 });
    client = new Client({ ...server, database: 'postgres' });
    await client.connect();
    await client.query(`
      CREATE FUNCTION pg_temp.encoded(code int, encoding name) RETURNS bytea LANGUAGE plpgsql AS
        $$ BEGIN RETURN convert_to(chr(code), encoding); EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$;
      CREATE FUNCTION pg_temp.decoded(bytes bytea, encoding name) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN RETURN convert_from(bytes, encoding); EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$`);
  });
  after(async () => {
    await client.end();
    await server[Symbol.asyncDispose]();
  });

  /** Every character that an encoding has, with what the server reads its bytes as. */
  async function characters(encoding: string): Promise<{ bytes: Buffer; text: string }[]> {
    const { rows } = await client.query<{ bytes: Buffer; text: string }>(
      `SELECT bytes, coalesce(pg_temp.decoded(bytes, $1), chr(code)) AS text
       FROM (SELECT code, pg_temp.encoded(code, $1) AS bytes
             FROM generate_series(1, 65535) code WHERE code NOT BETWEEN 55296 AND 57343) e
       WHERE bytes IS NOT NULL`,
      [encoding],
    );
    return rows;
  }

  for (const encoding of read) {
    test(`is read as the server reads it, or shown as bytes: ${encoding}`, async () => {
      const decode = textDecoder(encoding);
      const all = await characters(encoding);
      let shownAsBytes = 0;
      for (const { bytes, text } of all) {
        const shown = decode(bytes);
        if (shown.startsWith('\\x')) shownAsBytes += 1;
        else assert.equal(shown, text, bytes.toString('hex'));
      }
      assert.ok(shownAsBytes <= all.length / 50, `${shownAsBytes} of ${all.length}`);
    });
  }

  for (const encoding of notRead) {
    test(`is shown as bytes but for ASCII: ${encoding}`, () => {
      const decode = textDecoder(encoding);
      assert.equal(decode(Buffer.from('SELECT 1')), 'SELECT 1');
      assert.equal(decode(Buffer.from([0x41, 0x81, 0x5c])), '\\x41815c');
    });
  }

  test('shows the bytes that cannot be in it', () => {
    const bytes = Buffer.from([0x61, 0xe9, 0x62]);
    assert.equal(textDecoder('UTF8')(bytes), 'a\\xe9b');
    assert.equal(textDecoder('SQL_ASCII')(bytes), 'a\\xe9b');
    assert.equal(textDecoder('SJIS')(Buffer.from([0x61, 0x81])), '\\x6181'); // 0x5c may be half a character there
  });

  test('goes by the names that PostgreSQL takes', () => {
    assert.ok(isSameEncoding('iso-8859-1', 'LATIN1'));
    assert.ok(isSameEncoding('utf-8', 'Unicode'));
    assert.ok(isSameEncoding('Shift_JIS', 'SJIS'));
    assert.ok(!isSameEncoding('LATIN1', 'LATIN9'));
  });
});
