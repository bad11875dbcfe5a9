import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loadCollectorKey, makeCollectorKey } from '../../collector/key.ts';

describe('the collector’s key', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'chaperone-key-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  test('is made once, for its owner alone, with its public half beside it', () => {
    const file = join(directory, 'made');
    const key = loadCollectorKey(file);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.ok(createPublicKey(readFileSync(`${file}.pub`)).equals(createPublicKey(key)));
    assert.ok(loadCollectorKey(file).equals(key));
  });

  test('gets its public half again where that is missing', () => {
    const file = join(directory, 'made');
    rmSync(`${file}.pub`);
    const key = loadCollectorKey(file);
    assert.ok(createPublicKey(readFileSync(`${file}.pub`)).equals(createPublicKey(key)));
  });

  test('is refused where it is not one, or not private', () => {
    const file = join(directory, 'other');
    const write = (key: ReturnType<typeof generateKeyPairSync>['privateKey']): void =>
      writeFileSync(file, key.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    const refused = (why: RegExp): void =>
      assert.throws(() => loadCollectorKey(file), (error) => error instanceof Error && why.test(error.message)); // prettier-ignore
    writeFileSync(file, 'nonsense', { mode: 0o600 });
    refused(/cannot be used/);
    write(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
    refused(/holds no Ed25519 key/);
    write(generateKeyPairSync('ed25519').privateKey);
    chmodSync(file, 0o644);
    refused(/is open to everybody/);
    chmodSync(file, 0o600);
    loadCollectorKey(file);
    write(generateKeyPairSync('ed25519').privateKey);
    refused(/not the private half/);
    assert.throws(() => loadCollectorKey(join(directory, 'no/such/place')), /cannot be used/);
  });

  test('that was given is used as it is, never made, and nothing is written beside it', () => {
    const file = join(directory, 'given.pem');
    assert.throws(
      () => loadCollectorKey(file, 'given'),
      /cannot be used: want an Ed25519 key in PKCS8 PEM$/,
    );
    writeFileSync(file, makeCollectorKey(), { mode: 0o440 });
    assert.equal(loadCollectorKey(file, 'given').asymmetricKeyType, 'ed25519');
    assert.throws(() => statSync(`${file}.pub`), /ENOENT/);
  });
});
