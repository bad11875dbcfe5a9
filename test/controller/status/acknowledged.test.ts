import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Acknowledged } from '../../../controller/status/acknowledged.ts';
import { podKey, type Standing } from '../../../controller/status/standing.ts';

const uid = '6f1c0d0e-0000-4000-8000-000000000000';
const accepted = { accepted: true, problems: [] } as const;

/** A replica with one sidecar, by a clock that the test sets. */
function following(): {
  acknowledged: Acknowledged;
  clock: { ms: number };
  changes: () => number;
  standing: () => Standing | undefined;
} {
  const clock = { ms: 1_000 };
  let changes = 0;
  const acknowledged = new Acknowledged(
    () => (changes += 1),
    () => clock.ms,
  );
  acknowledged.opened(uid);
  const standing = (): Standing | undefined => acknowledged.standings().get(podKey(uid));
  return { acknowledged, clock, changes: () => changes, standing };
}

describe('what sidecars have acknowledged', () => {
  test('is nothing until one answers, and then what it was sent', () => {
    const { acknowledged, standing, changes } = following();
    acknowledged.sent(uid, 'one', ['a@1']);
    assert.equal(standing(), undefined);
    assert.equal(changes(), 0);
    assert.equal(acknowledged.take(uid, { revision: 'one', ...accepted }), true);
    assert.deepEqual(standing(), { atMs: 1_000, inForce: ['a@1'], refused: undefined, heldBy: [] });
    assert.equal(changes(), 1);
  });

  test('stays in force under one that is refused, until one is accepted', () => {
    const { acknowledged, standing } = following();
    acknowledged.sent(uid, 'one', ['a@1']);
    acknowledged.take(uid, { revision: 'one', ...accepted });
    acknowledged.sent(uid, 'two', ['a@2']);
    const problems = [{ path: 'spec.later', message: 'unknown' }];
    acknowledged.take(uid, { revision: 'two', accepted: false, problems });
    assert.deepEqual(standing()?.inForce, ['a@1']);
    assert.deepEqual(standing()?.refused, { parts: ['a@2'], problem: 'spec.later: unknown' });
    acknowledged.sent(uid, 'three', ['a@3']);
    acknowledged.take(uid, { revision: 'three', ...accepted });
    assert.deepEqual(standing()?.inForce, ['a@3']);
    assert.equal(standing()?.refused, undefined);
  });

  test('is not taken for a bundle that was never sent from here, nor for one before the last that was answered', () => {
    const { acknowledged } = following();
    assert.equal(acknowledged.take(uid, { revision: 'elsewhere', ...accepted }), false);
    acknowledged.sent(uid, 'one', ['a@1']);
    acknowledged.sent(uid, 'two', ['a@2']);
    assert.equal(acknowledged.take(uid, { revision: 'two', ...accepted }), true);
    assert.equal(acknowledged.take(uid, { revision: 'two', ...accepted }), true); // it did not hear the answer
    assert.equal(acknowledged.take(uid, { revision: 'one', ...accepted }), false);
    assert.equal(acknowledged.take('another', { revision: 'two', ...accepted }), false);
  });

  test('is remembered of a few bundles, however many are sent', () => {
    const { acknowledged } = following();
    for (let index = 0; index < 100; index += 1) acknowledged.sent(uid, `${index}`, ['a@1']);
    assert.equal(acknowledged.take(uid, { revision: '0', ...accepted }), false);
    assert.equal(acknowledged.take(uid, { revision: '99', ...accepted }), true);
  });

  test('has the names of what holds the next bundle back, until nothing does', () => {
    const { acknowledged, standing, changes } = following();
    acknowledged.held(uid, []);
    assert.equal(changes(), 0);
    acknowledged.held(uid, ['Backend/a', 'Backend/a', 'Backend/b', 'Backend/c', 'Backend/d']);
    assert.deepEqual(standing()?.heldBy, ['Backend/a', 'Backend/b', 'Backend/c']);
    acknowledged.held(uid, []);
    assert.deepEqual(standing()?.heldBy, []);
    assert.equal(changes(), 2);
  });

  test('is forgotten a minute after the last stream ended, and not while another goes on', () => {
    const { acknowledged, clock, standing } = following();
    acknowledged.sent(uid, 'one', ['a@1']);
    acknowledged.take(uid, { revision: 'one', ...accepted });
    acknowledged.opened(uid);
    acknowledged.left(uid);
    clock.ms += 120_000;
    assert.ok(standing());
    acknowledged.left(uid);
    clock.ms += 60_000;
    assert.ok(standing());
    clock.ms += 1;
    assert.equal(standing(), undefined);
    assert.equal(acknowledged.take(uid, { revision: 'one', ...accepted }), false);
  });
});
