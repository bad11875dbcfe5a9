import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Delivery } from '#core/policy/resources.ts';
import { Clearance, type Commits } from '../../sidecar/clearance.ts';
import type { Stop } from '../../sidecar/ready.ts';
import { unrecordable, type Draft } from '../../sidecar/spool/writer.ts';
import { openSpool, type TestSpool } from '../support/sidecar-session.ts';

const draft: Draft = {
  ending: false,
  seal: () => ({ fields: { kind: 'policy.changed', revision: 'r' } }),
};

/** What a collector has committed, as the test says. */
class Committed implements Commits {
  ackedSeq = 0;
  away = false;
  readonly #waiting: { readonly seq: number; settle(stop: undefined | Stop): void }[] = [];

  committed(seq: number): undefined | Stop | Promise<undefined | Stop> {
    if (seq <= this.ackedSeq) return undefined;
    if (this.away) return unrecordable;
    const { promise, resolve } = Promise.withResolvers<undefined | Stop>();
    this.#waiting.push({ seq, settle: resolve });
    return promise;
  }

  commit(seq: number): void {
    this.ackedSeq = seq;
    for (const waiting of this.#waiting) if (waiting.seq <= seq) waiting.settle(undefined);
  }
}

function clearanceOf(
  { writer }: TestSpool,
  first: Delivery,
): { clearance: Clearance; commits: Committed; set: (delivery: Delivery) => void } {
  const commits = new Committed();
  let delivery = first;
  const clearance = new Clearance({ writer, commits, delivery: () => delivery });
  return { clearance, commits, set: (next) => (delivery = next) };
}

async function state(ready: unknown): Promise<unknown> {
  const turns = new Promise((resolve) => setImmediate(() => setImmediate(resolve, 'pending')));
  return Promise.race([ready, turns]);
}

describe('Clearance', () => {
  test('under Spool a record clears what it is about once it is written', async () => {
    using spool = openSpool();
    const { clearance } = clearanceOf(spool, 'Spool');
    const ref = spool.writer.append(draft);
    const turn = clearance.turn();
    assert.equal(clearance.has(ref), false);
    assert.equal(await turn, undefined);
    assert.equal(clearance.has(ref), true);
  });

  test('under Acknowledged it does so once it is committed', async () => {
    using spool = openSpool();
    const { clearance, commits } = clearanceOf(spool, 'Acknowledged');
    const ref = spool.writer.append(draft);
    const turn = clearance.turn();
    assert.equal(await state(turn), 'pending');
    assert.equal(ref.seq, 1);
    assert.equal(clearance.has(ref), false);
    commits.commit(1);
    assert.equal(await turn, undefined);
    assert.equal(clearance.has(ref), true);
    assert.equal(await state(clearance.turn()), undefined);
  });

  test('a collector that is away clears nothing', async () => {
    using spool = openSpool();
    const { clearance, commits } = clearanceOf(spool, 'Acknowledged');
    commits.away = true;
    const ref = spool.writer.append(draft);
    assert.equal(await clearance.turn(), unrecordable);
    assert.equal(clearance.has(ref), false);
  });

  test('a change of the policy counts for what is recorded from then on', async () => {
    using spool = openSpool();
    const { clearance, commits, set } = clearanceOf(spool, 'Spool');
    const before = spool.writer.append(draft);
    await clearance.turn();
    set('Acknowledged');
    const after = spool.writer.append(draft);
    const turn = clearance.turn();
    assert.equal(await state(turn), 'pending');
    assert.equal(clearance.has(before), true);
    assert.equal(clearance.has(after), false);
    commits.commit(2);
    assert.equal(await turn, undefined);
    set('Spool');
    const last = spool.writer.append(draft);
    await clearance.turn();
    assert.equal(clearance.has(last), true);
  });
});
