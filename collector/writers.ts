import { hash, timingSafeEqual } from 'node:crypto';
import type { CollectorSecrets, WriterIdentity } from '#core/control.ts';

/** Who may write, who may read and who may order, by bearer token. No kind of token does for another. */
export interface TokenReview {
  /** Says whose records a bearer sends: the one place that decides it. */
  writer(authorization: string | undefined): WriterIdentity | undefined;
  isReader(authorization: string | undefined): boolean;
  isOperator(authorization: string | undefined): boolean;
}

/** Reviews tokens that the supervisor handed out. Hashes are compared, so that timing tells nothing of a token. */
export function createTokenReview({
  writers,
  readToken,
  operatorToken,
}: CollectorSecrets): TokenReview {
  const digest = (token: string): Buffer => hash('sha256', token, 'buffer');
  const known = writers.map(({ token, identity }) => ({ digest: digest(token), identity }));
  const reader = digest(readToken);
  const operator = digest(operatorToken);
  return {
    writer: (authorization) => {
      const given = digest(bearer(authorization));
      return known.find((writer) => timingSafeEqual(writer.digest, given))?.identity;
    },
    isReader: (authorization) => timingSafeEqual(reader, digest(bearer(authorization))),
    isOperator: (authorization) => timingSafeEqual(operator, digest(bearer(authorization))),
  };
}

function bearer(authorization: string | undefined): string {
  return /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? '';
}
