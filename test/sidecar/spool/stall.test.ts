import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Stall } from '../../../sidecar/spool/stall.ts';

describe('records that wait to be shipped', () => {
  const make = () => {
    const said: string[] = [];
    const clock = { ms: 1_000 };
    const stall = new Stall({ nowMs: () => clock.ms, onChange: (state) => said.push(state) });
    const fails = (ms: number): void => {
      clock.ms += ms;
      stall.failed();
    };
    return { stall, said, clock, fails };
  };

  test('are counted in seconds from the first failure, until some are taken', () => {
    const { stall, clock, fails } = make();
    assert.equal(stall.seconds, 0);
    fails(0);
    fails(2_000);
    clock.ms += 500;
    assert.equal(stall.seconds, 2.5);
    stall.shipped();
    assert.equal(stall.seconds, 0);
  });

  test('are told of once when it takes long, and when it is over', () => {
    const { stall, said, fails } = make();
    for (const ms of [0, 299_999]) fails(ms);
    assert.deepEqual(said, []);
    for (const ms of [1, 5_000, 300_000]) fails(ms);
    assert.deepEqual(said, ['stalled']);
    stall.shipped();
    stall.shipped();
    assert.deepEqual(said, ['stalled', 'over']);
  });

  test('are no matter where each failure is followed by a success', () => {
    const { stall, said, fails } = make();
    for (let index = 0; index < 10; index += 1) {
      fails(200_000);
      stall.shipped();
    }
    assert.deepEqual(said, []);
  });
});
