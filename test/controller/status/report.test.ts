import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatReport, maxReportLength, tryParseReport } from '../../../controller/status/report.ts'; // prettier-ignore
import { Reports } from '../../../controller/status/reports.ts';
import { mergeStandings, type Standing, type Standings } from '../../../controller/status/standing.ts'; // prettier-ignore

const nothing: Standing = { atMs: 1, inForce: undefined, refused: undefined, heldBy: [] };
const all: Standings = new Map([
  ['a', { ...nothing, inForce: ['Backend/shop@1', 'AuditPolicy/shop/p@2'] }],
  ['b', { ...nothing, atMs: 5, inForce: ['Backend/shop@1', 'AuditPolicy/shop/p@2'] }],
  ['c', { ...nothing, inForce: [], refused: { parts: ['Backend/shop@1'], problem: 'spec: no' } }],
  ['d', { ...nothing, heldBy: ['Backend/shop', 'Backend/orders'] }],
  ['__proto__', nothing],
]);

describe('the report of a replica', () => {
  test('comes back as it was', () => {
    assert.deepEqual(tryParseReport(formatReport(all, 1)), all);
  });

  test('differs with each beat, and says what is alike once', () => {
    assert.notEqual(formatReport(all, 1), formatReport(all, 2));
    assert.equal(formatReport(all, 1).split('AuditPolicy/shop/p@2').length, 2);
  });

  test('of five thousand sidecars has room, and leaves out those for which there is none', () => {
    const parts = Array.from({ length: 40 }, (_, index) => `AuditPolicy/agents/policy-${index}@0123456789ab`); // prettier-ignore
    const many = (count: number): Standings =>
      new Map(Array.from({ length: count }, (_, index) => [`0123456-${index}`.padEnd(13, '-'), { ...nothing, atMs: Date.now(), inForce: parts }])); // prettier-ignore
    assert.equal(tryParseReport(formatReport(many(5_000), 1))?.size, 5_000);
    const text = formatReport(many(50_000), 1);
    assert.ok(text.length <= maxReportLength);
    assert.ok((tryParseReport(text)?.size ?? 0) > 4_000);
  });

  test('is nothing where it is anything else, and has no more than it says', () => {
    const report = {
      beat: 1,
      parts: ['a'],
      sets: [[0, 7]],
      texts: [],
      pods: { p: [1, 0, 9, 9, 9] },
    };
    assert.deepEqual(tryParseReport(JSON.stringify(report)), new Map([['p', { ...nothing, inForce: ['a'] }]])); // prettier-ignore
    for (const changes of [
      { parts: [1] },
      { sets: [['x']] },
      { sets: 1 },
      { texts: null },
      { pods: [] },
      { pods: { p: 'x' } },
      { pods: { p: [{}] } },
    ])
      // prettier-ignore
      assert.equal(tryParseReport(JSON.stringify({ ...report, ...changes })), undefined);
    for (const text of ['', '{', '[]', 'null', '7']) assert.equal(tryParseReport(text), undefined);
  });
});

describe('what replicas say together', () => {
  test('is of each sidecar what was heard last, and what is in force where that was heard', () => {
    const before = new Map([['a', { ...nothing, atMs: 1, inForce: ['x@1'], heldBy: ['x'] }]]);
    const after = new Map([['a', { ...nothing, atMs: 2, inForce: ['x@2'] }]]);
    const held = new Map([['a', { ...nothing, atMs: 3, heldBy: ['y'] }]]);
    assert.deepEqual(mergeStandings([before, after]), after);
    assert.deepEqual(mergeStandings([after, before]), after);
    const expected = new Map([['a', { ...nothing, atMs: 3, inForce: ['x@2'], heldBy: ['y'] }]]);
    assert.deepEqual(mergeStandings([after, held]), expected);
    assert.deepEqual(mergeStandings([held, after]), expected);
  });

  test('counts as long as it changes, and for a while after', () => {
    const reports = new Reports();
    const one = formatReport(all, 1);
    reports.take({ data: { one, two: 'nonsense' } }, 0);
    reports.take({ data: { one, two: 'nonsense' } }, 90_000);
    assert.deepEqual(reports.standings(90_000), [all]);
    assert.deepEqual(reports.gone(90_000), []);
    assert.deepEqual(reports.standings(90_001), []);
    assert.deepEqual(reports.gone(90_001), ['one', 'two']);
    reports.take({ data: { one: formatReport(all, 2) } }, 90_002);
    assert.deepEqual(reports.standings(90_003), [all]);
    assert.deepEqual(reports.gone(90_003), []);
    reports.take({}, 90_004);
    assert.deepEqual(reports.standings(90_004), []);
  });
});
