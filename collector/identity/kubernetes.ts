import { AuthenticationV1Api, AuthorizationV1Api, KubeConfig } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import { readAudience, sidecarAudiences } from '#core/audiences.ts';
import type { WriterIdentity } from '#core/control.ts';
import { bearerToken } from '../../runtime/bearer-token.ts';
import { openCluster } from '../../runtime/cluster-connection.ts';
import { HttpProblem } from '../problem.ts';
import type { Identities } from './identities.ts';
import type { Remembered } from '../../runtime/remembered.ts';
import {
  mayDo,
  rememberUsers,
  reviewToken,
  tryParseBoundPod,
  type User,
} from '../../runtime/token-review.ts';

const deadlineMs = 3_000;

/**
 * Asks the Kubernetes API who somebody is (TokenReview), and of people what they may (SubjectAccessReview). As long as
 * it does not answer nobody is let in, but for those of whom it said something within the last minute.
 * @throws ChaperoneError `config-invalid` where neither a pod's own files nor KUBECONFIG name a cluster.
 */
export function createKubernetesIdentities(log: Logger): Identities {
  const config = new KubeConfig();
  config.loadFromDefault();
  const connection = openCluster(config, deadlineMs);
  const authentication = new AuthenticationV1Api(connection);
  const authorization = new AuthorizationV1Api(connection);
  const reach = createReach(log);
  const usersOf = (audience: string): Remembered<User | undefined> =>
    rememberUsers((token) => reach(() => reviewToken(authentication, token, audience)));
  const pods = usersOf(sidecarAudiences.collector);
  const people = usersOf(readAudience);
  return {
    writer: async (given) => {
      const user = await identify(pods, given, sidecarAudiences.collector);
      const bound = tryParseBoundPod(user);
      if (!bound) throw new HttpProblem('unauthorized', 'the token is bound to no pod');
      const { pod, namespace, serviceAccount } = bound;
      return { pod, namespace, serviceAccount } satisfies WriterIdentity;
    },
    person: async (given, right) => {
      const user = await identify(people, given, readAudience);
      // Asked each time: a right that was taken away is gone at once.
      if (!(await reach(() => mayDo(authorization, user, right))))
        throw new HttpProblem(
          'forbidden',
          `the right to ${right} sessions.chaperone.dev is needed`,
        );
      return { name: user.username, isOwn: true };
    },
  };
}

async function identify(
  users: Remembered<User | undefined>,
  given: string | undefined,
  audience: string,
): Promise<User> {
  const token = bearerToken(given);
  const asked = token === '' ? Promise.resolve(undefined) : users.about(token);
  if (!asked) throw new HttpProblem('busy', 'too many tokens are looked into at once');
  const user = await asked;
  if (!user)
    throw new HttpProblem('unauthorized', `a bearer token of audience ${audience} is needed`);
  return user;
}

/** Makes what asks the API server; that it does not answer is said once, and a caller may try again. */
function createReach(log: Logger): <T>(ask: () => Promise<T>) => Promise<T> {
  let reachable = true;
  return async (ask) => {
    try {
      const answer = await ask();
      if (!reachable) log.info('the Kubernetes API answers');
      reachable = true;
      return answer;
    } catch (error) {
      // Its message and headers would hold the token that was asked about.
      const { name, code } = error as { name?: unknown; code?: unknown };
      if (reachable) log.error({ name, code }, 'the Kubernetes API does not answer');
      reachable = false;
      throw new HttpProblem('identity-unavailable', 'who this is cannot be asked for now');
    }
  };
}
