import { openSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isRefusal } from '#core/operation.ts';
import type { PeerCollector } from './peer-collector.ts';
import { openLiveSpool } from './live-spool.ts';
import { Random } from './random.ts';
import { openSession } from './sidecar-session.ts';

/**
 * A sidecar without its sockets: sessions that record requests as fast as they can, until the process is killed or its
 * standard input ends. It writes each mark into a file once the request that holds it may go up.
 */
const [directory = '', url = '', ca = '', seed = '1', marks = ''] = process.argv.slice(2);
const random = new Random(Number(seed));
const { spool } = await openLiveSpool({
  directory,
  collector: { url, ca } as PeerCollector, // all that it takes to ship to one
  maxBytes: 32 * 1024 * 1024, // segments of 4 MiB, so that some are deleted before the kill
});
let mark = Number(seed) * 1_000_000;
const fd = openSync(marks, 'a');
let stopping = false;
writeSync(fd, 'open\n');

// One request is open all the time: what began it is deleted long before it ends.
const lasting = openSession(spool.writer);
const permit = lasting.admit({ kind: 'connection', facts: { protocol: 'TCP' } });
if (isRefusal(permit)) throw new Error('it was to be allowed');

async function work(): Promise<void> {
  while (!stopping) {
    const session = openSession(spool.writer);
    for (let request = random.below(20); request >= 0 && !stopping; request -= 1)
      await ask(session);
    session.end('agent-closed');
    await session.recorded();
  }
}

async function ask(session: ReturnType<typeof openSession>): Promise<void> {
  mark += 1;
  const text = `mark_${mark}_`;
  const statement = random.below(4) === 0;
  const asked = session.admit({
    kind: statement ? 'statement' : 'request',
    facts: { protocol: 'Postgres', statements: [] },
    content: { type: 'postgres.query', bytes: Buffer.from(text) },
  });
  if (isRefusal(asked)) throw new Error('it was to be allowed');
  if (await asked.recorded) return delay(20); // full
  writeSync(fd, `${text}\n`);
  await new Promise((resolve) => setImmediate(resolve));
  for (let part = random.below(3); part > 0; part -= 1) {
    asked.down({ type: 'postgres.messages', bytes: Buffer.alloc(random.below(40_000), 'x') }, 1);
    await session.recorded();
  }
  asked.finish({ status: 'ok' });
}

const all = Promise.all(Array.from({ length: 5 }, work));
process.stdin.resume();
process.stdin.on('end', () => {
  stopping = true;
  void all
    .then(() => {
      permit.finish({ status: 'ok' });
      lasting.end('agent-closed');
      return spool.close(20_000);
    })
    .then(() => process.exit(0));
});
