import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Admission } from '../../collector/admission.ts';
import { podIdentity } from '../support/collectors.ts';

describe('batches of many pods', () => {
  test('are worked on two of a pod and four in all at once, and each has its turn', async () => {
    const admission = new Admission();
    const begun: string[] = [];
    const ends: (() => void)[] = [];
    const work = (pod: string): Promise<void> =>
      admission.work(podIdentity(pod), () => {
        begun.push(pod);
        return new Promise<void>((resolve) => ends.push(resolve));
      });
    const all = ['a', 'a', 'a', 'a', 'b', 'c', 'd', 'e'].map(work);
    assert.deepEqual(begun, ['a', 'a', 'b', 'c']);
    ends[2]?.(); // of b
    await all[4];
    await new Promise(setImmediate);
    assert.deepEqual(begun, ['a', 'a', 'b', 'c', 'd']);
    ends[0]?.(); // of a: its next one is the first that waits
    await all[0];
    await new Promise(setImmediate);
    assert.deepEqual(begun, ['a', 'a', 'b', 'c', 'd', 'a']);
    for (let done = 0; done < ends.length; done += 1) {
      ends[done]?.();
      await new Promise(setImmediate);
    }
    await Promise.all(all);
    assert.equal(begun.length, all.length);
  });
});
