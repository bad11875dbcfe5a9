import type { Refusal } from '../operation.ts';
import type { Over } from './budget.ts';
import type { EffectivePolicy } from './combine.ts';
import { nameOf } from './resources.ts';
import type { Limits } from './rules.ts';

/** How far a request had come that has met a limit. */
export type Met =
  | 'before' // it was not begun
  | 'cancelled'
  | 'run'; // its answer alone was cut

/** Who has met a limit, and how. */
export interface Meeting {
  readonly met: Met;
  /** Name of the policy whose limit it is, as `policyOfLimit` says. */
  readonly policy: string | undefined;
  /** Id of the session; undefined where none was opened. */
  readonly session: string | undefined;
}

/** Names the policy that sets a limit: the first of those that set the least. */
export function policyOfLimit(
  { policies, limits }: Pick<EffectivePolicy, 'policies' | 'limits'>,
  limit: keyof Limits,
): string | undefined {
  const responsible = policies.find(
    ({ spec }) => spec.mode === 'Enforce' && spec.limits[limit] === limits[limit],
  );
  return responsible && nameOf(responsible);
}

/** Returns the name that a limit has in a policy. */
export function nameOfLimit(limit: keyof Limits): string {
  return limit.replace(/Ms$/, '');
}

/** Says to the agent which limit it has met, and when to try again. */
export function refusalOfLimit(
  { limit, most, retryMs }: Over,
  { met, policy, session }: Meeting,
): Refusal {
  const name = nameOfLimit(limit);
  const details = [
    ['reason', 'limit'],
    ...(policy === undefined ? [] : ([['policy', policy]] as const)),
    ['limit', name],
    ['most', String(most)],
    ...(retryMs === undefined ? [] : ([['retry-after-ms', String(Math.ceil(retryMs))]] as const)),
    ...(session === undefined ? [] : ([['explain', `chaperone explain ${session}`]] as const)),
  ] as const;
  return {
    code: codeOf(limit),
    message: `${sentences[limit](most)} (limit ${name} of ${policy ?? 'a policy'})${consequences[met]}`,
    hint: retryMs === undefined ? hints[limit] : `Try again in ${Math.ceil(retryMs / 1000)} s.`,
    details,
  };
}

function codeOf(limit: keyof Limits): Refusal['code'] {
  switch (limit) {
    case 'sessions':
      return 'too-many-sessions';
    case 'requestDurationMs':
      return 'request-timeout';
    case 'sessionDurationMs':
    case 'idleMs':
      return 'session-ended';
    default:
      return 'limit';
  }
}

const consequences: Readonly<Record<Met, string>> = {
  before: '',
  cancelled: '; this one was cancelled',
  run: '; the rest of the answer is withheld, the request itself was run',
};

const sentences: Readonly<Record<keyof Limits, (most: number) => string>> = {
  sessions: (most) => `no more than ${most} sessions may be open here at a time`,
  sessionDurationMs: (most) => `a session may last no longer than ${duration(most)}`,
  idleMs: (most) => `a session may be idle no longer than ${duration(most)}`,
  requestDurationMs: (most) => `a request may take no longer than ${duration(most)}`,
  concurrentRequests: (most) => `no more than ${most} requests may run here at a time`,
  statementsPerMinute: (most) => `no more than ${most} statements may begin here in a minute`,
  rowsPerRequest: (most) => `the answer to a request may have no more than ${most} rows`,
  bytesPerRequest: (most) => `the answer to a request may have no more than ${most} bytes`,
  rowsPerSession: (most) => `the answers of a session may have no more than ${most} rows`,
  bytesPerSession: (most) => `the answers of a session may have no more than ${most} bytes`,
  rowsPerHour: (most) => `the answers of an hour may have no more than ${most} rows`,
  bytesPerHour: (most) => `the answers of an hour may have no more than ${most} bytes`,
};

const connectAgain = 'Connect again.';
const askForLess = 'Ask for less at a time: fewer columns, a WHERE, a LIMIT.';
const anotherSession = 'This session gets no more; ask for less in another.';

const hints: Readonly<Record<keyof Limits, string>> = {
  sessions: 'Close sessions that are not needed, or try again later.',
  sessionDurationMs: connectAgain,
  idleMs: connectAgain,
  requestDurationMs: 'Ask for less at a time, or ask the owner of the policy.',
  concurrentRequests: 'Try again when another request has ended.',
  statementsPerMinute: 'Send fewer statements in one text.',
  rowsPerRequest: askForLess,
  bytesPerRequest: askForLess,
  rowsPerSession: anotherSession,
  bytesPerSession: anotherSession,
  rowsPerHour: 'Try again later.',
  bytesPerHour: 'Try again later.',
};

function duration(ms: number): string {
  return ms % 1000 === 0 ? `${ms / 1000} s` : `${ms} ms`;
}
