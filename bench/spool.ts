import { mkdtempSync, rmSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isRefusal } from '#core/operation.ts';
import type { LiveSession } from '../sidecar/session.ts';
import { openLiveSpool } from '../test/support/live-spool.ts';
import { openSession } from '../test/support/sidecar-session.ts';
import type { Effort } from './postgres/throughput.ts';
import { figureOf, type Measured } from './rounds.ts';

const lanes = 8;
const payloads = [200, 1024];
const text = Buffer.from('SELECT abalance FROM pgbench_accounts WHERE aid = 4242424;');
const warmUpSeconds = 0.5;
const topFunctions = 20;

/** Requests with their results through gate and writer, as lanes record them, with the worker beside. */
export async function* spool(
  effort: Effort,
  options: { readonly profile: boolean },
): AsyncGenerator<Measured> {
  for (const payloadBytes of payloads) {
    effort.say(`spool, ${payloadBytes} B`);
    const rounds: Round[] = [];
    for (let round = 0; round < effort.rounds; round += 1)
      rounds.push(await once(payloadBytes, effort.seconds, options.profile && round === 0));
    yield {
      measure: `spool, ${payloadBytes} B answers: records`,
      unit: 'a second',
      figures: { chaperone: figureOf(rounds.map(({ records, seconds }) => records / seconds)) },
    };
    yield {
      measure: `spool, ${payloadBytes} B answers: time of the agents' thread a record`,
      unit: 'µs',
      figures: { chaperone: figureOf(rounds.map(({ records, cpuUs }) => cpuUs / records)) },
      goal: { kind: 'limit', most: 10 },
    };
  }
}

interface Round {
  readonly records: number;
  readonly seconds: number;
  /** CPU of the thread that agents are served by. */
  readonly cpuUs: number;
}

async function once(payloadBytes: number, seconds: number, profile: boolean): Promise<Round> {
  const directory = mkdtempSync(join(tmpdir(), 'chaperone-bench-spool-'));
  const { spool: live, metrics } = await openLiveSpool({ directory, maxBytes: 2 ** 40 });
  const answer = Buffer.alloc(payloadBytes, 'a');
  const sessions = Array.from({ length: lanes }, () => openSession(live.writer));
  let running = true;
  const work = sessions.map(async (session) => {
    while (running) await pair(session, answer);
  });
  await pause(warmUpSeconds);
  const stop = profile ? await startProfile() : undefined;
  const { records } = metrics.totals;
  const began = performance.now();
  const cpu = process.threadCpuUsage();
  await pause(seconds);
  const used = process.threadCpuUsage(cpu);
  const round = {
    records: metrics.totals.records - records,
    seconds: (performance.now() - began) / 1000,
    cpuUs: used.user + used.system,
  };
  await stop?.();
  running = false;
  await Promise.all(work);
  await live.close(0);
  rmSync(directory, { recursive: true, force: true });
  return round;
}

async function pair(session: LiveSession, answer: Buffer): Promise<void> {
  const permit = session.admit({
    kind: 'request',
    facts: { protocol: 'Postgres', statements: [] },
    content: { type: 'postgres.query', bytes: text },
  });
  if (isRefusal(permit) || (await permit.recorded)) throw new Error('it was to be recorded');
  permit.down({ type: 'postgres.messages', bytes: answer }, 1);
  permit.finish({ status: 'ok' });
  await session.recorded();
}

function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000);
  });
}

/** Starts a CPU profile of this thread; what is returned stops it and prints where the time went. */
async function startProfile(): Promise<() => Promise<void>> {
  const inspector = new Session();
  inspector.connect();
  await inspector.post('Profiler.enable');
  await inspector.post('Profiler.setSamplingInterval', { interval: 200 });
  await inspector.post('Profiler.start');
  return async () => {
    const { profile } = await inspector.post('Profiler.stop');
    inspector.disconnect();
    const names = new Map(
      profile.nodes.map(({ id, callFrame: { functionName, url } }) => [
        id,
        `${functionName || '(anonymous)'} ${url.replace(/^.*\/(?=[^/]+\/[^/]+$)/, '')}`,
      ]),
    );
    const selfUs = new Map<string, number>();
    for (const [index, id] of (profile.samples ?? []).entries()) {
      const name = names.get(id) ?? '';
      selfUs.set(name, (selfUs.get(name) ?? 0) + (profile.timeDeltas?.[index] ?? 0));
    }
    const all = [...selfUs.values()].reduce((sum, us) => sum + us, 0);
    const top = [...selfUs].sort(([, a], [, b]) => b - a).slice(0, topFunctions);
    for (const [name, us] of top)
      process.stderr.write(`${((100 * us) / all).toFixed(1).padStart(6)} %  ${name}\n`);
  };
}
