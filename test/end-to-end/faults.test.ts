import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from 'pg';
import { transcribe } from '#core/postgres/transcript.ts';
import { isAlive } from '../../cli/instance.ts';
import { metricOf } from '../support/metrics.ts';
import { Random, scaled } from '../support/random.ts';
import { allSessions, startInstance, verifyAll, type TestInstance } from '../support/instance.ts';
import { until } from '../support/until.ts';

/** The numbers of all marks in a text. */
function markers(text: string): Set<string> {
  return new Set(Array.from(text.matchAll(/mark_(\d+)_/g), ([, marker = '']) => marker));
}

async function recordedMarkers(instance: TestInstance): Promise<Set<string>> {
  const found = new Set<string>();
  const client = instance.collector();
  for await (const { id, requests } of allSessions(client)) {
    if (requests === 0) continue;
    for await (const line of transcribe(client.frames(id))) {
      if (line.kind === 'request' && line.text !== undefined)
        for (const marker of markers(line.text)) found.add(marker);
    }
  }
  return found;
}

/** An agent that goes on, whatever happens to its connections. */
class StubbornAgent {
  sent = 0;
  answered = 0;
  readonly #instance: TestInstance;
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;

  constructor(instance: TestInstance) {
    this.#instance = instance;
    this.#done = this.#work();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  async #work(): Promise<void> {
    let client: Client | undefined;
    while (!this.#stop.signal.aborted) {
      try {
        client ??= await this.#instance.connect();
        this.sent += 1;
        await client.query(`SELECT 'mark_${this.sent}_', pg_sleep($1)`, [0.002]);
        this.answered += 1;
      } catch {
        client = undefined; // the part that it talked to was killed: that is the test
        await delay(20);
      }
    }
    await client?.end();
  }
}

for (const part of ['sidecar', 'collector', 'store', 'backend'] as const) {
  test(`kill -9 of the ${part} in mid-query: every statement in the backend's log has its record`, async () => {
    await using instance = await startInstance();
    const random = new Random(part.length);
    const agent = new StubbornAgent(instance);
    const kills = scaled(part === 'sidecar' || part === 'collector' ? 30 : 10);
    for (let kill = 0; kill < kills; kill += 1) {
      const before = agent.answered;
      await until('the agent works', () => agent.answered > before + 10);
      await delay(random.below(30));
      const pid = instance.instance.pids[part];
      assert.ok(pid !== undefined);
      process.kill(pid, 'SIGKILL');
      await until(`the ${part} runs again`, () => instance.instance.pids[part] !== pid);
    }
    const before = agent.answered;
    await until('the agent works again', () => agent.answered > before + 10);
    await agent.stop();
    const logged = markers(instance.backendLog());
    assert.ok(logged.size >= agent.answered && agent.answered > 20, `${logged.size} statements`);
    const collector = instance.collector();
    await until('the collector has its store again', () =>
      collector.sessions({}).then(
        () => true,
        () => false,
      ),
    );
    // What a killed part never saw is recorded as well: how many there are says nothing of which.
    let missing: string[] = [];
    await until('all of it is recorded', async () => {
      const recorded = await recordedMarkers(instance);
      missing = [...logged].filter((marker) => !recorded.has(marker));
      return missing.length === 0;
    }).catch(() => undefined); // the assertion says which
    assert.deepEqual(missing, []);
    const verdicts = await verifyAll(instance);
    assert.deepEqual(
      verdicts.filter((verdict) => verdict !== 'consistent' && verdict !== 'unbroken'),
      [],
    );
  });
}

describe('kill -9 of the supervisor', () => {
  test('leaves no process behind', async () => {
    const instance = await startInstance();
    const { pids } = instance.instance;
    const client = await instance.connect();
    instance.process.kill('SIGKILL');
    for (const [name, pid] of Object.entries(pids))
      await until(`${name} has ended`, () => !isAlive(pid));
    await client.end().catch(() => undefined); // its connection is gone as well
    await instance[Symbol.asyncDispose]();
  });
});

test('the spool that a killed sidecar leaves is shipped by the next one', async () => {
  await using instance = await startInstance();
  const { pids } = instance.instance;
  process.kill(pids.collector, 'SIGSTOP');
  const client = await instance.connect({ password: await instance.token({ sub: 'left-over' }) });
  await client.query("SELECT 'mark_1_'");
  process.kill(pids.sidecar, 'SIGKILL');
  await until('the sidecar runs again', () => instance.instance.pids.sidecar !== pids.sidecar);
  process.kill(pids.collector, 'SIGCONT');
  await until(
    'the session is stored',
    async () => (await instance.collector().sessions({ who: 'left-over' }))[0],
  );
  assert.ok((await recordedMarkers(instance)).has('1'));
  await client.end().catch(() => undefined); // its connection went with the sidecar
});

test('a sidecar does not believe what another than its collector acknowledges', async () => {
  await using instance = await startInstance();
  const other = generateKeyPairSync('ed25519').publicKey;
  const file = join(instance.data, 'collector.key.pub');
  rmSync(file);
  writeFileSync(file, other.export({ type: 'spki', format: 'pem' }));
  const { sidecar } = instance.instance.pids;
  process.kill(sidecar, 'SIGKILL');
  await until('there is another sidecar', () => instance.instance.pids.sidecar !== sidecar);
  const client = await instance.connect();
  await client.query('SELECT 1');
  await client.end();
  await until(
    'an acknowledgement was not believed',
    async () => (await metricOf(instance, 'chaperone_acknowledgements_rejected_total')) > 0,
  );
});
