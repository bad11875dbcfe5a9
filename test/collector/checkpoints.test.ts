import assert from 'node:assert/strict';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { publicKeyHex, signCheckpoint } from '#core/record/checkpoint.ts';
import { isSignedAnswer, startCollectors, type Collectors } from '../support/collectors.ts';
import { localIdentity, StreamAuthor } from '../support/stream-author.ts';

describe('checkpoints', () => {
  let collectors: Collectors;
  before(async () => {
    collectors = await startCollectors({ version: 15, pods: ['other'] });
  });
  after(() => collectors[Symbol.asyncDispose]());

  const put = (frames: readonly Buffer[], pod?: string) => collectors.first.put(frames, pod);
  const streamOf = async ({ stream }: StreamAuthor): Promise<Record<string, unknown>> =>
    (await collectors.first.get(`/v1/streams/${stream}`)).body;

  test('are verified with the key of the stream’s start, and the answer is signed', async () => {
    const author = new StreamAuthor();
    const answer = await put([author.start(), ...author.records(5), author.checkpoint()]);
    assert.deepEqual(
      [answer.status, answer.body['seq'], answer.body['link']],
      [200, 7, author.head.link],
    );
    assert.ok(isSignedAnswer(collectors.publicKey, answer));
    assert.ok(
      !isSignedAnswer(collectors.publicKey, { ...answer, body: { ...answer.body, seq: 8 } }),
    );
    const stored = await streamOf(author);
    assert.equal(stored['publicKey'], author.publicKey);
    assert.deepEqual(await collectors.first.findings(author.stream), []);
    const { rows } = await collectors.db.query('SELECT seq FROM records WHERE stream = $1 AND checkpoint', [author.stream]); // prettier-ignore
    assert.deepEqual(rows, [{ seq: '7' }]);
  });

  test('that nobody signed are passed over', async () => {
    const author = new StreamAuthor();
    const frames = [author.start(), author.unsignedCheckpoint(), author.checkpoint()];
    assert.equal((await put(frames)).status, 200);
    const { rows } = await collectors.db.query('SELECT seq FROM records WHERE stream = $1 AND checkpoint', [author.stream]); // prettier-ignore
    assert.deepEqual(rows, [{ seq: '3' }]);
  });

  test('whose link is not the one of the chain show that what is stored was changed', async () => {
    const author = new StreamAuthor();
    await put([author.start(), ...author.records(2), author.checkpoint()]);
    await put(author.records(3));
    const told = author.link;
    author.link = Buffer.alloc(32, 7); // the sidecar’s own chain went another way
    const { status, body } = await put([author.checkpoint(), ...author.records(2)]);
    assert.deepEqual(
      [status, body['quarantined'], body['seq'], body['link']],
      [202, true, 7, told.toString('hex')],
    );
    assert.deepEqual(await collectors.first.findings(author.stream), ['break 4 8', 'quarantine 8']);
    // It goes on behind the signed link.
    const next = await put([...author.records(2), author.checkpoint()]);
    assert.deepEqual(
      [next.status, next.body['seq'], next.body['link']],
      [200, 13, author.head.link],
    );
  });

  test('of another key, or of another place, are not taken', async () => {
    const forger = generateKeyPairSync('ed25519').privateKey;
    for (const make of [
      ({ stream, seq, link }: StreamAuthor) => signCheckpoint(forger, { stream, seq, link }),
      ({ stream, seq, link, key }: StreamAuthor) =>
        signCheckpoint(key, { stream, seq: seq + 1, link }),
      ({ seq, link, key }: StreamAuthor) =>
        signCheckpoint(key, { stream: randomUUID(), seq, link }),
      () => 'f'.repeat(128),
      () => 'x',
      () => 7,
    ]) {
      const author = new StreamAuthor();
      const frames = [author.start(), ...author.records(2)];
      const { status, body } = await put([
        ...frames,
        author.checkpoint({ signature: make(author) }),
      ]);
      assert.deepEqual([status, body['seq']], [202, 0]);
      assert.deepEqual(await collectors.first.findings(author.stream), ['quarantine 1']);
    }
  });

  test('a stream begins once, and keeps its key', async () => {
    const author = new StreamAuthor();
    await put([author.start(), author.checkpoint()]);
    const key = publicKeyHex(generateKeyPairSync('ed25519').publicKey);
    const { status } = await put([author.start({ publicKey: key }), ...author.records(1)]);
    assert.equal(status, 202);
    assert.equal((await streamOf(author))['publicKey'], author.publicKey);
  });

  test('a stream names the pod that its token is of', async () => {
    for (const forged of [
      { 'k8s.pod.name': 'another' },
      { 'k8s.namespace.name': 'another' },
      { 'service.account': 'another' },
    ]) {
      const author = new StreamAuthor();
      const { status, body } = await put([author.start(forged), ...author.records(2)]);
      assert.deepEqual([status, body['seq']], [202, 0]);
    }
    const author = new StreamAuthor({ identity: localIdentity });
    assert.equal((await put([author.start()], 'other')).status, 202);
  });

  test('a stream without a key is taken, and told of', async () => {
    for (const publicKey of ['0'.repeat(64), undefined, 'nonsense', 5, '']) {
      const author = new StreamAuthor();
      const answer = await put([
        author.start({ publicKey }),
        ...author.records(2),
        author.checkpoint(),
      ]);
      assert.deepEqual([answer.status, answer.body['link']], [200, author.head.link]);
      assert.equal((await streamOf(author))['publicKey'], null);
      assert.deepEqual(await collectors.first.findings(author.stream), ['no-key']);
    }
    const author = new StreamAuthor();
    assert.equal((await put(author.records(3))).status, 200);
    assert.deepEqual(await collectors.first.findings(author.stream), ['no-key']);
  });

  test('a stream of another pod is refused, whatever is sent of it', async () => {
    const author = new StreamAuthor();
    await put([author.start(), author.checkpoint()]);
    assert.equal((await put(author.records(1), 'other')).status, 403);
    assert.equal(
      (await put([Buffer.concat(author.records(2)).subarray(0, -1)], 'other')).status,
      403,
    );
    assert.deepEqual(await collectors.first.findings(author.stream), []);
  });
});
