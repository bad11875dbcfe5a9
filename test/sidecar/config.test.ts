import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readConfig } from '../../sidecar/config.ts';

const required = {
  CHAPERONE_POD_NAME: 'p',
  CHAPERONE_POD_NAMESPACE: 'n',
  CHAPERONE_SERVICE_ACCOUNT: 's',
  CHAPERONE_CONFIG_DIR: '/c',
  CHAPERONE_SPOOL_DIR: '/s',
  CHAPERONE_COLLECTOR_URL: 'https://collector',
  CHAPERONE_COLLECTOR_CA_FILE: '/ca',
};
const transparent = { ...required, CHAPERONE_MODE: 'transparent' };
const resolver = { CHAPERONE_TRANSPARENT_RESOLVER: '10.96.0.10:53' };

describe('what a sidecar in transparent mode is told', () => {
  test('has a resolver, an address and a port', () => {
    assert.deepEqual(readConfig({ ...transparent, ...resolver }).transparentResolver, { host: '10.96.0.10', port: 53 }); // prettier-ignore
    assert.deepEqual(readConfig({ ...transparent, CHAPERONE_TRANSPARENT_RESOLVER: '[fd10::a]:53' }).transparentResolver, { host: 'fd10::a', port: 53 }); // prettier-ignore
    for (const wrong of ['', 'kube-dns:53', '10.96.0.10', '10.96.0.10:0'])
      assert.throws(
        () => readConfig({ ...transparent, CHAPERONE_TRANSPARENT_RESOLVER: wrong }),
        new RegExp(`CHAPERONE_TRANSPARENT_RESOLVER: got "${wrong}", want address:port`),
      );
    assert.equal(
      readConfig({ ...required, CHAPERONE_MODE: 'explicit' }).transparentResolver,
      'none',
    );
  });

  test('lists domains and networks, and denies metadata by default', () => {
    const config = readConfig({ ...transparent, ...resolver, CHAPERONE_TRANSPARENT_SEARCH_DOMAINS: 'a.svc.cluster.local,cluster.local' }); // prettier-ignore
    assert.deepEqual(config.transparentSearchDomains, ['a.svc.cluster.local', 'cluster.local']);
    assert.ok(config.deniedAddresses.includes('169.254.0.0/16'));
    for (const [name, wrong] of [
      ['CHAPERONE_TRANSPARENT_SEARCH_DOMAINS', 'a,,b'],
      ['CHAPERONE_TRANSPARENT_SEARCH_DOMAINS', '.a'],
      ['CHAPERONE_DENIED_ADDRESSES', 'node-1'],
      ['CHAPERONE_DENIED_ADDRESSES', '10.0.0.0/64'],
    ] as const)
      assert.throws(() => readConfig({ ...transparent, ...resolver, [name]: wrong }), new RegExp(`${name}: got "${wrong}"`)); // prettier-ignore
  });
});
