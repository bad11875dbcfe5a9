import { duration } from './duration.ts';
import { integer, type FieldReader } from './fields.ts';
import { noLimits, type Limits } from './rules.ts';

// Timers hold no more than 2^31 milliseconds, 24.8 days.
const time = duration('1ms', '576h', '1h30m');
const count = integer(1, 1_000_000);
const amount = integer(1, 2 ** 50); // exact in a double, with room to add up

/** Reads `limits`; Infinity where one is not set. */
export function parseLimits(fields: FieldReader): Limits {
  return {
    sessions: fields.optional('sessions', count) ?? noLimits.sessions,
    sessionDurationMs: fields.optional('sessionDuration', time) ?? noLimits.sessionDurationMs,
    idleMs: fields.optional('idle', time) ?? noLimits.idleMs,
    requestDurationMs: fields.optional('requestDuration', time) ?? noLimits.requestDurationMs,
    concurrentRequests: fields.optional('concurrentRequests', count) ?? noLimits.concurrentRequests,
    statementsPerMinute:
      fields.optional('statementsPerMinute', count) ?? noLimits.statementsPerMinute,
    rowsPerRequest: fields.optional('rowsPerRequest', amount) ?? noLimits.rowsPerRequest,
    bytesPerRequest: fields.optional('bytesPerRequest', amount) ?? noLimits.bytesPerRequest,
    rowsPerSession: fields.optional('rowsPerSession', amount) ?? noLimits.rowsPerSession,
    bytesPerSession: fields.optional('bytesPerSession', amount) ?? noLimits.bytesPerSession,
    rowsPerHour: fields.optional('rowsPerHour', amount) ?? noLimits.rowsPerHour,
    bytesPerHour: fields.optional('bytesPerHour', amount) ?? noLimits.bytesPerHour,
  };
}
