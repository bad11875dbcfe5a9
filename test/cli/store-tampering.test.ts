import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import type { Instance } from '../../cli/instance.ts';
import { exitCodes } from '../../cli/verdict.ts';
import { verifyAll } from '../../cli/verify-all.ts';
import { CollectorClient } from '../../cli/collector-client.ts';
import { localCollector } from '../../cli/server-access.ts';
import { verifyExport } from '#core/record/verify-export.ts';
import { instanceOf, startCollectors, type Collectors } from '../support/collectors.ts';
import { honestLog, sessions, short, type BuiltLog } from '../support/logs.ts';
import { until } from '../support/until.ts';

/** Tables that a case may change, and that are as they were before the next. */
const tables = ['streams', 'records', 'sessions', 'ledger', 'ledger_heads'];

describe('a database that its owner changed', () => {
  const env = { CHAPERONE_LEDGER_SECONDS: '1' };
  let collectors: Collectors;
  let log: BuiltLog;
  let instance: Instance;
  let ledgerText: string;

  before(async () => {
    collectors = await startCollectors({ env });
    const { first, db } = collectors;
    log = honestLog();
    for (const { frames } of [log.first, log.next])
      assert.equal((await first.put(frames)).status, 200);
    await until('both heads are in the ledger and in its copy', () => lines().length >= 2);
    // From here on the ledger stands still, so that a case can be undone.
    env.CHAPERONE_LEDGER_SECONDS = '3600';
    await first.stop();
    await first.start();
    ledgerText = readFileSync(first.ledgerFile, 'utf8');
    instance = instanceOf(collectors);
    for (const table of tables)
      await db.query(`CREATE TABLE kept_${table} AS SELECT * FROM ${table}`);
  });
  after(async () => collectors[Symbol.asyncDispose]());
  beforeEach(async () => {
    for (const table of tables) {
      await collectors.db.query(`DELETE FROM ${table}`);
      await collectors.db.query(`INSERT INTO ${table} SELECT * FROM kept_${table}`);
    }
    writeFileSync(collectors.first.ledgerFile, ledgerText);
  });

  const lines = (): string[] =>
    readFileSync(collectors.first.ledgerFile, { encoding: 'utf8', flag: 'a+' }).split('\n').slice(0, -1); // prettier-ignore

  async function all(): Promise<{ code: number; said: string[] }> {
    const said: string[] = [];
    const code = await verifyAll(instance, { keys: [], ledgerFile: undefined }, (line) =>
      said.push(line),
    );
    return { code, said };
  }

  async function ofSession(session: string): Promise<string> {
    const client = new CollectorClient(localCollector(instance));
    const report = await verifyExport(client.bytes(`/v1/sessions/${session}/export`), {
      keys: [collectors.publicKey],
    });
    return short(report.verdict);
  }

  test('before that is complete, each session and all of it', async () => {
    const { code, said } = await all();
    assert.equal(code, exitCodes.unbroken, said.join('\n')); // the second stream has no end
    assert.match(said[0] ?? '', /^copy of the ledger in .*: whole, 2 lines$/);
    assert.match(said[1] ?? '', /^ledger of the store: whole, 2 lines$/);
    assert.match(said.join('\n'), new RegExp(`stream ${log.first.stream} of .*: complete`));
    assert.match(said.join('\n'), new RegExp(`stream ${log.next.stream} of .*: unbroken up to 3`));
    assert.equal(said.at(-1), 'nothing is broken; streams: 1 complete; 1 without a proven end, as any that is being written'); // prettier-ignore
    for (const session of Object.values(sessions)) assert.equal(await ofSession(session), 'complete'); // prettier-ignore
  });

  const place = '01a20d9b-1d85-7411-bd0a-ae60b5ddc511';
  const cases: [what: string, sql: string, said: RegExp, early?: string][] = [
    ['a byte of a header', "UPDATE records SET header = set_byte(header, 40, get_byte(header, 40) # 1) WHERE stream = $1 AND seq = 5", /broken at 5:/, 'broken 5'],
    ['a header', "UPDATE records SET header = convert_to(replace(convert_from(header, 'UTF8'), 'postgres.query', 'postgres.parse'), 'UTF8') WHERE stream = $1 AND seq = 5", /broken at 9:/, 'broken 9'],
    ['a header with its hash', "UPDATE records SET header = convert_to(replace(convert_from(header, 'UTF8'), 'postgres.query', 'postgres.parse'), 'UTF8'), header_hash = sha256(convert_to(replace(convert_from(header, 'UTF8'), 'postgres.query', 'postgres.parse'), 'UTF8')) WHERE stream = $1 AND seq = 5", /broken at 9:/, 'broken 9'],
    ['the last header', "UPDATE records SET header = convert_to(replace(convert_from(header, 'UTF8'), '\"monoNs\":33000', '\"monoNs\":33001'), 'UTF8') WHERE stream = $1 AND seq = 33", /broken at 33:/, 'complete'],
    ['a byte of a payload', 'UPDATE records SET payload = set_byte(payload, 0, get_byte(payload, 0) # 1) WHERE stream = $1 AND seq = 6', /broken at 6:/, 'broken 6'],
    ['a byte of a salt', 'UPDATE records SET salt = set_byte(salt, 0, get_byte(salt, 0) # 1) WHERE stream = $1 AND seq = 6', /broken at 6:/, 'broken 6'],
    ['a payload, removed', 'UPDATE records SET payload = NULL, salt = NULL WHERE stream = $1 AND seq = 6', /broken at 6: its payload is missing/, 'broken 6'],
    ['a record, deleted', 'DELETE FROM records WHERE stream = $1 AND seq = 12', /broken at 12:/, 'complete'],
    ['a record, hidden from its session', 'UPDATE records SET session = NULL WHERE stream = $1 AND seq = 6', /: complete/, 'broken 10'],
['two records, swapped', `UPDATE records SET seq = 0 WHERE stream = '${place}' AND seq = 5; UPDATE records SET seq = 5 WHERE stream = '${place}' AND seq = 6; UPDATE records SET seq = 6 WHERE stream = '${place}' AND seq = 0`, /broken at 5: record 6 is in its place/, 'broken 5'],
    ['a record, doubled', "INSERT INTO records SELECT stream, seq, session, header, header_hash, salt, payload, received_at + interval '1 day', checkpoint FROM records WHERE stream = $1 AND seq = 6", /broken at 7: record 6 is in its place/, 'broken 7'],
    ['the last three records, deleted', 'DELETE FROM records WHERE stream = $1 AND seq > 30', /broken at 31: the ledger has records up to 33/, 'complete'],
    ['a session, deleted', `DELETE FROM records WHERE stream = $1 AND session = '${sessions.early}'`, /broken at 2:/, 'broken 2'],
    ['the records of a stream, deleted', 'DELETE FROM records WHERE stream = $1', /broken at 1: the ledger has records up to 33/],
    ['a stream, deleted', 'DELETE FROM streams WHERE stream = $1', /broken at 1: the ledger has records up to 33, and the store has no such stream/],
    ['the head of a stream, moved on', 'UPDATE streams SET acked_seq = 40 WHERE stream = $1', /broken at 34: the store says that it has records up to 40/, 'complete'],
    ['the head of a stream, moved back', 'UPDATE streams SET acked_seq = 30 WHERE stream = $1', /broken at 31: the store says that it has no records from here on/, 'complete'],
    ['the link of a head', "UPDATE streams SET head_link = decode(repeat('00', 32), 'hex') WHERE stream = $1", /broken at 33: the store has another link/, 'complete'],
    ['a cut that nobody made', "UPDATE streams SET cut_seq = 11, cut_link = decode(repeat('00', 32), 'hex') WHERE stream = $1", /broken at 1: no line of the ledger/, 'broken 1'],
  ]; // prettier-ignore
  for (const [what, sql, expected, early] of cases) {
    test(`${what}: is named with its place`, async () => {
      const { db } = collectors;
      await db.query(sql, sql.includes('$1') ? [place] : []);
      const { code, said } = await all();
      const own = said.find((line) => line.startsWith(`stream ${place}`)) ?? '';
      assert.match(own, expected, said.join('\n'));
      if (own.includes('broken')) {
        assert.equal(code, exitCodes.broken);
        assert.match(
          said.at(-1) ?? '',
          /^not all of it holds; streams: .*1 broken or not checked$/,
        );
      }
      if (early !== undefined) assert.equal(await ofSession(sessions.early), early);
    });
  }

  describe('where one stream cannot be read', () => {
    const failing = async (when: string): Promise<void> => {
      await collectors.db.query(`ALTER TABLE records RENAME TO records_kept;
        CREATE SEQUENCE tries;
        CREATE VIEW records AS SELECT stream, seq, session,
          CASE WHEN stream = '${place}' AND seq = 20 AND ${when} THEN substr(header, 1, -1) ELSE header END AS header,
          header_hash, salt, payload, received_at, checkpoint FROM records_kept`);
    };
    afterEach(async () => {
      await collectors.db.query('DROP VIEW records; DROP SEQUENCE tries; ALTER TABLE records_kept RENAME TO records'); // prettier-ignore
    });

    test('it is named, and the others are checked', async () => {
      await failing('true');
      const { code, said } = await all();
      assert.equal(code, exitCodes.broken, said.join('\n'));
      assert.match(said.join('\n'), new RegExp(`stream ${place} of local/local: could not be checked: .`)); // prettier-ignore
      assert.match(said.join('\n'), new RegExp(`stream ${log.next.stream} of .*: unbroken up to 3`)); // prettier-ignore
    });

    test('it is read once more', async () => {
      await failing("nextval('tries') = 1");
      const { code, said } = await all();
      assert.equal(code, exitCodes.unbroken, said.join('\n'));
      assert.match(said.join('\n'), new RegExp(`stream ${place} of .*: complete`));
    });
  });

  const ledgers: [what: string, change: () => Promise<unknown>, said: RegExp][] = [
    ['a row of the ledger, edited', () => collectors.db.query(`UPDATE ledger SET line = replace(line, '"seq":33', '"seq":32') WHERE n = 1`), /^ledger of the store: broken at 1:/],
    ['a row of the ledger, deleted', () => collectors.db.query('DELETE FROM ledger WHERE n = 1'), /^ledger of the store: broken at 1: line 2 is in its place/],
    ['the last row of the ledger, deleted', () => collectors.db.query('DELETE FROM ledger WHERE n = 2'), /^ledger of the store: broken at 2: the copy elsewhere has it/],
    ['all of the ledger, deleted', () => collectors.db.query('DELETE FROM ledger'), /^ledger of the store: broken at 1:/],
    ['a line of the copy, edited', async () => writeFileSync(collectors.first.ledgerFile, ledgerText.replace('"seq":33', '"seq":32')), /^copy of the ledger in .*: broken at 1:/],
    ['the copy, emptied', async () => writeFileSync(collectors.first.ledgerFile, ''), /^copy of the ledger in .*: broken at 1: it has nothing, and the store has lines/],
  ]; // prettier-ignore
  for (const [what, change, expected] of ledgers) {
    test(`${what}: is named with its line`, async () => {
      await change();
      const { code, said } = await all();
      assert.ok(said.some((line) => expected.test(line)), said.join('\n')); // prettier-ignore
      assert.equal(code, exitCodes.broken);
    });
  }
});
