import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { before, describe, test } from 'node:test';
import { exportJWK, exportSPKI, generateKeyPair, SignJWT, type JWTPayload } from 'jose';
import { verifyToken } from '#core/identity/token.ts';
import type { ProviderKeys } from '#core/policy/resolve.ts';

const now = 1_800_000_000;
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('verifyToken', () => {
  let own: Awaited<ReturnType<typeof generateKeyPair>>;
  let foreign: Awaited<ReturnType<typeof generateKeyPair>>;
  let providers: ProviderKeys[];
  let publicPem = '';
  before(async () => {
    own = await generateKeyPair('ES256', { extractable: true });
    foreign = await generateKeyPair('ES256', { extractable: true });
    publicPem = await exportSPKI(own.publicKey);
    const jwk = await exportJWK(own.publicKey);
    const other = await exportJWK(foreign.publicKey);
    const claims = { user: 'sub', groups: 'groups', onBehalfOf: 'act.sub' };
    const common = { audiences: ['chaperone'], jwksUri: undefined, claims };
    providers = [
      {
        ...common,
        name: 'one',
        issuer: 'https://one.example',
        keys: [{ ...jwk, kid: 'k1', alg: 'ES256' }],
      },
      {
        ...common,
        name: 'two',
        issuer: 'https://two.example',
        keys: [{ ...other, kid: 'k2', alg: 'ES256' }],
      },
    ];
  });

  const honest: JWTPayload = {
    iss: 'https://one.example',
    aud: 'chaperone',
    sub: 'ann',
    exp: now + 60,
    groups: ['a'],
  };
  const sign = (
    payload: JWTPayload,
    header: Record<string, unknown> = {},
    key = own.privateKey,
  ): Promise<string> =>
    new SignJWT(payload).setProtectedHeader({ alg: 'ES256', kid: 'k1', ...header }).sign(key);

  test('takes who, groups and on whose behalf from an honest token', async () => {
    const verdict = await verifyToken(
      await sign({ ...honest, act: { sub: 'bob' } }),
      providers,
      now,
    );
    assert.deepEqual(verdict, {
      ok: true,
      principal: {
        kind: 'token', provider: 'one', issuer: 'https://one.example', user: 'ann', groups: ['a'], onBehalfOf: 'bob', expiresAt: now + 60,
      },
    }); // prettier-ignore
  });

  test('takes an audience out of several', async () => {
    assert.equal(
      (await verifyToken(await sign({ ...honest, aud: ['x', 'chaperone'] }), providers, now)).ok,
      true,
    );
  });

  const { exp: _exp, ...endless } = honest;
  const { aud: _aud, ...unaddressed } = honest;
  const claims: [what: string, payload: JWTPayload, reason: string][] = [
    ['has expired', { ...honest, exp: now - 60 }, 'expired'],
    ['expires never', endless, 'bad-claims'],
    ['is not valid yet', { ...honest, nbf: now + 60 }, 'not-yet-valid'],
    ['is for another audience', { ...honest, aud: 'another' }, 'wrong-audience'],
    ['is for nobody', unaddressed, 'wrong-audience'],
    ['is of an unknown issuer', { ...honest, iss: 'https://evil.example' }, 'unknown-issuer'],
    [
      'is of an issuer that only begins like a known one',
      { ...honest, iss: 'https://one.example/' },
      'unknown-issuer',
    ],
    ['names another issuer than its key', { ...honest, iss: 'https://two.example' }, 'unknown-key'],
    ['has no user', { ...honest, sub: '' }, 'bad-claims'],
    ['has a user with a line break', { ...honest, sub: 'ann\nroot' }, 'bad-claims'],
    ['has a user that reorders text', { ...honest, sub: 'ann\u202etoor' }, 'bad-claims'],
    ['has a user of a megabyte', { ...honest, sub: 'x'.repeat(20_000) }, 'bad-claims'],
    ['has groups that are no list', { ...honest, groups: 'admins' }, 'bad-claims'],
    ['has a group that is no text', { ...honest, groups: ['a', 1] }, 'bad-claims'],
    [
      'has too many groups',
      { ...honest, groups: Array.from({ length: 1_000 }, (_, i) => `g${i}`) },
      'bad-claims',
    ],
    ['acts for somebody without a name', { ...honest, act: { sub: 1 } }, 'bad-claims'],
  ];
  for (const [what, payload, reason] of claims) {
    test(`refuses a token that ${what}`, async () => {
      const verdict = await verifyToken(await sign(payload), providers, now);
      assert.equal(verdict.ok === false && verdict.reason, reason);
    });
  }

  test('refuses a token without a signature', async () => {
    for (const alg of ['none', 'None', 'NONE']) {
      const verdict = await verifyToken(`${encode({ alg })}.${encode(honest)}.`, providers, now);
      assert.equal(verdict.ok === false && verdict.reason, 'bad-algorithm');
    }
  });

  test('refuses a token signed with the public key as a shared secret', async () => {
    const content = `${encode({ alg: 'HS256', kid: 'k1' })}.${encode(honest)}`;
    const signature = createHmac('sha256', publicPem).update(content).digest('base64url');
    const verdict = await verifyToken(`${content}.${signature}`, providers, now);
    assert.equal(verdict.ok === false && verdict.reason, 'bad-algorithm');
  });

  test('refuses a token that brings its own key', async () => {
    const jwk = await exportJWK(foreign.publicKey);
    const verdict = await verifyToken(
      await sign(honest, { jwk }, foreign.privateKey),
      providers,
      now,
    );
    assert.equal(verdict.ok === false && verdict.reason, 'bad-signature');
  });

  test('refuses a token with an extension that must be understood', async () => {
    const content = `${encode({ alg: 'ES256', kid: 'k1', crit: ['x'], x: 1 })}.${encode(honest)}`;
    assert.equal((await verifyToken(`${content}.AAAA`, providers, now)).ok, false);
  });

  test('refuses a token whose content was changed', async () => {
    const [header, , signature] = (await sign(honest)).split('.');
    const verdict = await verifyToken(
      `${header}.${encode({ ...honest, sub: 'root' })}.${signature}`,
      providers,
      now,
    );
    assert.equal(verdict.ok === false && verdict.reason, 'bad-signature');
  });

  test('names the provider whose keys lack the one that signed', async () => {
    const verdict = await verifyToken(await sign(honest, { kid: 'new' }), providers, now);
    assert.deepEqual(verdict, { ok: false, reason: 'unknown-key', unknownKeyOf: 'one' });
  });

  for (const text of [
    '',
    '.',
    '..',
    'a.b.c',
    'x'.repeat(100_000),
    `${encode({})}.${encode({})}.`,
    'null.null.null',
  ]) {
    test(`refuses what is no token: ${text.slice(0, 20)}`, async () => {
      assert.equal((await verifyToken(text, providers, now)).ok, false);
    });
  }
});
