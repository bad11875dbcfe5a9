import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  isSessionPrefix,
  readStreamLine,
  tryParseAck,
  type BundleMessage,
} from '#core/bundle-message.ts';

const bundle: BundleMessage = {
  type: 'bundle',
  version: 1,
  revision: 'r1',
  workload: { pod: 'p', namespace: 'n', serviceAccount: 's', uid: 'u', labels: { app: 'a' } },
  attachment: 'Namespace',
  resources: [{ kind: 'Backend', metadata: { name: 'b' }, spec: {} }],
  keys: { issuer: [{ kty: 'EC', kid: '1' }] },
  credentials: {
    one: { type: 'Password', username: 'u', password: 'p' },
    two: { type: 'ClientCertificate', username: 'u', certificate: 'c', key: 'k' },
  },
  network: { resolver: '10.96.0.10:53', searchDomains: ['svc'], deniedAddresses: ['10.0.0.0/8'] },
  authorities: { controller: 'one', collector: 'two' },
};

describe('a line of the stream', () => {
  test('comes back as what it was written of', () => {
    for (const message of [bundle, { type: 'kill', session: '01234567-89ab' }, { type: 'ping' }])
      assert.deepEqual(readStreamLine(JSON.stringify(message)), { kind: 'message', message });
  });

  test('of a kind that a later version sends is passed over', () => {
    assert.deepEqual(readStreamLine('{"type":"approval","id":1}'), { kind: 'unknown' });
  });

  test('that is no message is malformed, and no error has what it holds', () => {
    for (const line of ['', '{', 'null', '[]', '1', '{}', '{"type":1}', '{"type":"kill"}', '{"type":"kill","session":"ab"}'])
      assert.deepEqual(readStreamLine(line), { kind: 'malformed' }, line);
  }); // prettier-ignore

  test('that lacks a part of a bundle, or has it otherwise, is malformed', () => {
    for (const name of Object.keys(bundle).filter((each) => each !== 'type'))
      for (const value of [undefined, null, 1, '', { a: null }, [null]])
        assert.deepEqual(
          readStreamLine(JSON.stringify({ ...bundle, [name]: value })).kind,
          name === 'version' && value === 1 ? 'message' : 'malformed',
          `${name} ${JSON.stringify(value)}`,
        );
    for (const credential of [{}, { type: 'Password', username: 'u' }, { type: 'Token', token: 't' }])
      assert.equal(readStreamLine(JSON.stringify({ ...bundle, credentials: { c: credential } })).kind, 'malformed'); // prettier-ignore
  }); // prettier-ignore

  test('that names a credential as objects have their prototype has one of that name', () => {
    const line = JSON.stringify(bundle).replace('"one":{', '"__proto__":{');
    const read = readStreamLine(line);
    assert.ok(read.kind === 'message' && read.message.type === 'bundle');
    assert.deepEqual(Object.keys(read.message.credentials), ['__proto__', 'two']);
  });
});

test('a session is named by so much of its id that the moment is in it', () => {
  const id = '0190a1b2-c3d4-7000-8000-0123456789ab';
  for (const length of [13, 14, 20, 36]) assert.ok(isSessionPrefix(id.slice(0, length)));
  for (const bad of [id.slice(0, 12), '', `${id}0`, id.toUpperCase(), undefined, `${id.slice(0, 13)}*`])
    assert.ok(!isSessionPrefix(bad), String(bad)); // prettier-ignore
}); // prettier-ignore

test('an acknowledgement is bounded in all that it says', () => {
  const ack = { revision: 'r', accepted: false, problems: [{ path: 'spec', message: 'bad' }] };
  assert.deepEqual(tryParseAck({ ...ack, more: 1 }), ack);
  const many = Array.from({ length: 101 }, () => ({ path: '', message: '' }));
  for (const bad of [
    null, [], {}, { ...ack, revision: 'x'.repeat(65) }, { ...ack, accepted: 1 }, { ...ack, problems: many },
    { ...ack, problems: [{ path: '', message: 'x'.repeat(1025) }] }, { ...ack, problems: ['bad'] },
  ])
    assert.equal(tryParseAck(bad), undefined); // prettier-ignore
}); // prettier-ignore
