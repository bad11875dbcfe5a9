import assert from 'node:assert/strict';
import type { LookupAddress, LookupOptions } from 'node:dns';
import { describe, test } from 'node:test';
import { lookupAmong, tryParseAddresses } from '../../sidecar/given-addresses.ts';

describe('addresses that are given with a name', () => {
  const lookup = lookupAmong(['10.96.0.20', 'fd10:96::20']);
  const found = (options: LookupOptions): Promise<string | LookupAddress[] | Error> =>
    new Promise((resolve) =>
      lookup('localhost', options, (error, address) => resolve(error ?? address)),
    );

  test('are all that the name leads to, whatever a hosts file says of it', async () => {
    assert.deepEqual(await found({ all: true }), [
      { address: '10.96.0.20', family: 4 },
      { address: 'fd10:96::20', family: 6 },
    ]);
    assert.equal(await found({}), '10.96.0.20');
  });

  test('are told by family', async () => {
    assert.equal(await found({ family: 6 }), 'fd10:96::20');
    assert.equal(await found({ family: 'IPv4' }), '10.96.0.20');
    const none = lookupAmong(['10.96.0.20']);
    const error = await new Promise((resolve) => none('localhost', { family: 6 }, resolve));
    assert.match(String(error), /localhost has no address/);
  });

  test('are read as they are written, and nothing else is', () => {
    assert.deepEqual(tryParseAddresses('10.96.0.20,fd10:96::20'), ['10.96.0.20', 'fd10:96::20']);
    for (const text of ['', ',', '10.96.0.20,', '10.96.0.20, 10.96.0.21', 'controller', '[::1]'])
      assert.equal(tryParseAddresses(text), undefined, text);
  });
});
