import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  addressIn,
  clusterAddresses,
  serviceOf,
  tryParseServerUrl,
} from '../../webhook/own-service.ts';

describe('the URL of a server of ours', () => {
  test('names a Service, or has an address', () => {
    const url = tryParseServerUrl('https://chaperone-controller.chaperone-system.svc:443');
    assert.ok(url);
    assert.deepEqual(serviceOf(url), { name: 'chaperone-controller', namespace: 'chaperone-system' }); // prettier-ignore
    assert.equal(addressIn(url), undefined);
    for (const [text, address] of [
      ['https://10.0.0.1:8443', '10.0.0.1'],
      ['https://[fd10::1]', 'fd10::1'],
    ] as const) {
      const plain = tryParseServerUrl(text) ?? assert.fail(text);
      assert.equal(addressIn(plain), address);
      assert.equal(serviceOf(plain), undefined);
    }
  });

  test('is none whose address somebody would have to look up', () => {
    for (const text of ['https://controller', 'https://controller.example.com', 'http://a.b.svc', 'https://a.b.svc.cluster.local', 'https://a.b.c.svc', 'https://.svc', ''])
      assert.equal(tryParseServerUrl(text), undefined, text);
  }); // prettier-ignore
});

test('a Service has the addresses that the cluster gave it, and a headless one none', () => {
  const clusterIPs = ['10.96.0.20', 'fd10:96::20'];
  assert.deepEqual(clusterAddresses({ clusterIP: '10.96.0.20', clusterIPs }), clusterIPs);
  for (const spec of [
    { clusterIPs: ['None'] },
    { externalName: 'example.com' },
    {},
    undefined,
    { clusterIPs: 'x' },
  ])
    // prettier-ignore
    assert.deepEqual(clusterAddresses(spec), []);
});
