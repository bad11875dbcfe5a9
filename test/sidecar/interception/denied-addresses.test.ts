import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  DeniedAddresses,
  tryParseNetworks,
} from '../../../sidecar/interception/denied-addresses.ts';
import { shop } from '../../support/policies.ts';

describe('addresses that nothing is sent to', () => {
  const denied = new DeniedAddresses(['169.254.0.0/16', 'fd00:ec2::254', '10.0.0.1']);

  test('are those that were named, and this machine', () => {
    for (const address of ['169.254.169.254', 'fd00:ec2::254', '10.0.0.1', '127.0.0.1', '127.9.9.9', '::1', '0.0.0.0', '::', '::ffff:169.254.169.254', '::ffff:127.0.0.1'])
      assert.equal(denied.has(address, 5432), true, address);
    for (const address of ['10.0.0.2', '169.253.0.1', 'fd00:ec2::255', '::ffff:10.0.0.2'])
      assert.equal(denied.has(address, 5432), false, address);
  }); // prettier-ignore

  test('are not those that a Backend names itself, as long as it does', () => {
    const backend = { ...shop, hosts: ['169.254.169.254'], upstream: { ...shop.upstream, host: 'FD00:ec2::254' } }; // prettier-ignore
    denied.apply([backend]);
    assert.equal(denied.has('169.254.169.254', 5432), false);
    assert.equal(denied.has('fd00:ec2::254', 5432), false);
    assert.equal(denied.has('169.254.169.253', 5432), true);
    denied.apply([shop]);
    assert.equal(denied.has('169.254.169.254', 5432), true);
  });

  test('are so at every port but those that a Backend names with them', () => {
    const node = { ...shop, hosts: ['node-db'], ports: [6432], upstream: { ...shop.upstream, host: '10.0.0.1', port: 5432 } }; // prettier-ignore
    denied.apply([node]);
    for (const port of [5432, 6432]) assert.equal(denied.has('10.0.0.1', port), false, `${port}`);
    assert.equal(denied.has('10.0.0.1', 10250), true, 'the kubelet beside the database');
    denied.apply([{ ...node, hosts: ['169.254.169.254'] }]);
    assert.equal(denied.has('169.254.169.254', 6432), false);
    assert.equal(denied.has('169.254.169.254', 80), true);
  });

  test('take in what is no address', () => {
    assert.equal(denied.has('example.com', 5432), true);
  });
});

test('networks are read as they are written, and nothing else is', () => {
  assert.deepEqual(tryParseNetworks(''), []);
  assert.deepEqual(tryParseNetworks('10.0.0.0/8,::1,fe80::/10'), ['10.0.0.0/8', '::1', 'fe80::/10']);
  for (const text of [',', '10.0.0.0/33', 'fe80::/129', 'example.com', '10.0.0/8', '10.0.0.1/', '10.0.0.1 '])
    assert.equal(tryParseNetworks(text), undefined, text);
}); // prettier-ignore
