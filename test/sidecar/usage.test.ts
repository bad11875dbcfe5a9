import assert from 'node:assert/strict';
import { describe, mock, test, type TestContext } from 'node:test';
import type { StatementFacts } from '#core/facts.ts';
import { isRefusal, type Operation } from '#core/operation.ts';
import { isOver } from '#core/policy/budget.ts';
import { combine } from '#core/policy/combine.ts';
import { noLimits, type Limits } from '#core/policy/rules.ts';
import type { Stop } from '../../sidecar/ready.ts';
import { limitsOf, SessionUsage, Usage, type LimitsInForce } from '../../sidecar/usage.ts';
import { policy } from '../support/policies.ts';

const limitsIn = (limits: Partial<Limits>): LimitsInForce => {
  const made = policy({ name: 'limits' });
  const spec = { ...made.spec, limits: { ...noLimits, ...limits } };
  return limitsOf(combine([{ ...made, spec }]));
};

function open(
  limits: Partial<Limits>,
  usage = new Usage(),
): { usage: SessionUsage; stops: Stop[]; change: (to: Partial<Limits>) => void } {
  let inForce = limitsIn(limits);
  const use = usage.open('shop', inForce);
  assert.ok(!isRefusal(use));
  const stops: Stop[] = [];
  const session = new SessionUsage({
    id: 'id',
    use,
    inForce: () => inForce,
    stop: (stop) => stops.push(stop),
  });
  const change = (to: Partial<Limits>): void => {
    inForce = limitsIn(to);
    session.watch();
  };
  return { usage: session, stops, change };
}

const statement: StatementFacts = {
  commands: ['SELECT'],
  tables: [],
  functions: [],
  hasWhere: undefined,
  limit: undefined,
  copy: undefined,
  settings: [],
  changesMeaning: false,
  readOnly: true,
  isOpaque: false,
};
const text = (statements: number, kind: Operation['kind'] = 'request'): Operation => ({
  kind,
  facts: { protocol: 'Postgres', statements: Array.from({ length: statements }, () => statement) },
});

/** Stops the clock. Returns what lets time pass. */
function stopClock(context: TestContext): (ms: number) => void {
  let nowMs = 1_000;
  mock.timers.enable({ apis: ['setTimeout'] });
  const clock = mock.method(performance, 'now', () => nowMs);
  context.after(() => {
    clock.mock.restore();
    mock.timers.reset();
  });
  return (ms) => {
    for (let passed = 0; passed < ms; passed += 1) {
      nowMs += 1;
      mock.timers.tick(1);
    }
  };
}

describe('the statements of an operation', () => {
  test('are those of its text, one at least, and none of what is only prepared', () => {
    const { usage } = open({ statementsPerMinute: 5 });
    for (let count = 0; count < 20; count += 1)
      assert.equal(usage.begin(text(9, 'statement')), undefined);
    const begun = [text(3), text(0), text(2), text(1), text(1)].map((each) => usage.begin(each));
    assert.deepEqual(begun.map((each) => each && isOver(each)), [false, false, true, false, true]); // prettier-ignore
    usage.end();
  });
});

describe('the sessions at a Backend', () => {
  test('are counted apart from those at another, and no more once they have ended', () => {
    const usage = new Usage();
    const limits = limitsIn({ sessions: 1 });
    const { usage: first } = open({ sessions: 1 }, usage);
    const refused = usage.open('shop', limits);
    assert.ok(isRefusal(refused) && refused.code === 'too-many-sessions');
    assert.ok(!isRefusal(usage.open('other', limits)));
    first.end();
    assert.ok(!isRefusal(usage.open('shop', limits)));
  });
});

describe('what takes too long', () => {
  test('is told again and again while it runs, and no more once it rests or has ended', (context) => {
    const pass = stopClock(context);
    const { usage, stops } = open({ requestDurationMs: 5 });
    let told = 0;
    usage.onOverdue(() => (told += 1));
    const request = usage.begin(text(1));
    assert.ok(request && !isOver(request));
    pass(6);
    assert.equal(told, 1);
    assert.equal(request.overdue()?.limit, 'requestDurationMs');
    pass(100);
    assert.equal(told, 2);
    usage.rest();
    pass(100);
    assert.equal(told, 2);
    assert.equal(request.overdue(), undefined);
    request.end();
    pass(100);
    assert.deepEqual([told, stops], [2, []]);
    usage.end();
  });

  test('is a request by the limit that held when it began, whatever holds now', (context) => {
    const pass = stopClock(context);
    const { usage, change } = open({ requestDurationMs: 50 });
    let told = 0;
    usage.onOverdue(() => (told += 1));
    const request = usage.begin(text(1));
    assert.ok(request && !isOver(request));
    change({ requestDurationMs: 5 });
    pass(49);
    assert.deepEqual([told, request.overdue()], [0, undefined]);
    change({});
    pass(2);
    assert.deepEqual([told, request.overdue()?.most], [1, 50]);
    usage.end();
  });

  test('ends a session that is idle, also behind a request, and by a limit that came later', (context) => {
    const pass = stopClock(context);
    const { usage, stops, change } = open({});
    change({ idleMs: 10 });
    const request = usage.begin(text(1));
    assert.ok(request && !isOver(request));
    pass(20);
    assert.equal(stops.length, 0);
    request.end();
    pass(12);
    assert.deepEqual([stops[0]?.reason, stops[0]?.refusal.code], ['limit', 'session-ended']);
    usage.end();
  });

  test('is nothing of a stream but itself, which is idle while no bytes pass', (context) => {
    const pass = stopClock(context);
    const limits = { requestDurationMs: 1, concurrentRequests: 1, rowsPerRequest: 1, idleMs: 60 };
    const { usage, stops } = open(limits);
    const stream = usage.begin({ kind: 'connection', facts: { protocol: 'TCP' } });
    assert.ok(stream && !isOver(stream));
    pass(40);
    stream.add({ rows: 0, bytes: 1e9 });
    pass(40);
    assert.deepEqual([stops.length, stream.overdue()], [0, undefined]);
    pass(40);
    assert.equal(stops.length, 1);
    usage.end();
  });
});
