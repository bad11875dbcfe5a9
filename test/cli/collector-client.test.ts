import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { ChaperoneError } from '#core/errors.ts';
import { createLocalCa } from '../../cli/dev/certificates.ts';
import { CollectorClient } from '../../cli/collector-client.ts';
import { localCollector } from '../../cli/server-access.ts';
import { sentenceOf } from '../../cli/error-sentence.ts';
import { instanceFile, projectDirectory, type Instance } from '../../cli/instance.ts';
import { instanceOf, startCollectors, type Collectors } from '../support/collectors.ts';
import { honestLog, sessions } from '../support/logs.ts';
import { until } from '../support/until.ts';

const run = promisify(execFile);
const program = join(projectDirectory, 'cli/main.ts');

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

describe('a collector, from the command line', () => {
  let collectors: Collectors;
  let instance: Instance;

  const chaperone = async (...args: readonly string[]): Promise<Ran> => {
    const all = [program, ...args, '--data', collectors.directory];
    try {
      const { stdout, stderr } = await run(process.execPath, all, { maxBuffer: 1 << 28 });
      return { code: 0, out: stdout, error: stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }; // execFile attaches them
      return { code, out: stdout, error: stderr };
    }
  };

  before(async () => {
    collectors = await startCollectors();
    instance = instanceOf(collectors);
    writeFileSync(instanceFile(collectors.directory), JSON.stringify(instance));
    assert.equal((await collectors.first.put(honestLog().first.frames)).status, 200);
  });
  after(async () => collectors[Symbol.asyncDispose]());

  describe('with more sessions than a page has', () => {
    const count = 2_500;
    before(async () => {
      await collectors.db.query('DELETE FROM sessions');
      await collectors.db.query(
        `INSERT INTO sessions (id, stream, protocol, backend, principal, groups, started_at)
         SELECT gen_random_uuid(), (SELECT stream FROM streams), 'Postgres', 'shop', 'many', '{}', now() - n * interval '1 second'
         FROM generate_series(1, $1) AS n`,
        [count],
      );
    });

    test('lists the newest hundred, and says how to see more', async () => {
      const { out, error } = await chaperone('sessions');
      assert.equal(out.trimEnd().split('\n').length, 2 + 100);
      assert.equal(error, 'more: these are the newest 100; --limit 1000 shows older ones\n');
    });

    test('goes through page by page, and says nothing where that was all', async () => {
      for (const [args, listed, more] of [
        [['--json', '--since', '2h', '--limit', '2200'], 2_200, true],
        [['--json', '--limit', String(count - 1)], count - 1, true],
        [['--json', '--limit', String(count)], count, false],
        [['--json', '--who', 'many', '--limit', '999999'], count, false],
      ] as const) {
        const { out, error } = await chaperone('sessions', ...args);
        const found = JSON.parse(out) as { id: string; startedAt: string }[];
        assert.equal(new Set(found.map(({ id }) => id)).size, listed, args.join(' '));
        assert.deepEqual(
          found,
          found.toSorted((a, b) => (a.startedAt < b.startedAt ? 1 : -1)),
        );
        assert.equal(error.startsWith('more: '), more, args.join(' '));
      }
    });
  });

  test('an order is waited for when a question would have been given up', async () => {
    const { db } = collectors;
    const client = new CollectorClient(localCollector(instance), { timeoutMs: 300 });
    await db.query('BEGIN; LOCK TABLE legal_holds');
    const body = { held: false, who: 'an officer', why: 'slowly' };
    const order = client.order('PUT', '/v1/legal-hold', body);
    const settled = order.then(() => 'done', explained);
    assert.match(await client.json('/v1/legal-hold').then(() => '', explained), /does not answer \(ETIMEDOUT\)$/); // prettier-ignore
    await db.query('COMMIT');
    assert.equal(await settled, 'done');
  });

  test('an order whose answer does not come is not said to have failed', async () => {
    const { db, first } = collectors;
    await db.query('BEGIN; LOCK TABLE legal_holds');
    const body = { held: false, who: 'an officer', why: 'in vain' };
    const order = new CollectorClient(localCollector(instance)).order(
      'PUT',
      '/v1/legal-hold',
      body,
    );
    const settled = order.then(() => 'done', explained);
    await until('the order waits in the store', async () => {
      const { rows } = await db.query("SELECT FROM pg_locks WHERE relation = 'legal_holds'::regclass AND NOT granted"); // prettier-ignore
      return rows.length > 0;
    });
    process.kill(first.pid, 'SIGKILL');
    assert.match(await settled, /may be carried out all the same; give it again to see \(\w+\)$/);
    await db.query('ROLLBACK');
    await first.stop();
    await first.start();
    instance = instanceOf(collectors);
    writeFileSync(instanceFile(collectors.directory), JSON.stringify(instance));
  });

  test('a legal hold is ordered, shown, heeded and lifted', async () => {
    const who = ['--who', 'counsel\u001b[2J', '--why', 'case 7'];
    const erase = ['erase', sessions.early, '--who', 'an officer', '--why', 'asked for'];
    for (const wrong of [['on'], ['on', '--who', 'x'], ['maybe', ...who], ['on', 'off', ...who], who])
      assert.equal((await chaperone('hold', ...wrong)).code, 2, wrong.join(' '));
    await collectors.db.query('DELETE FROM legal_holds');
    assert.equal((await chaperone('hold')).out, 'no legal hold: none was ever ordered\n');
    const on = await chaperone('hold', 'on', ...who);
    assert.match(on.out, /^legal hold: nothing is dropped or erased, by order of counsel\\u\{1b\}\[2J, \d{4}-\S+Z: case 7\n$/);
    assert.equal((await chaperone('hold')).out, on.out);
    const refused = await chaperone(...erase);
    assert.deepEqual([refused.code, refused.error], [1, 'chaperone: the collector says: a legal hold is on: nothing is erased\n']);
    assert.match((await chaperone('hold', 'off', ...who)).out, /^no legal hold, by order of counsel/);
    const { held, why } = JSON.parse((await chaperone('hold', '--json')).out) as { held: boolean; why: string };
    assert.deepEqual({ held, why }, { held: false, why: 'case 7' });
    assert.match((await chaperone(...erase)).out, /^erased \d+ payloads/);
  }); // prettier-ignore

  test('one that cannot be reached is told from one that is silent, and from another', async () => {
    const silent = createServer(() => undefined).listen(0, '127.0.0.1');
    const closed = createServer().listen(0, '127.0.0.1');
    await Promise.all([once(silent, 'listening'), once(closed, 'listening')]);
    const urlOf = ({ port }: AddressInfo): string => `https://127.0.0.1:${port}`;
    const closedUrl = urlOf(closed.address() as AddressInfo);
    closed.close();
    const strange = join(collectors.directory, 'strange.crt');
    writeFileSync(strange, (await createLocalCa(Date.now())).certificate);
    const cases: [changed: Partial<Instance['collector']>, said: RegExp][] = [
      [{ url: closedUrl }, /does not answer \(ECONNREFUSED\)$/],
      [{ url: urlOf(silent.address() as AddressInfo) }, /does not answer \(ETIMEDOUT\)$/],
      [{ caFile: strange }, /does not answer \((SELF_SIGNED|UNABLE_TO_VERIFY|CERT)\w+\)$/],
    ];
    for (const [changed, said] of cases) {
      const other = { ...instance, collector: { ...instance.collector, ...changed } };
      const client = new CollectorClient(localCollector(other), { timeoutMs: 300 });
      assert.match(await client.json('/v1/findings').then(() => '', explained), said);
    }
    silent.close();
    writeFileSync(instanceFile(collectors.directory), JSON.stringify({ ...instance, collector: { ...instance.collector, url: closedUrl } })); // prettier-ignore
    assert.match((await chaperone('findings')).error, /^chaperone: .* does not answer \(ECONNREFUSED\)\n$/); // prettier-ignore
  });
});

function explained(error: unknown): string {
  assert.ok(error instanceof ChaperoneError);
  return sentenceOf(error);
}
