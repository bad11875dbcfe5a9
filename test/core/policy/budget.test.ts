import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  BackendUse,
  isOver,
  SlidingCount,
  type Over,
  type RequestUse,
  type SessionUse,
} from '#core/policy/budget.ts';
import { noLimits, type Limits } from '#core/policy/rules.ts';
import { Random, scaled } from '../../support/random.ts';

const limit = (given: Partial<Limits>): Limits => ({ ...noLimits, ...given });

function begun(value: RequestUse | Over): RequestUse {
  assert.ok(!isOver(value), JSON.stringify(value));
  return value;
}

function opened(use: BackendUse, nowMs = 0): SessionUse {
  const session = use.open(noLimits, nowMs);
  assert.ok(!isOver(session));
  return session;
}

const overOf = (value: object | undefined): string | undefined =>
  value && isOver(value) ? value.limit : undefined;

describe('without limits', () => {
  test('anything may be used, and nothing is ever due', () => {
    const session = opened(new BackendUse());
    for (let nowMs = 0; nowMs < 1_000; nowMs += 1) {
      const request = begun(session.begin(noLimits, 1_000, nowMs));
      assert.equal(request.answer(noLimits, 1e9, 1e12, nowMs), undefined);
    }
    assert.equal(session.dueMs(noLimits), Infinity);
    assert.equal(session.overdue(noLimits, 1e15), undefined);
  });
});

describe('sessions', () => {
  test('are as many as may be open at a time', () => {
    const use = new BackendUse();
    const limits = limit({ sessions: 2 });
    const first = use.open(limits, 0);
    assert.ok(!isOver(first) && !isOver(use.open(limits, 0)));
    assert.deepEqual(use.open(limits, 0), { limit: 'sessions', most: 2, retryMs: undefined });
    first.close(1);
    first.close(2); // once more gives nothing back
    assert.ok(!isOver(use.open(limits, 3)));
    assert.equal(overOf(use.open(limits, 3)), 'sessions');
  });

  test('end after their duration, their idle time, or the duration of a request', () => {
    const limits = limit({ sessionDurationMs: 1_000, idleMs: 100, requestDurationMs: 50 });
    const session = opened(new BackendUse(), 10);
    assert.equal(session.dueMs(limits), 110);
    assert.equal(session.overdue(limits, 109), undefined);
    assert.deepEqual(session.overdue(limits, 110), { limit: 'idleMs', most: 100, retryMs: undefined }); // prettier-ignore
    const request = begun(session.begin(limits, 1, 109));
    assert.equal(session.dueMs(limits), 159);
    assert.equal(overOf(session.overdue(limits, 159)), 'requestDurationMs');
    request.end(150);
    assert.equal(session.overdue(limits, 249), undefined);
    assert.equal(overOf(session.overdue(limits, 250)), 'idleMs');
    begun(session.begin(limits, 1, 1_000));
    assert.equal(overOf(session.overdue(limits, 1_010)), 'sessionDurationMs');
  });

  test('are watched by their oldest request', () => {
    const limits = limit({ requestDurationMs: 50 });
    const session = opened(new BackendUse());
    const first = begun(session.begin(limits, 1, 0));
    begun(session.begin(limits, 1, 20));
    assert.equal(session.dueMs(limits), 50);
    first.end(30);
    assert.equal(session.dueMs(limits), 70);
  });
});

describe('requests', () => {
  test('are as many as may run at a time, over all sessions, and end once', () => {
    const use = new BackendUse();
    const limits = limit({ concurrentRequests: 2 });
    const [a, b] = [opened(use), opened(use)];
    const first = begun(a.begin(limits, 1, 0));
    begun(b.begin(limits, 1, 0));
    assert.equal(overOf(a.begin(limits, 1, 0)), 'concurrentRequests');
    first.end(1);
    first.end(1);
    begun(a.begin(limits, 1, 2));
    assert.equal(overOf(b.begin(limits, 1, 2)), 'concurrentRequests');
    a.close(3);
    begun(b.begin(limits, 1, 4));
  });

  test('that rest hold no place, have all the time, and have to find a place to go on', () => {
    const use = new BackendUse();
    const limits = limit({ concurrentRequests: 1, requestDurationMs: 100, idleMs: 1_000 });
    const [a, b] = [opened(use), opened(use)];
    const first = begun(a.begin(limits, 1, 0));
    a.rest(60);
    assert.equal(a.dueMs(limits), 1_060);
    assert.equal(first.overdue(500), undefined);
    const second = begun(b.begin(limits, 1, 70));
    assert.equal(overOf(first.resume(limits, 80)), 'concurrentRequests');
    second.end(90);
    assert.equal(first.resume(limits, 1_000), undefined);
    assert.equal(first.resume(limits, 1_010), undefined); // it runs already
    assert.equal(overOf(b.begin(limits, 1, 1_010)), 'concurrentRequests');
    assert.equal(a.dueMs(limits), 1_040); // 60 of its 100 ms have passed
    assert.equal(overOf(first.overdue(1_040)), 'requestDurationMs');
    a.close(1_050);
    begun(b.begin(limits, 1, 1_060));
  });

  test('that rest and end give nothing back twice', () => {
    const use = new BackendUse();
    const limits = limit({ concurrentRequests: 1 });
    const session = opened(use);
    const first = begun(session.begin(limits, 1, 0));
    session.rest(1);
    session.rest(2);
    first.end(3);
    assert.equal(first.resume(limits, 4), undefined); // what has ended takes no place
    begun(session.begin(limits, 1, 5));
    assert.equal(overOf(session.begin(limits, 1, 5)), 'concurrentRequests');
  });

  test('that rest may not go on when nothing is left for their answers', () => {
    const session = opened(new BackendUse());
    const limits = limit({ rowsPerSession: 5 });
    const request = begun(session.begin(limits, 1, 0));
    assert.equal(request.answer(limits, 5, 5, 0), undefined);
    session.rest(1);
    assert.equal(overOf(request.resume(limits, 2)), 'rowsPerSession');
  });

  test('have the room that the least of their limits leaves', () => {
    const session = opened(new BackendUse());
    const limits = limit({ rowsPerRequest: 10, rowsPerHour: 15, bytesPerSession: 100 });
    begun(session.begin(limits, 1, 0)).answer(limits, 9, 60, 0);
    const request = begun(session.begin(limits, 1, 0));
    assert.deepEqual(request.room(limits, 0), { rows: 6, bytes: 40 });
    assert.equal(request.exceeds(limits, { rows: 6, bytes: 40 }, 0), undefined);
    assert.equal(overOf(request.exceeds(limits, { rows: 7, bytes: 0 }, 0)), 'rowsPerHour');
    assert.equal(overOf(request.exceeds(limits, { rows: 0, bytes: 41 }, 0)), 'bytesPerSession');
  });

  test('stop at their rows or bytes, with the piece that is too much', () => {
    const session = opened(new BackendUse());
    const limits = limit({ rowsPerRequest: 10, bytesPerRequest: 100 });
    const first = begun(session.begin(limits, 1, 0));
    assert.equal(first.answer(limits, 10, 100, 0), undefined);
    assert.equal(overOf(first.answer(limits, 1, 0, 0)), 'rowsPerRequest');
    const second = begun(session.begin(limits, 1, 0));
    assert.equal(overOf(second.answer(limits, 0, 101, 0)), 'bytesPerRequest');
  });

  test('stop at what the session may have, and no other begins', () => {
    const use = new BackendUse();
    const limits = limit({ rowsPerSession: 10, bytesPerSession: 1_000 });
    const session = opened(use);
    const request = begun(session.begin(limits, 1, 0));
    assert.equal(request.answer(limits, 10, 10, 0), undefined);
    assert.equal(overOf(session.begin(limits, 1, 0)), 'rowsPerSession');
    assert.equal(overOf(request.answer(limits, 1, 10, 0)), 'rowsPerSession');
    begun(opened(use).begin(limits, 1, 0));
  });

  test('stop at what an hour may have, over all sessions, and say when there is room', () => {
    const use = new BackendUse();
    const limits = limit({ rowsPerHour: 100, bytesPerHour: 1_000 });
    const request = begun(opened(use).begin(limits, 1, 0));
    assert.equal(request.answer(limits, 100, 100, 0), undefined);
    const refused = opened(use).begin(limits, 1, 60_000);
    assert.ok(isOver(refused) && refused.limit === 'rowsPerHour');
    assert.ok((refused.retryMs ?? 0) > 3_500_000 && (refused.retryMs ?? 0) <= 3_630_000);
    assert.equal(overOf(request.answer(limits, 1, 0, 60_000)), 'rowsPerHour');
    begun(opened(use).begin(limits, 1, 60_000 + (refused.retryMs ?? 0) + 60_000));
  });

  test('hold no more statements than a minute may have', () => {
    const session = opened(new BackendUse());
    const limits = limit({ statementsPerMinute: 5 });
    begun(session.begin(limits, 3, 0)).end(0);
    assert.equal(overOf(session.begin(limits, 3, 10_000)), 'statementsPerMinute');
    begun(session.begin(limits, 2, 10_000)).end(10_000); // what was refused was not counted
    const refused = session.begin(limits, 1, 20_000);
    assert.ok(isOver(refused) && refused.retryMs !== undefined);
    assert.ok(refused.retryMs >= 40_000 && refused.retryMs <= 41_000, String(refused.retryMs));
    begun(session.begin(limits, 3, 20_000 + refused.retryMs));
  });

  test('that can never begin are told no time to try again', () => {
    const refused = opened(new BackendUse()).begin(limit({ statementsPerMinute: 5 }), 6, 0);
    assert.deepEqual(refused, { limit: 'statementsPerMinute', most: 5, retryMs: undefined });
  });

  test('of a limit of nothing never begin', () => {
    for (const given of [{ rowsPerSession: 0 }, { bytesPerHour: 0 }, { statementsPerMinute: 0 }])
      assert.ok(isOver(opened(new BackendUse()).begin(limit(given), 1, 0)), JSON.stringify(given));
  });
});

describe('a sliding count', () => {
  test('counts what happened in the window, and up to a slot longer', () => {
    const random = new Random(3);
    const count = new SlidingCount(60_000, 60);
    const events: { atMs: number; amount: number }[] = [];
    let nowMs = 0;
    for (let round = 0; round < scaled(20_000); round += 1) {
      nowMs += random.below(random.below(50) === 0 ? 200_000 : 900);
      const amount = random.below(10);
      events.push({ atMs: nowMs, amount });
      count.add(amount, nowMs);
      const within = (windowMs: number): number =>
        events.slice(-200).reduce((sum, { atMs, amount: some }) => sum + (nowMs - atMs < windowMs ? some : 0), 0); // prettier-ignore
      const total = count.total(nowMs);
      assert.ok(within(60_000) <= total && total <= within(61_000), `round ${round}`);
      const most = random.below(total + 1);
      const untilMs = count.untilAtMost(most, nowMs);
      assert.ok(untilMs >= 0 && untilMs <= 61_000, `round ${round}`);
    }
  });

  test('has room when it said it would', () => {
    const count = new SlidingCount(60_000, 60);
    for (let nowMs = 0; nowMs < 60_000; nowMs += 500) count.add(1, nowMs);
    const untilMs = count.untilAtMost(50, 59_500);
    assert.ok(untilMs > 0);
    assert.ok(count.total(59_500 + untilMs - 1) > 50);
    assert.ok(count.total(59_500 + untilMs) <= 50);
  });

  test('is moved by no clock that goes back', () => {
    const count = new SlidingCount(60_000, 60);
    count.add(5, 100_000);
    count.add(5, 0);
    assert.equal(count.total(100_000), 10);
  });
});
