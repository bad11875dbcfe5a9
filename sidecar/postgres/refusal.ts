import { sqlStateOf } from '#core/errors.ts';
import type { Refusal } from '#core/operation.ts';
import { buildErrorResponse } from '#core/postgres/backend.ts';

/** Says a refusal as PostgreSQL says an error. FATAL where the connection ends with it. */
export function buildRefusal(refusal: Refusal, severity: 'ERROR' | 'FATAL' = 'ERROR'): Buffer {
  // What PostgreSQL itself would say is said as it would.
  if (refusal.code === 'syntax-error') {
    const { message, position } = refusal;
    return buildErrorResponse({ severity, code: sqlStateOf(refusal.code), message, position });
  }
  return buildErrorResponse({
    severity,
    code: sqlStateOf(refusal.code),
    message: `chaperone: ${refusal.message}`,
    detail: detailOf(refusal),
    ...(refusal.hint === undefined ? {} : { hint: refusal.hint }),
  });
}

/** A line for each name and value, so that a program finds what it looks for. */
function detailOf({ code, details = [] }: Refusal): string {
  return [['code', code] as const, ...details]
    .map(([name, value]) => `${name}: ${value}`)
    .join('\n');
}
