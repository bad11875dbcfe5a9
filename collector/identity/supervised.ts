import { hash, timingSafeEqual } from 'node:crypto';
import type { CollectorSecrets } from '#core/control.ts';
import { bearerToken } from '../../runtime/bearer-token.ts';
import { HttpProblem } from '../problem.ts';
import type { Identities } from './identities.ts';

/** Knows tokens that the supervisor handed out. Hashes are compared, so that timing tells nothing of a token. */
export function createSupervisedIdentities({
  writers,
  readToken,
  operatorToken,
}: Pick<CollectorSecrets, 'writers' | 'readToken' | 'operatorToken'>): Identities {
  const digest = (token: string): Buffer => hash('sha256', token, 'buffer');
  const known = writers.map(({ token, identity }) => ({ digest: digest(token), identity }));
  const reader = { digest: digest(readToken), name: 'reader', whose: 'a reader' };
  const operator = { digest: digest(operatorToken), name: 'operator', whose: 'an operator' };
  return {
    writer: async (authorization) => {
      const given = digest(bearerToken(authorization));
      const writer = known.find((each) => timingSafeEqual(each.digest, given));
      if (!writer) throw new HttpProblem('unauthorized', 'a bearer token that may write is needed');
      return writer.identity;
    },
    person: async (authorization, right) => {
      const wanted = right === 'get' ? reader : operator;
      if (!timingSafeEqual(wanted.digest, digest(bearerToken(authorization))))
        throw new HttpProblem('unauthorized', `the bearer token of ${wanted.whose} is needed`);
      return { name: wanted.name, isOwn: false };
    },
  };
}
