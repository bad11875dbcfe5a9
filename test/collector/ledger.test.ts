import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import {
  hashOfLine,
  isSignedLine,
  ledgerStart,
  tryParseLedgerLine,
  type LedgerEntry,
} from '#core/record/ledger.ts';
import { parseFrames } from '#core/record/frame.ts';
import {
  overwrite,
  startCollectors,
  type Collectors,
  type TestCollector,
} from '../support/collectors.ts';
import { StreamAuthor } from '../support/stream-author.ts';
import { until } from '../support/until.ts';

const env = { CHAPERONE_LEDGER_SECONDS: '1' };

/** Checks the ledger as a stranger would: numbers, hashes and signatures. */
function entriesOf(text: string, { publicKey }: Collectors): LedgerEntry[] {
  assert.ok(text === '' || text.endsWith('\n'));
  let previous = ledgerStart;
  return text
    .split('\n')
    .slice(0, -1)
    .map((line, index) => {
      const entry = tryParseLedgerLine(line);
      assert.ok(entry && isSignedLine(publicKey, line));
      assert.deepEqual([entry.n, entry.previous], [index + 1, previous]);
      previous = hashOfLine(line);
      return entry;
    });
}

const ledgerOf = async (collector: TestCollector): Promise<string> =>
  (await collector.get('/v1/ledger')).text;
const copyOf = ({ ledgerFile }: TestCollector): string =>
  existsSync(ledgerFile) ? readFileSync(ledgerFile, 'utf8') : '';
const copied = (collector: TestCollector): Promise<boolean> =>
  until('the copy is whole', async () => {
    const text = await ledgerOf(collector);
    return text !== '' && copyOf(collector) === text;
  });

describe('the ledger', () => {
  let collectors: Collectors;
  before(async () => {
    collectors = await startCollectors({ env, count: 2 });
  });
  after(() => collectors[Symbol.asyncDispose]());

  const about = async ({ stream }: StreamAuthor): Promise<LedgerEntry[]> =>
    entriesOf(await ledgerOf(collectors.first), collectors).filter(
      (entry) => entry.stream === stream,
    );

  test('has the head of a stream that moved, and nothing new of one that did not', async () => {
    const author = new StreamAuthor();
    await collectors.first.put([author.start(), ...author.records(3), author.checkpoint()]);
    await until('its head is in the ledger', async () => (await about(author)).length > 0);
    const [entry] = await about(author);
    const {
      n: _n,
      previous: _previous,
      time: _time,
      ...fields
    } = entry ?? { n: 0, previous: '', time: '' };
    assert.deepEqual(fields, {
      v: 1, kind: 'head', stream: author.stream, seq: 5, link: author.head.link, publicKey: author.publicKey,
      pod: 'local', namespace: 'local', serviceAccount: 'local',
    }); // prettier-ignore
    const other = new StreamAuthor();
    await collectors.first.put([other.start(), other.checkpoint()]);
    await until('another head is there', async () => (await about(other)).length > 0);
    assert.equal((await about(author)).length, 1);
  });

  test('has the end of a stream at once', async () => {
    const author = new StreamAuthor();
    await collectors.first.put([author.start(), author.end(), author.checkpoint()]);
    const [entry] = await about(author);
    assert.deepEqual([entry?.kind, entry?.kind === 'head' && entry.seq], ['head', 3]);
  });

  test('takes no head from the store: neither of a stream made up there nor of records added there', async () => {
    const insert = async (author: StreamAuthor, frames: readonly Buffer[]): Promise<void> => {
      for (const { header, headerBytes } of parseFrames(Buffer.concat(frames)))
        await collectors.db.query(
          `INSERT INTO records VALUES ($1, $2, NULL, $3, sha256($3), NULL, NULL, clock_timestamp(), $4)`,
          [author.stream, header.seq, headerBytes, header.kind === 'checkpoint'],
        );
    };
    const forged = new StreamAuthor();
    await insert(forged, [forged.start(), forged.end(), forged.checkpoint()]);
    await collectors.db.query(
      `INSERT INTO streams (stream, pod, namespace, service_account, acked_seq, head_link, public_key, ended)
       VALUES ($1, 'local', 'local', 'local', $2, $3, $4, true)`,
      [forged.stream, forged.seq, forged.link, forged.publicKey],
    );
    const left = new StreamAuthor();
    await collectors.first.put([left.start(), ...left.records(3), left.checkpoint()]);
    await insert(left, [left.end(), left.unsignedCheckpoint()]);
    await collectors.db.query(
      'UPDATE streams SET acked_seq = $2, head_link = $3, ended = true WHERE stream = $1',
      [left.stream, left.seq, left.link],
    );
    const later = new StreamAuthor();
    await collectors.first.put([later.start(), later.checkpoint()]);
    await collectors.first.put([...later.records(1), later.checkpoint()]);
    await until('a later head is there', async () => (await about(later)).length === 2);
    assert.deepEqual(await about(forged), []);
    assert.deepEqual((await about(left)).map((entry) => entry.kind === 'head' && entry.seq), [5]); // prettier-ignore
  });

  test('names no link for a head that nothing proves', async () => {
    const author = new StreamAuthor();
    await collectors.first.put([author.start(), author.checkpoint()]);
    await collectors.first.put([Buffer.concat(author.records(2)).subarray(0, -1)]);
    await collectors.first.put([...author.records(2), author.end()]);
    const entries = await about(author);
    const end = entries.find((entry) => entry.kind === 'head' && entry.seq === 7);
    assert.ok(end?.kind === 'head' && end.link === undefined);
    const set = entries.find((entry) => entry.kind === 'quarantine');
    assert.equal(set?.kind === 'quarantine' && set.after, 2);
  });

  test('is one, whichever collector writes it, and each has a copy of all of it', async () => {
    await Promise.all(
      Array.from({ length: 40 }, async (_, index) => {
        const author = new StreamAuthor();
        const frames = [author.start(), author.end(), author.checkpoint()];
        const collector = collectors.all[index % 2] ?? collectors.first;
        await until('it is taken', async () => (await collector.put(frames)).status === 200);
      }),
    );
    for (const collector of collectors.all) {
      await copied(collector);
      entriesOf(copyOf(collector), collectors);
      assert.equal(statSync(collector.ledgerFile).mode & 0o777, 0o600);
    }
    const { text } = await collectors.first.get('/v1/ledger?from=7');
    assert.equal(tryParseLedgerLine(text.split('\n')[0] ?? '')?.n, 7);
  });
});

describe('the copy of the ledger', () => {
  const someStreams = async (collector: TestCollector, count = 3): Promise<void> => {
    for (let index = 0; index < count; index += 1) {
      const author = new StreamAuthor();
      await collector.put([author.start(), author.end(), author.checkpoint()]);
    }
    await copied(collector);
  };
  const changed = (collector: TestCollector): Promise<boolean> =>
    until('the change is found', async () => (await collector.findings(undefined)).length > 0);

  test('is continued after a restart, also where a crash cut its last line', async () => {
    await using collectors = await startCollectors({ env });
    const { first } = collectors;
    await someStreams(first);
    for (const cut of [0, 1, 40, 300]) {
      await first.kill();
      truncateSync(first.ledgerFile, statSync(first.ledgerFile).size - cut);
      const before = copyOf(first);
      await first.start();
      await someStreams(first);
      assert.ok(copyOf(first).startsWith(before));
      entriesOf(copyOf(first), collectors);
    }
    assert.deepEqual(await first.findings(undefined), []);
  });

  test('shows that the store’s ledger was rewritten, at once and after a restart, and stays as it is', async () => {
    const tampers: [what: string, sql: string, restart: boolean][] = [
      ['the last line, while it runs', `UPDATE ledger SET line = replace(line, '"seq":3', '"seq":2') WHERE n = (SELECT max(n) FROM ledger)`, false],
      ['a line in the middle', `UPDATE ledger SET line = replace(line, '"seq":3', '"seq":2') WHERE n = 2`, true],
      ['the end dropped', 'DELETE FROM ledger WHERE n = (SELECT max(n) FROM ledger)', true],
      ['everything', 'DELETE FROM ledger', false],
    ]; // prettier-ignore
    for (const [what, sql, restart] of tampers) {
      await using collectors = await startCollectors({ env });
      const { first } = collectors;
      await someStreams(first);
      if (restart) await first.kill();
      await collectors.db.query(sql);
      const before = copyOf(first);
      if (restart) await first.start();
      const author = new StreamAuthor();
      await first.put([author.start(), author.end(), author.checkpoint()]);
      await changed(first);
      assert.equal((await first.findings(undefined)).length, 1, what);
      assert.match((await first.findings(undefined))[0] ?? '', /^ledger-changed \d+$/, what);
      assert.equal(copyOf(first), before, what);
      assert.equal(await first.metric('chaperone_collector_ledger_file_changed'), 1);
    }
  });

  test('that differs is a finding also where the store takes none at first', async () => {
    await using collectors = await startCollectors({ env });
    const { first, db } = collectors;
    await someStreams(first);
    await db.query('ALTER TABLE findings RENAME TO findings_away');
    await db.query('DELETE FROM ledger');
    await until('it is noticed', async () => (await first.metric('chaperone_collector_ledger_file_changed')) === 1); // prettier-ignore
    await until('the finding was not taken', () => first.log.includes('42P01'));
    await db.query('ALTER TABLE findings_away RENAME TO findings');
    await changed(first);
    assert.match((await first.findings(undefined)).join(), /^ledger-changed \d+$/);
  });

  test('that was changed itself is found as well, and not written to', async () => {
    await using collectors = await startCollectors({ env });
    const { first } = collectors;
    await someStreams(first);
    await first.stop();
    const text = copyOf(first).replace('"seq":3', '"seq":4');
    overwrite(first.ledgerFile, text);
    await first.start();
    await changed(first);
    assert.equal(copyOf(first), text);
    await first.stop();
    appendFileSync(first.ledgerFile, 'nonsense');
    await first.start();
    assert.equal(
      (await first.findings(undefined)).length,
      1,
      'it is one finding, however often it is seen',
    );
  });
});
