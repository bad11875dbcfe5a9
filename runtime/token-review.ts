import type { AuthenticationV1Api, AuthorizationV1Api } from '@kubernetes/client-node';
import { Remembered } from './remembered.ts';

/** Whom a token belongs to, as the API server says it. */
export interface User {
  readonly username: string;
  readonly uid: string | undefined;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

/**
 * Asks the API server about a token; undefined for one that is nobody's, has expired, or is for another audience.
 * @throws whatever the client does when the API server does not answer.
 */
export async function reviewToken(
  api: AuthenticationV1Api,
  token: string,
  audience: string,
): Promise<User | undefined> {
  const { status } = await api.createTokenReview({
    body: { spec: { token, audiences: [audience] } },
  });
  const { username = '', uid, groups = [], extra = {} } = status?.user ?? {};
  // An API server that knows no audiences would say yes to a token for anybody, and name none.
  const isOurs = status?.authenticated === true && status.audiences?.includes(audience) === true;
  return isOurs && username !== '' ? { username, uid, groups, extra } : undefined;
}

/** A token of a pod that was deleted, or of somebody whose right was taken away, is taken that much longer. */
const keptMs = 60_000;
const maxKept = 10_000; // pods with a sidecar; an answer takes less than a kilobyte
const maxAsking = 64; // what strangers ask must not become the API server's load

/** Makes answers of `reviewToken` that are remembered; `about` gives undefined where too much is asked at once. */
export function rememberUsers(
  review: (token: string) => Promise<User | undefined>,
): Remembered<User | undefined> {
  return new Remembered({
    ask: async (token) => {
      const value = await review(token);
      const forMs = value ? Math.min(keptMs, lifetimeMs(token, Date.now())) : 0;
      return { value, forMs };
    },
    maxKept,
    maxAsking,
    now: () => performance.now(),
  });
}

/**
 * Asks whether somebody may do something with `sessions.chaperone.dev`. There is no such resource: its verbs stand for what
 * our servers do, so that rights to it are given as all rights of a cluster are.
 * @throws whatever the client does when the API server does not answer.
 */
export async function mayDo(
  api: AuthorizationV1Api,
  { username, uid, groups, extra }: User,
  verb: 'get' | 'delete' | 'update',
): Promise<boolean> {
  const { status } = await api.createSubjectAccessReview({
    body: {
      spec: {
        user: username,
        ...(uid === undefined ? {} : { uid }),
        groups: [...groups],
        extra: Object.fromEntries(Object.entries(extra).map(([key, values]) => [key, [...values]])),
        resourceAttributes: { group: 'chaperone.dev', resource: 'sessions', verb },
      },
    },
  });
  return status?.allowed === true;
}

/** The pod that a token is bound to. */
export interface BoundPod {
  readonly pod: string;
  readonly uid: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** Undefined for a token that names no pod: anybody who may make tokens of a service account has those. */
export function tryParseBoundPod({ username, extra }: User): BoundPod | undefined {
  const [, namespace, serviceAccount] =
    /^system:serviceaccount:([^:]+):([^:]+)$/.exec(username) ?? [];
  const pod = only(extra['authentication.kubernetes.io/pod-name']);
  const uid = only(extra['authentication.kubernetes.io/pod-uid']);
  if (namespace === undefined || serviceAccount === undefined || pod === '' || uid === '')
    return undefined;
  return { pod, uid, namespace, serviceAccount };
}

function only(values: readonly string[] = []): string {
  return values.length === 1 ? (values[0] ?? '') : '';
}

/**
 * How long a token still holds, in milliseconds; 0 where it does not say. Of a token that the API server has accepted:
 * nothing is verified here (RFC 7519, section 4.1.4).
 */
export function lifetimeMs(token: string, nowMs: number): number {
  try {
    const payload = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8');
    const claims: unknown = JSON.parse(payload);
    const exp: unknown =
      typeof claims === 'object' && claims !== null ? Reflect.get(claims, 'exp') : undefined;
    return typeof exp === 'number' ? Math.max(0, exp * 1_000 - nowMs) : 0;
  } catch {
    return 0; // not a JWT
  }
}
