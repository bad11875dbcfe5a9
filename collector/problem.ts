import type { FastifyReply } from 'fastify';

/** Codes of refusals over HTTP; `docs/errors.md` explains each. */
export const problemStatus = {
  unauthorized: 401,
  forbidden: 403,
  'not-your-stream': 403,
  'not-found': 404,
  ambiguous: 409,
  gap: 409,
  'too-large': 413,
  'bad-request': 400,
  'batch-invalid': 422,
  'legal-hold': 409,
  busy: 503,
  'identity-unavailable': 503,
  'store-unavailable': 503,
} as const;

export type ProblemCode = keyof typeof problemStatus;

/** An expected refusal, with what an honest client needs to go on. */
export class HttpProblem extends Error {
  override readonly name = 'HttpProblem';
  readonly code: ProblemCode;
  readonly extra: Readonly<Record<string, number>>;

  constructor(code: ProblemCode, detail: string, extra: Readonly<Record<string, number>> = {}) {
    super(detail);
    this.code = code;
    this.extra = extra;
  }
}

/** Answers as RFC 9457 says. */
export function sendProblem(reply: FastifyReply, problem: HttpProblem): FastifyReply {
  const status = problemStatus[problem.code];
  if (status === 503) reply.header('retry-after', '1');
  return reply
    .code(status)
    .type('application/problem+json')
    .send({
      type: `urn:chaperone:${problem.code}`,
      title: problem.code,
      status,
      detail: problem.message,
      ...problem.extra,
    });
}
