import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { ChaperoneError } from '#core/errors.ts';
import {
  findPassword,
  lookUpPassword,
  parseBackendUrl,
  writeOwnResources,
  type OwnBackend,
} from '../../../cli/dev/own-backend.ts';

const files = mkdtempSync(join(tmpdir(), 'chaperone-own-'));
after(() => rmSync(files, { recursive: true }));
const caFile = join(files, 'ca.pem');
writeFileSync(caFile, 'certificate');

describe('CHAPERONE_BACKEND_URL', () => {
  const off = { mode: 'Disable', ca: undefined } as const;
  const full = { mode: 'VerifyFull', ca: undefined } as const;
  const honest: [url: string, want: OwnBackend][] = [
    ['postgres://ada@localhost/shop', { host: 'localhost', port: 5432, user: 'ada', database: 'shop', tls: off }],
    ['postgresql://ada@127.0.0.1:6543/shop', { host: '127.0.0.1', port: 6543, user: 'ada', database: 'shop', tls: off }],
    ['postgres://ada@[::1]/shop', { host: '::1', port: 5432, user: 'ada', database: 'shop', tls: off }],
    ['postgres://ada@db.example.com', { host: 'db.example.com', port: 5432, user: 'ada', database: 'ada', tls: full }],
    ['postgres://a%40b@db.example.com/my%20shop', { host: 'db.example.com', port: 5432, user: 'a@b', database: 'my shop', tls: full }],
    ['postgres://ada@db/shop?sslmode=require', { host: 'db', port: 5432, user: 'ada', database: 'shop', tls: { mode: 'Require', ca: undefined } }],
    [`postgres://ada@db/shop?sslmode=verify-ca&sslrootcert=${caFile}`, { host: 'db', port: 5432, user: 'ada', database: 'shop', tls: { mode: 'VerifyCA', ca: 'certificate' } }],
    // As libpq: a CA that is named is meant to be used.
    [`postgres://ada@db/shop?sslmode=require&sslrootcert=${caFile}`, { host: 'db', port: 5432, user: 'ada', database: 'shop', tls: { mode: 'VerifyCA', ca: 'certificate' } }],
    ['postgres://ada@127.evil.example/shop', { host: '127.evil.example', port: 5432, user: 'ada', database: 'shop', tls: full }],
    ['postgres://ada@db/shop?sslrootcert=system', { host: 'db', port: 5432, user: 'ada', database: 'shop', tls: full }],
    ['postgres://ada@db/shop?sslmode=disable', { host: 'db', port: 5432, user: 'ada', database: 'shop', tls: off }],
  ]; // prettier-ignore
  for (const [url, want] of honest) {
    test(`is read: ${url.replace(files, '')}`, () => assert.deepEqual(parseBackendUrl(url), want));
  }

  const wrong: [url: string, message: RegExp][] = [
    ['postgres://ada@db/shop?sslmode=verify-ca', /want sslrootcert=FILE/],
    ['postgres://ada@db/shop?sslmode=verify-ca&sslrootcert=system', /want sslmode=verify-full/],
    ['postgres://ada@db/shop?sslmode=require&sslrootcert=system', /want sslmode=verify-full/],
    ['', /want postgres:\/\/USER@HOST:PORT\/DATABASE/],
    ['shop', /want postgres:/],
    ['mysql://ada@db/shop', /want postgres:/],
    ['postgres://db/shop', /want postgres:/],
    ['postgres:///shop', /want postgres:/],
    ['postgres://ada@db:99999/shop', /want postgres:/],
    ['postgres://ada@db:0/shop', /want postgres:/],
    ['postgres://ada@one,two/shop', /want postgres:/],
    ['postgres://ada@db/%zz', /want postgres:/],
    ['postgres://ada@db/sh%00op', /want postgres:/],
    ['postgres://ada@db/shop#part', /want postgres:/],
    ['postgres://ada:s3cret@db/shop', /it holds a password.*take it out.*~\/\.pgpass/],
    ['postgres://ada@db/shop?password=s3cret', /it has the parameter password/],
    ['postgres://ada@db/shop?sslmode=prefer', /sslmode=prefer: want disable, require/],
    ['postgres://ada@db/shop?sslmode=require&sslmode=disable', /sslmode is given twice/],
    [
      'postgres://ada@db/shop?sslrootcert=/nonexistent',
      /sslrootcert: \/nonexistent cannot be read/,
    ],
  ];
  for (const [url, message] of wrong) {
    test(`is refused with a sentence: "${url}"`, () => {
      assert.throws(
        () => parseBackendUrl(url),
        (error) => {
          assert.ok(error instanceof ChaperoneError);
          assert.equal(error.code, 'config-invalid');
          assert.match(error.message, message);
          assert.doesNotMatch(error.message, /s3cret/);
          return true;
        },
      );
    });
  }
});

describe('a password file', () => {
  const backend: OwnBackend = { host: 'db', port: 5432, user: 'ada', database: 'shop', tls: { mode: 'Disable', ca: undefined } }; // prettier-ignore
  const cases: [what: string, text: string, want: string | undefined][] = [
    ['the line that fits', 'other:5432:shop:ada:no\ndb:5432:shop:ada:yes', 'yes'],
    ['the first line that fits', 'db:*:*:*:first\ndb:5432:shop:ada:second', 'first'],
    ['anything where a star is', '*:*:*:*:yes', 'yes'],
    ['no comment', '#db:5432:shop:ada:no', undefined],
    [
      'no other port, database or user',
      'db:1:shop:ada:no\ndb:5432:x:ada:no\ndb:5432:shop:x:no',
      undefined,
    ],
    ['a password with colons, as it stands', 'db:5432:shop:ada:a:b::c', 'a:b::c'],
    ['a password with escapes', String.raw`db:5432:shop:ada:a\:b\\c`, String.raw`a:b\c`],
    ['a password with spaces', 'db:5432:shop:ada: a b ', ' a b '],
    ['a password that begins with a star', 'db:5432:shop:ada:*', '*'],
    ['a line that ends as on Windows', 'db:5432:shop:ada:yes\r\n', 'yes'],
    ['no line that is too short', 'db:5432:shop:ada\ndb', undefined],
    ['no line without a password', 'db:5432:shop:ada:\n', undefined],
    ['no field that is empty for any', ':5432:shop:ada:no', undefined],
  ];
  for (const [what, text, want] of cases) {
    test(`gives ${what}`, () => assert.equal(lookUpPassword(text, backend), want));
  }

  test('gives names with colons, which are escaped there', () => {
    const odd = { ...backend, host: '::1', database: 'a:b\\c' };
    assert.equal(lookUpPassword(String.raw`\:\:1:5432:a\:b\\c:ada:yes`, odd), 'yes');
  });

  test('is that of PGPASSFILE, or of the home directory', async () => {
    const home = join(files, 'home');
    mkdirSync(home);
    writeFileSync(join(home, '.pgpass'), 'db:*:*:*:of home\n', { mode: 0o600 });
    writeFileSync(join(files, 'other'), 'db:*:*:*:of another\n', { mode: 0o600 });
    assert.equal(await findPassword(backend, { HOME: home }), 'of home');
    const env = { HOME: home, PGPASSFILE: join(files, 'other'), PGPASSWORD: 'never' };
    assert.equal(await findPassword(backend, env), 'of another');
  });

  test('is refused when others can read it', async () => {
    const file = join(files, 'open');
    writeFileSync(file, '*:*:*:*:open\n', { mode: 0o644 });
    await assert.rejects(findPassword(backend, { PGPASSFILE: file }), {
      code: 'config-invalid',
      message: /can be read by others: run "chmod 600/,
    });
  });

  test('says what to write where there is nobody to ask', async () => {
    if (process.stdin.isTTY) return; // somebody is
    for (const file of [join(files, 'none'), files]) {
      await assert.rejects(findPassword({ ...backend, host: '::1' }, { PGPASSFILE: file }), {
        code: 'config-invalid',
        message: /add a line "\\:\\:1:5432:shop:ada:PASSWORD" to /,
      });
    }
  });
});

describe('resources of an own backend', () => {
  test('stand beside those of the configuration, whose backends are left out, and edits stay', () => {
    const [config, data] = [join(files, 'config'), join(files, 'data')];
    mkdirSync(config);
    mkdirSync(data);
    writeFileSync(join(config, 'demo.yaml'), 'kind: Backend\nmetadata: {name: shop}\n');
    writeFileSync(join(config, 'policies.yaml'), 'kind: AuditPolicy\n');
    const backend = parseBackendUrl('postgres://ada@[::1]:6543/shop');
    const directory = writeOwnResources(backend, config, data);
    assert.deepEqual(readdirSync(directory).sort(), ['backend.yaml', 'policies.yaml']);
    assert.equal(statSync(directory).mode & 0o777, 0o700);
    assert.match(readFileSync(join(directory, 'backend.yaml'), 'utf8'), /address: "?\[::1\]:6543/);
    writeFileSync(join(directory, 'policies.yaml'), 'edited');
    writeOwnResources(parseBackendUrl('postgres://ada@localhost/shop'), config, data);
    assert.equal(readFileSync(join(directory, 'policies.yaml'), 'utf8'), 'edited');
    assert.match(readFileSync(join(directory, 'backend.yaml'), 'utf8'), /localhost:5432/);
  });
});
