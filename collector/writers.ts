import { hash, timingSafeEqual } from 'node:crypto';
import type { CollectorSecrets, WriterIdentity } from '#core/control.ts';

/** Who may write and who may read, by bearer token. Neither kind of token does for the other. */
export interface TokenReview {
  /** Says whose records a bearer sends: the one place that decides it. */
  writer(authorization: string | undefined): WriterIdentity | undefined;
  isReader(authorization: string | undefined): boolean;
}

/** Reviews tokens that the supervisor handed out. Hashes are compared, so that timing tells nothing of a token. */
export function createTokenReview({ writers, readToken }: CollectorSecrets): TokenReview {
  const digest = (token: string): Buffer => hash('sha256', token, 'buffer');
  const known = writers.map(({ token, identity }) => ({ digest: digest(token), identity }));
  const reader = digest(readToken);
  return {
    writer: (authorization) => {
      const given = digest(bearer(authorization));
      return known.find((writer) => timingSafeEqual(writer.digest, given))?.identity;
    },
    isReader: (authorization) => timingSafeEqual(reader, digest(bearer(authorization))),
  };
}

function bearer(authorization: string | undefined): string {
  return /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? '';
}
