import {
  deliveries,
  nameOf,
  recordLevels,
  type AuditPolicy,
  type Delivery,
  type RecordLevel,
} from './resources.ts';
import { noLimits, type Limits } from './rules.ts';

/** All policies that select the pod, and what they come to together apart from their rules. */
export interface EffectivePolicy {
  /** Sorted by name; never empty. What they say of single operations is compiled from here. */
  readonly policies: readonly AuditPolicy[];
  /**
   * Required: an Enforce policy asks for a token. Optional: only observing ones do, so that a token is asked for and
   * must verify where one is presented, and the workload itself may connect without.
   */
  readonly identity: 'None' | 'Optional' | 'Required';
  /** Whether any of them enforces. */
  readonly enforcing: boolean;
  readonly record: AuditPolicy['spec']['record'];
  readonly delivery: Delivery;
  readonly waitMs: number;
  /** Of those that enforce. */
  readonly limits: Limits;
  readonly unknownHosts: 'Record' | 'Deny';
  readonly inboundPorts: readonly number[];
}

/**
 * Combines policies; the order in which they are given does not matter. Recorded is the most that any asks for. The
 * strictest delivery and the least wait hold of those that enforce, or of all where none does; limits and a Deny of
 * unknown hosts hold only of those that enforce.
 */
export function combine(selected: readonly AuditPolicy[]): EffectivePolicy | undefined {
  const policies = selected.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  if (policies.length === 0) return undefined;
  const specs = policies.map(({ spec }) => spec);
  const enforcing = specs.filter(({ mode }) => mode === 'Enforce');
  const binding = enforcing.length > 0 ? enforcing : specs;
  return {
    policies,
    identity: enforcing.some(asksForToken)
      ? 'Required'
      : specs.some(asksForToken)
        ? 'Optional'
        : 'None',
    enforcing: enforcing.length > 0,
    record: {
      requests: most(specs.map(({ record }) => record.requests)),
      responses: most(specs.map(({ record }) => record.responses)),
      maxBytes: Math.max(...specs.map(({ record }) => record.maxBytes)),
    },
    delivery: strictest(binding.map(({ delivery }) => delivery)),
    waitMs: Math.min(...binding.map(({ waitMs }) => waitMs)),
    limits: enforcing.map(({ limits }) => limits).reduce(least, noLimits),
    unknownHosts: enforcing.some(({ unknownHosts }) => unknownHosts === 'Deny') ? 'Deny' : 'Record',
    inboundPorts: [...new Set(specs.flatMap(({ inboundPorts }) => inboundPorts))].sort(
      (a, b) => a - b,
    ),
  };
}

function asksForToken({ identity }: AuditPolicy['spec']): boolean {
  return identity === 'Token';
}

function most(levels: readonly RecordLevel[]): RecordLevel {
  return recordLevels.findLast((level) => levels.includes(level)) ?? 'Full';
}

function strictest(wanted: readonly Delivery[]): Delivery {
  return deliveries.findLast((delivery) => wanted.includes(delivery)) ?? 'Acknowledged';
}

function least(a: Limits, b: Limits): Limits {
  return {
    sessions: Math.min(a.sessions, b.sessions),
    sessionDurationMs: Math.min(a.sessionDurationMs, b.sessionDurationMs),
    idleMs: Math.min(a.idleMs, b.idleMs),
    requestDurationMs: Math.min(a.requestDurationMs, b.requestDurationMs),
    concurrentRequests: Math.min(a.concurrentRequests, b.concurrentRequests),
    statementsPerMinute: Math.min(a.statementsPerMinute, b.statementsPerMinute),
    rowsPerRequest: Math.min(a.rowsPerRequest, b.rowsPerRequest),
    bytesPerRequest: Math.min(a.bytesPerRequest, b.bytesPerRequest),
    rowsPerSession: Math.min(a.rowsPerSession, b.rowsPerSession),
    bytesPerSession: Math.min(a.bytesPerSession, b.bytesPerSession),
    rowsPerHour: Math.min(a.rowsPerHour, b.rowsPerHour),
    bytesPerHour: Math.min(a.bytesPerHour, b.bytesPerHour),
  };
}
