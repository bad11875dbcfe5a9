import assert from 'node:assert/strict';
import { mkdtempDisposableSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { UnsecuredJWT } from 'jose';
import { apiAudiences } from '../../webhook/api-audiences.ts';

test('the audiences of the API server are those of a pod’s own token, and none outside of a cluster', () => {
  using directory = mkdtempDisposableSync(join(tmpdir(), 'chaperone-test-'));
  const file = join(directory.path, 'token');
  assert.deepEqual(apiAudiences(file), []);
  for (const [audience, found] of [
    ['https://kubernetes.default.svc', ['https://kubernetes.default.svc']],
    [
      ['https://kubernetes.default.svc', 'k3s'],
      ['https://kubernetes.default.svc', 'k3s'],
    ],
  ] as const) {
    writeFileSync(file, `${new UnsecuredJWT().setAudience(audience as string).encode()}\n`);
    assert.deepEqual(apiAudiences(file), found);
  }
  assert.throws(() => apiAudiences(directory.path), { code: 'EISDIR' });
  for (const text of ['', 'no token', new UnsecuredJWT().encode()]) {
    writeFileSync(file, text);
    assert.throws(() => apiAudiences(file), { name: 'JWTInvalid' });
  }
});
