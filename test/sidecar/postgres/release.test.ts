import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { describe, test } from 'node:test';
import { isRefusal } from '#core/operation.ts';
import { ReleaseQueue } from '../../../sidecar/postgres/release.ts';
import type { Permit } from '../../../sidecar/gate.ts';
import { unrecordable } from '../../../sidecar/spool/writer.ts';
import { openSession, openSpool } from '../../support/sidecar-session.ts';

const parseComplete = Buffer.from('1\0\0\0\x04', 'latin1');
const readyForQuery = Buffer.from('Z\0\0\0\x05I', 'latin1');
const end = { inside: false, idle: false };
const idle = { inside: false, idle: true };

function permit(): Permit {
  using spool = openSpool();
  const admitted = openSession(spool.writer).admit({
    kind: 'request',
    facts: { protocol: 'Postgres', statements: [] },
    content: { type: 'postgres.query', bytes: Buffer.from('SELECT 1') },
  });
  assert.ok(!isRefusal(admitted));
  return admitted;
}

describe('what stands in the place of an answer that cannot be recorded', () => {
  /** What an agent reads of an answer, of which the first piece cannot be recorded. */
  async function read(of: Permit | undefined): Promise<string> {
    const agent = new PassThrough();
    const queue = new ReleaseQueue({
      agent,
      onBroken: () => undefined,
      onProgress: () => undefined,
    });
    const stopped = Promise.resolve(unrecordable);
    queue.push([{ bytes: parseComplete, ready: false, permit: of }], stopped, end);
    queue.push([{ bytes: readyForQuery, ready: true }], undefined, idle);
    await stopped;
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    return String(agent.read());
  }

  test('says that the operation was run, where it was', async () => {
    const text = await read(permit());
    assert.match(text, /^E[^]*the answer is withheld; the operation itself was run[^]*Z/);
  });

  test('says that nothing was run, where what is withheld answers no operation', async () => {
    const text = await read(undefined);
    assert.match(text, /^E[^]*so this was not run[^]*Z/);
    assert.doesNotMatch(text, /itself was run/);
  });
});
