import { sqlStateOf } from '#core/errors.ts';
import type { Refusal } from '#core/operation.ts';
import { buildErrorResponse } from '#core/postgres/backend.ts';

/** Says a refusal as PostgreSQL says an error. FATAL where the connection ends with it. */
export function buildRefusal(refusal: Refusal, severity: 'ERROR' | 'FATAL' = 'ERROR'): Buffer {
  return buildErrorResponse({
    severity,
    code: sqlStateOf(refusal.code),
    message: `chaperone: ${refusal.message}`,
    detail: `code: ${refusal.code}`,
    ...(refusal.hint === undefined ? {} : { hint: refusal.hint }),
  });
}
