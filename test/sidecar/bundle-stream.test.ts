import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { maxLineBytes, silenceMs, type BundleMessage } from '#core/bundle-message.ts';
import type { Bundle } from '#core/policy/resolve.ts';
import type { Problem } from '#core/policy/resources.ts';
import { createLocalCa } from '../../cli/dev/certificates.ts';
import { BundleStream } from '../../sidecar/bundle-stream.ts';
import { bundleMessage, startPeerController } from '../support/peer-controller.ts'; // prettier-ignore
import { until } from '../support/until.ts';

const stream = 'GET /v1/bundle';
const ack = 'POST /v1/bundle/ack';
const apiVersion = 'chaperone.dev/v1alpha1';
const everything = {
  apiVersion,
  kind: 'ClusterAuditPolicy',
  metadata: { name: 'everything' },
  spec: { podSelector: {} },
};
const orders = {
  apiVersion,
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
const issuer = {
  apiVersion,
  kind: 'IdentityProvider',
  metadata: { name: 'idp' },
  spec: { issuer: 'https://idp.example.com', audiences: ['a'] },
};
const login = { type: 'Password', username: 'u', password: 'of nobody else' } as const;

async function follow(context: TestContext, given: { readonly ca?: string } = {}) {
  const peer = await startPeerController();
  const home = mkdtempSync(join(tmpdir(), 'chaperone-stream-'));
  const tokenFile = join(home, 'token');
  writeFileSync(tokenFile, 'first token\n');
  const bundles: { bundle: Bundle; message: BundleMessage }[] = [];
  const refused: (readonly Problem[])[] = [];
  const kills: string[] = [];
  const lost: string[] = [];
  const ending = new AbortController();
  context.after(async () => {
    ending.abort();
    await peer[Symbol.asyncDispose]();
    rmSync(home, { recursive: true });
  });
  const authorities = { controller: peer.ca, collector: peer.ca };
  const message = (more: Partial<BundleMessage> = {}): BundleMessage =>
    bundleMessage({ resources: [everything, orders, issuer], credentials: { orders: login }, authorities, ...more }); // prettier-ignore
  peer.say(message());
  const followed = new BundleStream({
    url: peer.url,
    ca: given.ca ?? peer.ca,
    tokenFile,
    onBundle: (bundle, whole) => bundles.push({ bundle, message: whole }),
    onRefused: (problems) => refused.push(problems),
    onKill: (session) => kills.push(session),
    onLost: (reason) => lost.push(reason),
    signal: ending.signal,
  });
  const came = (count: number): Promise<boolean> =>
    until(`bundle ${count} comes`, () => bundles.length >= count);
  return { peer, tokenFile, bundles, refused, kills, lost, message, followed, came };
}

/** Lets the time pass that it takes, and then what follows from it happen. */
async function pass(context: TestContext, ms: number): Promise<void> {
  context.mock.timers.tick(ms);
  await new Promise((resolve) => void setImmediate(resolve));
}

describe('a stream of bundles', () => {
  test('brings each bundle whole, and says that it is in force', async (t) => {
    const { peer, bundles, message, came } = await follow(t);
    await came(1);
    assert.deepEqual((await peer.asked(ack)).body, { revision: 'r1', accepted: true, problems: [] }); // prettier-ignore
    const key = { kty: 'OKP', kid: 'k' };
    peer.say(message({ revision: 'r2', keys: { idp: [key] }, attachment: 'Explicit' }));
    await came(2);
    const [first, second] = bundles;
    assert.deepEqual([...(first?.bundle.backends.keys() ?? [])], ['orders']);
    assert.equal(first?.bundle.workload.labels.get('app'), 'agent');
    assert.equal(first?.bundle.policy?.policies.length, 1);
    assert.deepEqual(first?.message.credentials, { orders: login });
    assert.deepEqual(second?.bundle.providers.map(({ keys }) => keys), [[key]]); // prettier-ignore
    assert.equal(second?.message.attachment, 'Explicit');
    assert.equal((await peer.asked(ack, 2)).body instanceof Object, true);
  });

  const wrong: Readonly<Record<string, [(message: BundleMessage) => Partial<BundleMessage>, RegExp]>> = {
    'names a credential that it does not bring': [() => ({ credentials: {} }), /Backend.*credential/],
    'has a resource that cannot be read': [() => ({ resources: [{ ...orders, spec: {} }] }), /^Backend: spec/],
    'has a resource of no kind': [() => ({ resources: [{ apiVersion }] }), /^a resource: /],
    'has one authority less': [({ authorities }) => ({ authorities: { ...authorities, controller: '' } }), /^authorities\.controller/],
    'has an authority that is none': [({ authorities }) => ({ authorities: { ...authorities, collector: 'PEM' } }), /^authorities\.collector/],
    'names its resolver by a name': [({ network }) => ({ network: { ...network, resolver: 'dns:53' } }), /^network\.resolver/],
    'denies what is no address': [({ network }) => ({ network: { ...network, deniedAddresses: ['::/200'] } }), /^network\.denied/],
  }; // prettier-ignore
  for (const [what, [change, problem]] of Object.entries(wrong))
    test(`leaves the bundle before in force when one ${what}, and says why`, async (t) => {
      const { peer, bundles, refused, lost, message, came } = await follow(t);
      await came(1);
      peer.say({ ...message({ revision: 'r2' }), ...change(message()) });
      const { body } = await peer.asked(ack, 2);
      assert.deepEqual(body, { revision: 'r2', accepted: false, problems: refused[0] });
      assert.match(refused[0]?.map(({ path, message: text }) => `${path} ${text}`).join() ?? '', problem); // prettier-ignore
      assert.ok(!JSON.stringify(refused).includes(login.password));
      peer.say(message({ revision: 'r3' }));
      await came(2);
      assert.deepEqual(bundles.map(({ message: { revision } }) => revision), ['r1', 'r3']); // prettier-ignore
      assert.deepEqual(lost, []);
    });

  test('passes over what a newer controller may say, and ends sessions that an operator names', async (t) => {
    const { peer, kills, lost, came } = await follow(t);
    await came(1);
    const session = '01985c6f-8c47';
    peer.write(`{"type":"news","of":1}\n{"type":"ping"}\n{"type":"kill","session":"${session}"}\n`);
    await until('the session is named', () => kills.length > 0);
    assert.deepEqual([kills, lost], [[session], []]);
  });

  test('is read whatever the pieces are in which it comes', async (t) => {
    const { peer, bundles, message, came } = await follow(t);
    await came(1);
    const line = Buffer.from(`${JSON.stringify(message({ revision: 'r-ä' }))}\n`).toString(
      'latin1',
    );
    const [response] = await new Promise<unknown[]>((resolve) => {
      peer.intercept = (what, answer) => {
        if (what !== stream) return false;
        resolve([answer]);
        return true;
      };
      peer.cut();
    });
    const answer = response as import('node:http').ServerResponse;
    for (const character of line) answer.write(Buffer.from(character, 'latin1'));
    await came(2);
    assert.equal(bundles.at(-1)?.message.revision, 'r-ä');
  });
});

describe('a stream that is lost', () => {
  test('is asked for anew with the token then in the file, and what was in force stays', async (t) => {
    const { peer, tokenFile, bundles, refused, came } = await follow(t);
    await came(1);
    writeFileSync(tokenFile, 'next token');
    peer.write('{"type":"bundle","vers');
    peer.cut();
    await came(2);
    assert.deepEqual([bundles.length, refused], [2, []]);
    const tokens = peer.questions.filter(({ what }) => what === stream).map(({ token }) => token);
    assert.deepEqual(tokens, ['first token', 'next token']);
  });

  for (const [what, text, reason] of [
    ['says nothing that can be understood', '{"type":"bundle"}\n', /says nothing/],
    ['sends a line without an end', 'x'.repeat(maxLineBytes + 1), /too long a line/],
    [
      'sends too long a line with its end',
      `${'x'.repeat(maxLineBytes + 1)}\n`,
      /too long a line|says nothing/,
    ],
  ] as const)
    // prettier-ignore
    test(`is that of a controller which ${what}`, async (t) => {
      const { peer, lost, came } = await follow(t);
      await came(1);
      peer.write(text);
      await came(2);
      assert.match(lost.join(), reason);
    });

  test('is one on which nothing was heard for too long, while a ping keeps it', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { peer, bundles, kills, lost } = await follow(t);
    while (bundles.length < 1) await pass(t, 0);
    await pass(t, silenceMs - 1);
    peer.write('{"type":"ping"}\n{"type":"kill","session":"01985c6f-8c47"}\n');
    while (kills.length < 1) await pass(t, 0);
    await pass(t, silenceMs - 1);
    assert.deepEqual(lost, []);
    await pass(t, 1);
    while (lost.length < 1) await pass(t, 0);
    assert.deepEqual(lost, ['the controller was silent']);
  });

  test('is asked for again although the controller refuses, and its words are told', async (t) => {
    const { peer, lost, came } = await follow(t);
    await came(1);
    let refusals = 0;
    peer.intercept = (what, response) => {
      if (what !== stream || refusals === 2) return false;
      refusals += 1;
      response.writeHead(403).end('the sidecar is not what the webhook injects');
      return true;
    };
    peer.cut();
    await came(2);
    assert.deepEqual(lost.slice(-2), Array(2).fill('the controller answered 403: the sidecar is not what the webhook injects')); // prettier-ignore
  });

  test('is asked for again although the controller never ends its refusal', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { peer, bundles, lost } = await follow(t);
    while (bundles.length < 1) await pass(t, 0);
    peer.intercept = (what, response) => {
      if (what !== stream) return false;
      response.writeHead(503).write('busy');
      return true;
    };
    peer.cut();
    while (lost.length < 2) await pass(t, 100);
    assert.equal(lost.length, 2);
  });
});

describe('a controller', () => {
  test('whose authority is another is told nothing, not even the token', async (t) => {
    const other = await createLocalCa(Date.now());
    const { peer, bundles, lost } = await follow(t, { ca: other.certificate });
    await until('it was tried twice', () => lost.length > 1);
    assert.match(lost.join(), /certificate/);
    assert.deepEqual([peer.questions, bundles], [[], []]);
  });

  test('is known by the authority that its last bundle has announced', async (t) => {
    const { peer, message, came } = await follow(t);
    const next = await createLocalCa(Date.now());
    const announced = { controller: `${peer.ca}${next.certificate}`, collector: peer.ca };
    peer.say(message({ revision: 'r2', authorities: announced }));
    await peer.asked(ack, 1);
    await came(1);
    await until('it is announced', () => peer.questions.some(({ body }) => JSON.stringify(body ?? '').includes('r2'))); // prettier-ignore
    await peer.show(next);
    const before = peer.questions.length;
    peer.cut();
    await until('it is followed again', () => peer.questions.length > before && peer.open === 1);
  });

  test('is asked for keys once, and they are there when the next bundle came', async (t) => {
    const { peer, message, followed, came } = await follow(t);
    await came(1);
    const asked = followed.refreshKeys('idp');
    assert.deepEqual((await peer.asked('POST /v1/keys/refresh')).body, { provider: 'idp' });
    const key = { kty: 'OKP', kid: 'new' };
    peer.say(message({ revision: 'r2', keys: { idp: [key] } }));
    assert.deepEqual((await asked)?.map(({ keys }) => keys), [[key]]); // prettier-ignore
  });
});
