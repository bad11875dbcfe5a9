import assert from 'node:assert/strict';
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { DatabaseError } from 'pg';
import { transcribe } from '#core/postgres/transcript.ts';
import { allSessions, startInstance, verifyAll, type TestInstance } from '../support/instance.ts';
import { waitForSessions } from '../support/results.ts';
import { until } from '../support/until.ts';

async function startAcknowledged(): Promise<TestInstance> {
  return startInstance({
    prepare: (config) => {
      const file = join(config, 'policies.yaml');
      const text = readFileSync(file, 'utf8').replace('delivery: Spool', 'delivery: Acknowledged');
      writeFileSync(file, text.replace('wait: 10s', 'wait: 500ms'));
    },
  });
}

const marks = (text: string): string[] =>
  Array.from(text.matchAll(/mark (\d+)/g), ([, mark = '']) => mark);

async function recordedMarks(instance: TestInstance): Promise<Set<string>> {
  const found = new Set<string>();
  const client = instance.collector();
  for await (const { id } of allSessions(client))
    for await (const line of transcribe(client.frames(id)))
      if (line.kind === 'request') for (const mark of marks(line.text ?? '')) found.add(mark);
  return found;
}

describe('delivery: Acknowledged', () => {
  let instance: TestInstance;
  before(async () => (instance = await startAcknowledged()));
  after(async () => instance[Symbol.asyncDispose]());
  const collector = (signal: NodeJS.Signals): boolean =>
    process.kill(instance.instance.pids.collector, signal);

  test('nothing goes up that the collector has not committed, and the connection works on afterwards', async () => {
    const client = await instance.connect();
    await client.query("SELECT 'mark 1'");
    assert.ok((await recordedMarks(instance)).has('1'), 'it was answered before it was stored');
    collector('SIGSTOP');
    await assert.rejects(client.query("SELECT 'mark 2'"), { code: '53100' });
    await assert.rejects(client.query("SELECT 'mark 3', $1::text", ['x']), { code: '53100' });
    await assert.rejects(instance.connect(), { code: '53100' });
    collector('SIGCONT');
    await until('it works again', () => client.query("SELECT 'mark 4'").catch(() => undefined));
    assert.deepEqual((await client.query("SELECT 'mark 5', $1::int AS n", [7])).rows[0]?.n, 7);
    await client.end();
    assert.deepEqual([...new Set(marks(instance.backendLog()))], ['1', '4', '5']);
  });

  test('a refused transaction is as after any error', async () => {
    const client = await instance.connect();
    await client.query('BEGIN');
    await client.query("UPDATE orders SET status = 'lost' WHERE id = 1");
    collector('SIGSTOP');
    await assert.rejects(client.query('SELECT 1'), { code: '53100' });
    collector('SIGCONT');
    const code = await until('it is committed again', async () => {
      const error: unknown = await client.query('SELECT 2').catch((reason: unknown) => reason);
      return error instanceof DatabaseError && error.code !== '53100' ? error.code : undefined;
    });
    assert.equal(code, '25P02');
    await client.query('ROLLBACK');
    const { rows } = await client.query('SELECT status FROM orders WHERE id = 1');
    assert.notDeepEqual(rows, [{ status: 'lost' }]);
    await client.end();
  });

  test('what was refused is on record as not executed, and every session verifies', async () => {
    await waitForSessions(instance);
    const outcomes = new Map<string, string>();
    for await (const { id } of allSessions(instance.collector())) {
      const texts = new Map<number, string>();
      for await (const line of transcribe(instance.collector().frames(id))) {
        if (line.kind === 'request') texts.set(line.seq, line.text ?? '');
        if (line.kind !== 'outcome') continue;
        for (const mark of marks(texts.get(line.seq) ?? '')) outcomes.set(mark, line.status);
      }
    }
    assert.equal(outcomes.get('1'), 'ok');
    assert.equal(outcomes.get('2'), 'not-executed');
    assert.equal(outcomes.get('5'), 'ok');
    assert.ok((await verifyAll(instance)).every((verdict) => !verdict.startsWith('broken')));
  });
});

test('a pod that vanishes with its spool leaves nothing unrecorded of what went up', async () => {
  await using instance = await startAcknowledged();
  const client = await instance.connect();
  let sent = 0;
  let vanished = false;
  const work = (async (): Promise<void> => {
    while (!vanished) await client.query(`SELECT 'mark ${(sent += 1)}'`).catch(() => (vanished = true)); // prettier-ignore
  })();
  await until('it works', () => sent > 50);
  const { pids } = instance.instance;
  process.kill(pids.sidecar, 'SIGKILL');
  const spool = join(instance.data, 'spool');
  for (const name of readdirSync(spool)) rmSync(join(spool, name), { recursive: true });
  vanished = true;
  await work;
  await until('the next one runs', () => instance.instance.pids.sidecar !== pids.sidecar);
  const seen = new Set(marks(instance.backendLog()));
  assert.ok(seen.size >= 50);
  const recorded = await recordedMarks(instance);
  assert.deepEqual(
    [...seen].filter((mark) => !recorded.has(mark)),
    [],
  );
});
