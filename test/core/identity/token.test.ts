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
    ['has a user with half a character', { ...honest, sub: 'ann\ud800' }, 'bad-claims'],
    ['has a user with a line separator', { ...honest, sub: 'ann\u2028root' }, 'bad-claims'],
    ['has a user with NUL', { ...honest, sub: 'ann\0' }, 'bad-claims'],
    ['has a user that is too long', { ...honest, sub: 'x'.repeat(257) }, 'bad-claims'],
    ['has a user that is a number', { ...honest, sub: 1 as never }, 'bad-claims'],
    ['has a user that is a list', { ...honest, sub: ['ann'] as never }, 'bad-claims'],
    ['expires at a text', { ...honest, exp: '9999999999' as never }, 'bad-claims'],
    ['has no issuer', { ...honest, iss: undefined as never }, 'unknown-issuer'],
    ['has a list of issuers', { ...honest, iss: [honest.iss] as never }, 'unknown-issuer'],
    ['has an audience that is a mapping', { ...honest, aud: {} as never }, 'wrong-audience'],
    ['has an audience in other letters', { ...honest, aud: 'Chaperone' }, 'wrong-audience'],
    ['is longer than any honest one', { ...honest, extra: 'x'.repeat(16_384) }, 'too-long'],
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

  for (const typ of ['logout+jwt', 'dpop+jwt', 'secevent+jwt', '']) {
    test(`refuses a token of type "${typ}", which was made for another purpose`, async () => {
      const verdict = await verifyToken(await sign(honest, { typ }), providers, now);
      assert.equal(verdict.ok === false && verdict.reason, 'wrong-type');
    });
  }

  test('takes identity and access tokens, however they write their type', async () => {
    for (const typ of ['JWT', 'jwt', 'at+jwt', 'application/at+jwt']) {
      assert.equal((await verifyToken(await sign(honest, { typ }), providers, now)).ok, true);
    }
  });

  test('allows for clocks that differ by seconds, and not by more', async () => {
    const at = async (payload: JWTPayload) =>
      (await verifyToken(await sign(payload), providers, now)).ok;
    assert.equal(await at({ ...honest, exp: now - 4 }), true);
    assert.equal(await at({ ...honest, exp: now - 5 }), false);
    assert.equal(await at({ ...honest, nbf: now + 5 }), true);
    assert.equal(await at({ ...honest, nbf: now + 6 }), false);
  });

  test('does not try one key after the other for a token that names none', async () => {
    const keys = providers
      .flatMap((provider) => provider.keys)
      .map((key) => ({ ...key, kid: 'k' }));
    const ambiguous = providers.map((provider) => ({ ...provider, keys }));
    const verdict = await verifyToken(await sign(honest, { kid: 'k' }), ambiguous, now);
    assert.deepEqual(verdict, { ok: false, reason: 'ambiguous-key' });
  });

  test('reads the last of duplicated claims, as the signer’s own parser would (RFC 7519, 4)', async () => {
    const content = [
      encode({ alg: 'ES256', kid: 'k1' }),
      Buffer.from(
        `{"iss":"https://two.example","sub":"root","aud":"chaperone","exp":${now + 60},"iss":"https://one.example","sub":"ann"}`,
      ).toString('base64url'),
    ].join('.');
    const signature = await crypto.subtle.sign(
      { name: 'ECDSA', hash: 'SHA-256' },
      own.privateKey,
      Buffer.from(content),
    );
    const token = `${content}.${Buffer.from(signature).toString('base64url')}`;
    const verdict = await verifyToken(token, providers, now);
    assert.deepEqual(verdict.ok && [verdict.principal.provider, verdict.principal.user], [
      'one',
      'ann',
    ]);
  });

  for (const [what, header] of [
    ['a place to fetch the key from', { jku: 'https://evil.example/keys' }],
    ['a certificate to fetch', { x5u: 'https://evil.example/cert' }],
    ['certificates', { x5c: ['AAAA'] }],
  ] as const) {
    test(`does not follow a token that offers ${what}`, async () => {
      const forged = await sign(honest, header, foreign.privateKey);
      const verdict = await verifyToken(forged, providers, now);
      assert.equal(verdict.ok === false && verdict.reason, 'bad-signature');
      assert.equal((await verifyToken(await sign(honest, header), providers, now)).ok, true);
    });
  }

  test('refuses a token with unencoded payload (RFC 7797)', async () => {
    const content = `${encode({ alg: 'ES256', kid: 'k1', b64: false, crit: ['b64'] })}.${encode(honest)}`;
    const signature = await crypto.subtle.sign(
      { name: 'ECDSA', hash: 'SHA-256' },
      own.privateKey,
      Buffer.from(content),
    );
    const token = `${content}.${Buffer.from(signature).toString('base64url')}`;
    assert.equal((await verifyToken(token, providers, now)).ok, false);
  });

  test('refuses another algorithm than the key is for', async () => {
    const rsa = await generateKeyPair('RS256', { extractable: true });
    const keys = [{ ...(await exportJWK(rsa.publicKey)), kid: 'k1', alg: 'RS256' }];
    const one = providers.map((provider) => ({ ...provider, keys }));
    const signed = (alg: string, key = rsa.privateKey) =>
      new SignJWT(honest).setProtectedHeader({ alg, kid: 'k1' }).sign(key);
    assert.equal((await verifyToken(await signed('RS256'), one, now)).ok, true);
    assert.equal((await verifyToken(await signed('ES256', own.privateKey), one, now)).ok, false);
  });

  test('reads claims at the paths that the provider gives, and never from a prototype', async () => {
    const claims = { user: 'identity.mail', groups: 'realm.roles', onBehalfOf: undefined };
    const mapped = providers.map((provider) => ({ ...provider, claims }));
    const payload = { ...honest, identity: { mail: 'a@b.example' }, realm: { roles: ['r'] } };
    const verdict = await verifyToken(await sign(payload), mapped, now);
    assert.deepEqual(verdict.ok && [verdict.principal.user, verdict.principal.groups], [
      'a@b.example',
      ['r'],
    ]);
    const inherited = { ...claims, user: 'constructor.name' };
    const hostile = providers.map((provider) => ({ ...provider, claims: inherited }));
    assert.equal((await verifyToken(await sign(honest), hostile, now)).ok, false);
  });

  test('knows nobody without providers or without keys', async () => {
    const token = await sign(honest);
    const keyless = providers.map((provider) => ({ ...provider, keys: [] }));
    assert.deepEqual(await verifyToken(token, [], now), { ok: false, reason: 'unknown-issuer' });
    assert.deepEqual(await verifyToken(token, keyless, now), {
      ok: false,
      reason: 'unknown-key',
      unknownKeyOf: 'one',
    });
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
