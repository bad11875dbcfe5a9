import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ChaperoneError, errorCodes, sqlStateOf, type ErrorCode } from '#core/errors.ts';
import type { EndReason } from '#core/record/kinds.ts';
import { endReasonOf, isDefect, refusalOf } from '../../sidecar/endings.ts';
import type { Stop } from '../../sidecar/ready.ts';

const reasons: readonly [ErrorCode, EndReason][] = [
  ['audit-unavailable', 'audit-unavailable'],
  ['backend-login-failed', 'backend-login-failed'],
  ['backend-refused', 'backend-login-failed'],
  ['backend-unreachable', 'backend-unreachable'],
  ['config-invalid', 'internal-error'],
  ['connection-closed', 'agent-closed'],
  ['denied', 'access-withdrawn'],
  ['draining', 'draining'],
  ['encryption-required', 'unsupported'],
  ['internal-error', 'internal-error'],
  ['limit', 'limit'],
  ['login-failed', 'access-withdrawn'],
  ['login-timeout', 'login-timeout'],
  ['no-policy', 'access-withdrawn'],
  ['protocol-violation', 'protocol-violation'],
  ['record-invalid', 'internal-error'],
  ['request-timeout', 'limit'],
  ['session-ended', 'access-withdrawn'],
  ['syntax-error', 'internal-error'],
  ['too-large', 'protocol-violation'],
  ['too-many-connections', 'access-withdrawn'],
  ['too-many-sessions', 'access-withdrawn'],
  ['token-expired', 'token-expired'],
  ['unreadable', 'internal-error'],
  ['unsupported', 'unsupported'],
];

describe('the ending of a session', () => {
  for (const [code, reason] of reasons) {
    test(`by ${code} is recorded as ${reason}`, () => {
      assert.equal(endReasonOf(new ChaperoneError(code, 'x')), reason);
    });
  }

  test('is known for every code', () => {
    assert.deepEqual(reasons.map(([code]) => code).sort(), Object.keys(errorCodes).sort());
  });

  test('by a stop is what the stop says', () => {
    const stop: Stop = { refusal: { code: 'session-ended', message: 'x' }, reason: 'killed' };
    assert.equal(endReasonOf(stop), 'killed');
    assert.equal(refusalOf(stop), stop.refusal);
    assert.equal(isDefect(stop), false);
  });

  test('by a defect is an internal error for the agent too, which reads nothing of it', () => {
    const defect = new TypeError('x is not a function');
    assert.equal(endReasonOf(defect), 'internal-error');
    assert.equal(isDefect(defect), true);
    const refusal = refusalOf(defect);
    assert.equal(sqlStateOf(refusal.code), 'XX000');
    assert.doesNotMatch(refusal.message, /function/);
  });
});
