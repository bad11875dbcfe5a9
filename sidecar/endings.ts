import { ChaperoneError, errorCodes, type ErrorCode } from '#core/errors.ts';
import type { Refusal } from '#core/operation.ts';
import type { EndReason } from '#core/record/kinds.ts';
import type { Stop } from './ready.ts';

/** What a session's record says of an error that ended it. */
const reasonOf: Readonly<Record<ErrorCode, EndReason>> = {
  'audit-unavailable': 'audit-unavailable',
  'backend-login-failed': 'backend-login-failed',
  'backend-refused': 'backend-login-failed',
  'backend-unreachable': 'backend-unreachable',
  'config-invalid': 'internal-error',
  'connection-closed': 'agent-closed',
  denied: 'access-withdrawn',
  draining: 'draining',
  'encryption-required': 'unsupported',
  'internal-error': 'internal-error',
  limit: 'limit',
  'login-failed': 'access-withdrawn',
  'login-timeout': 'login-timeout',
  'no-policy': 'access-withdrawn',
  'protocol-violation': 'protocol-violation',
  'record-invalid': 'internal-error',
  'request-timeout': 'limit',
  'session-ended': 'access-withdrawn',
  'too-large': 'protocol-violation',
  'too-many-connections': 'access-withdrawn',
  'too-many-sessions': 'access-withdrawn',
  'token-expired': 'token-expired',
  'syntax-error': 'internal-error', // refused where it stands: no session ends with it
  unreadable: 'internal-error',
  unsupported: 'unsupported',
};

/** Why a session ended that an error or its Stop has ended. */
export function endReasonOf(error: unknown): EndReason {
  if (isStop(error)) return error.reason;
  return error instanceof ChaperoneError ? reasonOf[error.code] : 'internal-error';
}

/** What a peer reads about an error or a Stop. */
export function refusalOf(error: unknown): Refusal {
  if (isStop(error)) return error.refusal;
  if (error instanceof ChaperoneError) return { code: error.code, message: error.peerMessage };
  return { code: 'internal-error', message: errorCodes['internal-error'].summary };
}

/** Whether neither a peer nor an operator nor a policy has brought this about. */
export function isDefect(error: unknown): boolean {
  return !(error instanceof ChaperoneError) && !isStop(error);
}

/** A session's signal carries the Stop that says why. */
function isStop(error: unknown): error is Stop {
  return typeof error === 'object' && error !== null && 'refusal' in error && 'reason' in error;
}
