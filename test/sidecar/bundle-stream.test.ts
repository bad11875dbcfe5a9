import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { maxLineBytes, silenceMs, type BundleMessage } from '#core/bundle-message.ts';
import type { Bundle } from '#core/policy/resolve.ts';
import type { Problem } from '#core/policy/resources.ts';
import { createLocalCa } from '../../cli/dev/certificates.ts';
import { BundleStream } from '../../sidecar/bundle-stream.ts';
import { bundleLine, startPeerController, type PeerController } from '../support/peer-controller.ts'; // prettier-ignore
import { until } from '../support/until.ts';

/** A stream that follows a peer, with all that came of it. */
interface Followed extends Disposable {
  readonly stream: BundleStream;
  readonly bundles: { readonly bundle: Bundle; readonly message: BundleMessage }[];
  readonly refused: (readonly Problem[])[];
  readonly killed: string[];
  readonly lost: string[];
  readonly tokenFile: string;
}

interface At {
  readonly url?: URL;
  readonly addresses?: readonly string[];
}

function follow(peer: PeerController, ca = peer.ca, at: At = {}): Followed {
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-stream-'));
  const tokenFile = join(directory, 'token');
  writeFileSync(tokenFile, 'first\n');
  const stopping = new AbortController();
  const bundles: Followed['bundles'] = [];
  const refused: Followed['refused'] = [];
  const killed: string[] = [];
  const lost: string[] = [];
  const stream = new BundleStream({
    url: at.url ?? peer.url,
    addresses: at.addresses ?? ['127.0.0.1'],
    ca,
    tokenFile,
    onBundle: (bundle, message) => bundles.push({ bundle, message }),
    onRefused: (problems) => refused.push(problems),
    onKill: (session) => killed.push(session),
    onHeard: () => undefined,
    onLost: ({ reason }) => lost.push(reason),
    signal: stopping.signal,
  });
  const dispose = (): void => {
    stopping.abort();
    rmSync(directory, { recursive: true });
  };
  return { stream, bundles, refused, killed, lost, tokenFile, [Symbol.dispose]: dispose };
}

/** What TCP has planned for connections to a port, by `ss`. */
const timersTo = ({ port }: URL): string =>
  execFileSync('ss', ['-Htno', `dport = :${port}`], { encoding: 'utf8' });

/** Lets time pass, and what follows from it happen. */
async function pass(context: TestContext, ms: number): Promise<void> {
  context.mock.timers.tick(ms);
  await new Promise((resolve) => void setImmediate(resolve));
}

describe('the stream of a controller', () => {
  test('says something by TCP where nobody has anything to say, since rules of the pod may wait for it', async () => {
    await using peer = await startPeerController(await createLocalCa(Date.now()));
    using _ = follow(peer);
    await until('a probe is planned', () => timersTo(peer.url).includes('timer:(keepalive,'));
  });

  test('brings a bundle with what belongs to it, and is told that it is in force', async () => {
    await using peer = await startPeerController();
    peer.write(bundleLine(peer, { credentials: { shop: { type: 'Password', username: 'u', password: 'p' } } })); // prettier-ignore
    using followed = follow(peer);
    await until('it is acknowledged', () => peer.acks.length === 1);
    const [{ bundle, message } = assert.fail('there is none')] = followed.bundles;
    assert.equal(bundle.policy?.enforcing, false);
    assert.equal(bundle.workload.labels.get('app'), 'agent');
    assert.equal(message.credentials['shop']?.username, 'u');
    assert.deepEqual(peer.acks, [{ revision: 'one', accepted: true, problems: [] }]);
    assert.deepEqual(peer.tokens, ['Bearer first']);
  });

  test('is followed where it was said to be, and never by the hosts file', async () => {
    await using peer = await startPeerController();
    peer.write(bundleLine(peer));
    const url = new URL(`https://localhost:${peer.url.port}`);
    using astray = follow(peer, peer.ca, { url, addresses: ['127.0.0.2'] }); // where nobody listens
    await until('it is lost', () => astray.lost.length > 0);
    assert.deepEqual(peer.tokens, []);
    using followed = follow(peer, peer.ca, { url });
    await until('it is in force', () => followed.bundles.length === 1);
  });

  test('keeps the last bundle where one does not hold together, and says what is wrong with it', async () => {
    await using peer = await startPeerController();
    peer.write(bundleLine(peer));
    using followed = follow(peer);
    await until('the first is in force', () => followed.bundles.length === 1);
    const resources = [{ apiVersion: 'chaperone.dev/v1alpha1', kind: 'AuditPolicy', metadata: { name: 'p', namespace: 'agents' }, spec: { podSelector: {}, later: true } }]; // prettier-ignore
    peer.write(bundleLine(peer, { revision: 'two', resources }));
    await until('the second is refused', () => peer.acks.length === 2);
    assert.equal(followed.bundles.length, 1);
    assert.match(JSON.stringify(followed.refused), /AuditPolicy: spec\.later/);
    assert.equal(peer.acks[1]?.accepted, false);
    assert.match(JSON.stringify(peer.acks[1]?.problems), /spec\.later/);
  });

  test('hears what became of a bundle until it takes that, and nothing more of one before', async () => {
    await using peer = await startPeerController();
    peer.ackRefusals = 2;
    peer.write(bundleLine(peer));
    using followed = follow(peer);
    await until('it has asked three times', () => peer.acks.length === 3);
    assert.deepEqual(new Set(peer.acks.map(({ revision }) => revision)), new Set(['one']));
    peer.ackRefusals = 1;
    peer.write(bundleLine(peer, { revision: 'two' }) + bundleLine(peer, { revision: 'three' }));
    await until('both are in force', () => followed.bundles.length === 3);
    await until('the last is taken', () => peer.acks.at(-1)?.revision === 'three' && peer.ackRefusals === 0); // prettier-ignore
    const ofOne = peer.acks.filter(({ revision }) => revision === 'one');
    assert.equal(ofOne.length, 3);
  });

  test('is asked for again when it ends, with the token that the file has then', async () => {
    await using peer = await startPeerController();
    peer.write(bundleLine(peer));
    using followed = follow(peer);
    await until('the first is in force', () => followed.bundles.length === 1);
    writeFileSync(followed.tokenFile, 'second\n');
    peer.end();
    await until('it is there again', () => followed.bundles.length === 2);
    assert.deepEqual(peer.tokens, ['Bearer first', 'Bearer second']);
  });

  test('is taken in pieces, passes over what a newer controller says, and kills', async () => {
    await using peer = await startPeerController();
    using followed = follow(peer);
    await until('it is open', () => peer.tokens.length === 1);
    const line = bundleLine(peer);
    peer.write('{"type":"later","x":1}\n{"type":"ping"}\n');
    peer.write(line.slice(0, 100));
    peer.write(line.slice(100));
    peer.write('{"type":"kill","session":"0199f0aa-0000-7000"}\n');
    await until('it has killed', () => followed.killed.length === 1);
    assert.deepEqual(followed.killed, ['0199f0aa-0000-7000']);
    assert.equal(followed.bundles.length, 1);
    assert.deepEqual(followed.lost, []);
  });

  for (const [what, text, reason] of [
    ['says nothing', 'nonsense\n', /a line that says nothing/],
    ['is longer than any', 'x'.repeat(maxLineBytes + 1), /too long a line/],
  ] as const) {
    test(`is given up at a line that ${what}, and asked for again`, async () => {
      await using peer = await startPeerController();
      using followed = follow(peer);
      await until('it is open', () => peer.tokens.length === 1);
      peer.write(text);
      await until('it is lost', () => followed.lost.length > 0);
      assert.match(followed.lost[0] ?? '', reason);
      peer.write(bundleLine(peer));
      await until('a bundle is there', () => followed.bundles.length > 0);
    });
  }

  test('is not followed under a certificate of another authority', async () => {
    await using peer = await startPeerController();
    peer.write(bundleLine(peer));
    const other = await createLocalCa(Date.now());
    using followed = follow(peer, other.certificate);
    await until('it is lost', () => followed.lost.length > 0);
    assert.match(followed.lost[0] ?? '', /certificate/);
    assert.deepEqual(peer.tokens, [], 'no token was sent');
  });

  test('is followed under the next authority once a bundle has announced it', async () => {
    const next = await createLocalCa(Date.now());
    const peer = await startPeerController();
    const both = `${peer.ca}${next.certificate}`;
    peer.write(bundleLine(peer, { authorities: { controller: both, collector: both } }));
    using followed = follow(peer);
    await until('the first is in force', () => followed.bundles.length === 1);
    await peer[Symbol.asyncDispose]();
    await using successor = await startPeerController(next, Number(peer.url.port));
    successor.write(bundleLine(successor));
    await until('it is there again', () => followed.bundles.length === 2);
  });

  test('says why it is refused, in the words of the controller', async () => {
    await using peer = await startPeerController();
    peer.status = 403;
    using followed = follow(peer);
    await until('it is refused', () => followed.lost.length > 0);
    assert.match(followed.lost[0] ?? '', /answered 403: .*the pod is not ours/);
  });

  test('is asked for again after too long a silence, which a ping ends', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    await using peer = await startPeerController();
    peer.write(bundleLine(peer));
    using followed = follow(peer);
    while (followed.bundles.length < 1) await pass(t, 0);
    await pass(t, silenceMs - 1);
    peer.write('{"type":"ping"}\n{"type":"kill","session":"0199f0aa-0000-7000"}\n');
    while (followed.killed.length < 1) await pass(t, 0);
    await pass(t, silenceMs - 1);
    assert.deepEqual(followed.lost, []);
    await pass(t, 1);
    while (followed.lost.length < 1) await pass(t, 0);
    assert.deepEqual(followed.lost, ['the controller was silent']);
  });

  test('is asked for again although a refusal never comes to its end', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    await using peer = await startPeerController();
    peer.status = 503;
    peer.unending = true;
    using followed = follow(peer);
    while (followed.lost.length < 1) await pass(t, 100);
    peer.status = 200;
    peer.write(bundleLine(peer));
    while (followed.bundles.length < 1) await pass(t, 100);
  });

  test('is asked for keys once, however many tokens name one that is not there', async () => {
    await using peer = await startPeerController();
    peer.write(bundleLine(peer));
    using followed = follow(peer);
    await until('the first is in force', () => followed.bundles.length === 1);
    const asked = [1, 2, 3].map(() => followed.stream.refreshKeys('issuer'));
    await until('keys are asked for', () => peer.keysAsked.length > 0);
    peer.write(bundleLine(peer, { revision: 'two' }));
    for (const providers of await Promise.all(asked)) assert.deepEqual(providers, []);
    assert.deepEqual(peer.keysAsked, [{ provider: 'issuer' }]);
  });
});
