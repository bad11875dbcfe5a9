import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { loginFromFile } from '../../../collector/store/login.ts';

describe('the login from a file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-login-'));
  const file = join(directory, 'url');
  after(() => rmSync(directory, { recursive: true }));
  const login = (url: string): ReturnType<typeof loginFromFile> => {
    writeFileSync(file, url);
    return loginFromFile(file);
  };

  test('is that of the URL, a line’s end and all that is encoded left out', () => {
    const { host, port, user, password, database } = login(
      'postgres://store:p%40ss%2Fword@db.example:6432/chaperone\n',
    )();
    assert.deepEqual(
      [host, port, user, password, database],
      ['db.example', 6432, 'store', 'p@ss/word', 'chaperone'],
    );
  });

  test('has the TLS that libpq would take by its sslmode', () => {
    writeFileSync(join(directory, 'ca.crt'), 'CA');
    const ssl = (parameters: string): unknown => {
      const given = login(`postgresql://u@h/d${parameters}`)().ssl;
      if (typeof given !== 'object') return given;
      const { ca, rejectUnauthorized = true, checkServerIdentity } = given;
      return { ca, verifies: rejectUnauthorized, anyName: checkServerIdentity !== undefined };
    };
    const ca = `sslrootcert=${directory}/ca.crt`;
    assert.equal(ssl(''), undefined);
    assert.equal(ssl('?sslmode=disable'), false);
    assert.deepEqual(ssl('?sslmode=require'), { ca: undefined, verifies: false, anyName: false });
    assert.deepEqual(ssl(`?sslmode=require&${ca}`), { ca: 'CA', verifies: true, anyName: true });
    assert.deepEqual(ssl(`?sslmode=verify-ca&${ca}`), { ca: 'CA', verifies: true, anyName: true });
    assert.deepEqual(ssl(`?sslmode=verify-full&${ca}`), { ca: 'CA', verifies: true, anyName: false }); // prettier-ignore
    assert.deepEqual(ssl('?sslmode=verify-full&sslrootcert=system'), { ca: undefined, verifies: true, anyName: false }); // prettier-ignore
  });

  test('is refused where it cannot be used, without a word of the URL', () => {
    const mistakes: readonly [url: string, why: RegExp][] = [
      ['', /holds no postgres:\/\/ URL/],
      ['secret', /holds no postgres:\/\/ URL/],
      ['https://u:secret@h/d', /holds no postgres:\/\/ URL/],
      ['postgres://u:secret@h/d?sslmode=prefer', /sslmode that is none of/],
      ['postgres://u:secret@h/d?sslmode=verify-ca', /wants an sslrootcert/],
      ['postgres://u:secret@h/d?sslmode=require&sslrootcert=system', /wants sslmode=verify-full/],
      ['postgres://u:secret@h/d?sslmode=verify-full&sslrootcert=/secret', /ENOENT/],
    ];
    for (const [url, why] of mistakes) {
      assert.throws(
        () => login(url),
        (error) => error instanceof Error && why.test(error.message) && !error.message.includes('secret'), // prettier-ignore
        url,
      );
    }
    assert.throws(() => loginFromFile(join(directory, 'none')), /ENOENT/);
  });

  test('follows the file, and stays what it was while the file holds none', () => {
    const current = login('postgres://u:first@h/d');
    writeFileSync(file, 'postgres://u:second@h/d');
    assert.equal(current().password, 'second');
    for (const text of ['', 'postgres://u:third@h/d?sslmode=verify-full&sslrootcert=/none']) {
      writeFileSync(file, text);
      assert.equal(current().password, 'second');
    }
    rmSync(file);
    assert.equal(current().password, 'second');
  });
});
