import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Room } from '../../webhook/room.ts';

const never = 2 ** 31 - 1;

describe('room for what is held at once', () => {
  test('is as large as was said, and given on as soon as somebody leaves', async () => {
    const room = new Room({ size: 10, waitMs: never, maxWaiting: 8 });
    const first = await room.enter('a', 6);
    const order: string[] = [];
    const large = room.enter('b', 5).then((leave) => (order.push('large'), leave));
    const small = await room.enter('c', 4);
    order.push('small');
    first?.();
    (await large)?.();
    assert.deepEqual(order, ['small', 'large'], 'what fits does not wait for what does not');
    small?.();
    assert.ok(await room.enter('a', 10));
  });

  test('is not all of it one asker’s', async () => {
    const room = new Room({ size: 10, sizeOfOne: 4, waitMs: 0, maxWaiting: 8 });
    const leave = await room.enter('a', 4);
    assert.ok(leave);
    assert.equal(await room.enter('a', 1), undefined, 'waited in vain');
    assert.ok(await room.enter('b', 4));
    leave();
    assert.ok(await room.enter('a', 2));
  });

  test('has a queue that ends', async () => {
    const room = new Room({ size: 1, waitMs: never, maxWaiting: 1 });
    const leave = await room.enter('a', 1);
    const waiting = room.enter('a', 1);
    assert.equal(await room.enter('a', 1), undefined);
    leave?.();
    assert.ok(await waiting);
  });
});
