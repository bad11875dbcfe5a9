import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rootCertificates } from 'node:tls';
import type { BundleMessage } from '#core/bundle-message.ts';
import { judgeBundle } from '../../sidecar/received-bundle.ts';
import { bundleLine } from '../support/peer-controller.ts';

const orders = {
  apiVersion: 'chaperone.dev/v1alpha1',
  kind: 'Backend',
  metadata: { name: 'orders' },
  spec: {
    protocol: 'Postgres',
    hosts: ['orders-db'],
    ports: [5432],
    upstream: { address: 'orders.example.com:5432', tls: { mode: 'Disable' } },
    credential: { type: 'Password', secretRef: { name: 'orders' } },
    consumers: [{ namespace: 'agents' }],
  },
};
const login = { type: 'Password', username: 'u', password: 'of nobody else' } as const;
const [ca = ''] = rootCertificates;

const whole = JSON.parse(
  bundleLine({ ca }, { resources: [orders], credentials: { orders: login } }),
) as BundleMessage; // as it was written

test('a bundle that holds together has what was sent, and no more', () => {
  const { bundle, problems } = judgeBundle(whole);
  assert.equal(problems, undefined);
  assert.deepEqual([...(bundle?.backends.keys() ?? [])], ['orders']);
  assert.equal(bundle?.policy, undefined);
});

const { authorities, network } = whole;
const wrong: Readonly<Record<string, [change: Partial<BundleMessage>, problem: RegExp]>> = {
  'names a credential that it does not bring': [{ credentials: {} }, /^Backend\/orders: spec\.credential/],
  'brings a credential of another type': [{ credentials: { orders: { type: 'ClientCertificate', username: 'u', certificate: 'c', key: 'k' } } }, /^Backend\/orders: spec\.credential/],
  'has a resource that cannot be read': [{ resources: [{ ...orders, spec: {} }] }, /^Backend: spec/],
  'has a resource of no kind': [{ resources: [{ apiVersion: orders.apiVersion }] }, /^a resource: /],
  'has the same resource twice': [{ resources: [orders, orders] }, /^Backend\/orders: /],
  // For TLS it would stand for all public authorities.
  'has an empty authority': [{ authorities: { ...authorities, controller: '' } }, /^authorities\.controller want/],
  'has an authority that is none': [{ authorities: { ...authorities, collector: 'PEM' } }, /^authorities\.collector want/],
  'names its resolver by a name': [{ network: { ...network, resolver: 'dns:53' } }, /^network\.resolver want/],
  'denies what is no network': [{ network: { ...network, deniedAddresses: ['::/200'] } }, /^network\.deniedAddresses want/],
}; // prettier-ignore
for (const [what, [change, problem]] of Object.entries(wrong))
  test(`a bundle that ${what} is refused with the place, and nothing secret is said`, () => {
    const { bundle, problems = [] } = judgeBundle({ ...whole, ...change });
    assert.equal(bundle, undefined);
    assert.match(problems.map(({ path, message }) => `${path} ${message}`).join('\n'), problem);
    assert.ok(!JSON.stringify(problems).includes(login.password));
  });

test('of a bundle with many mistakes as many are told as an answer may hold', () => {
  const resources = Array.from({ length: 300 }, () => ({ kind: 'x'.repeat(10_000) }));
  const { problems = [] } = judgeBundle({ ...whole, resources });
  assert.equal(problems.length, 100);
  assert.ok(problems.every(({ path, message }) => path.length <= 1_024 && message.length <= 1_024));
});
