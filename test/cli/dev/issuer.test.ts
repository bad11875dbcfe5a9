import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startDemoIssuer, type DemoIssuer } from '../../../cli/dev/issuer.ts';

describe('the issuer of the demo', () => {
  let issuer: DemoIssuer;
  before(async () => {
    issuer = await startDemoIssuer();
  });
  after(() => issuer.stop());

  const status = async (url: string): Promise<number> => (await fetch(url)).status;

  test('gives tokens to who knows its token URL alone', async () => {
    assert.equal(await status(issuer.tokenUrl), 200);
    const origin = new URL(issuer.tokenUrl).origin;
    for (const path of ['/token', '/token/', `/token/${'a'.repeat(43)}`])
      assert.equal(await status(`${origin}${path}?sub=admin`), 404, path);
  });

  test('says nothing of the token URL to who asks for its keys', async () => {
    const origin = new URL(issuer.tokenUrl).origin;
    for (const path of ['/.well-known/openid-configuration', '/jwks.json']) {
      const text = await (await fetch(`${origin}${path}`)).text();
      assert.match(text, /jwks|keys/);
      assert.equal(text.includes('token/'), false);
    }
  });
});
