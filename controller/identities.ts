import {
  AuthenticationV1Api,
  AuthorizationV1Api,
  CoreV1Api,
  PatchStrategy,
  setHeaderOptions,
} from '@kubernetes/client-node';
import { readAudience, sidecarAudiences } from '#core/audiences.ts';
import type { ClusterConnection } from '../runtime/cluster-connection.ts';
import type { Remembered } from '../runtime/remembered.ts';
import {
  lifetimeMs,
  mayDo,
  rememberUsers,
  reviewToken,
  tryParseBoundPod,
  type User,
} from '../runtime/token-review.ts';

/** A pod that a token proves. */
export interface ProvenPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** How long the token still holds. */
  readonly forMs: number;
}

/** The ConfigMap by which replicas tell each other which sessions to end. */
export const killsName = 'chaperone-kills';
/** Older entries have reached every replica, or found none. */
const keepKillsMs = 10 * 60_000;

/** What is asked of the API about whoever asks us. All of it rejects where the API server does not answer. */
export class Identities {
  readonly #pods: Remembered<User | undefined>;
  readonly #people: Remembered<User | undefined>;
  readonly #authorization: AuthorizationV1Api;
  readonly #core: CoreV1Api;
  readonly #namespace: string;

  constructor(connection: ClusterConnection, namespace: string) {
    const authentication = new AuthenticationV1Api(connection);
    const usersOf = (audience: string): Remembered<User | undefined> =>
      rememberUsers((token) => reviewToken(authentication, token, audience));
    this.#pods = usersOf(sidecarAudiences.controller);
    this.#people = usersOf(readAudience);
    this.#authorization = new AuthorizationV1Api(connection);
    this.#core = new CoreV1Api(connection);
    this.#namespace = namespace;
  }

  /** Undefined for a token that is not a pod's; one that was deleted within a minute counts as one. */
  async pod(token: string): Promise<ProvenPod | 'busy' | undefined> {
    const user = await (this.#pods.about(token) ?? 'busy');
    if (user === 'busy') return user;
    const bound = user && tryParseBoundPod(user);
    if (!bound) return undefined;
    const { namespace, pod: name, uid } = bound;
    return { namespace, name, uid, forMs: lifetimeMs(token, Date.now()) };
  }

  /** Whether a token is somebody's who may end sessions; undefined where it is nobody's. */
  async mayKill(token: string): Promise<boolean | 'busy' | undefined> {
    const user = await (this.#people.about(token) ?? 'busy');
    if (user === 'busy') return user;
    return user && mayDo(this.#authorization, user, 'delete');
  }

  /** Leaves an order to end a session where every replica sees it. */
  async orderKill(session: string): Promise<void> {
    const place = { namespace: this.#namespace, name: killsName };
    const { data = {} } = await this.#core.readNamespacedConfigMap(place);
    const now = Date.now();
    const old = Object.entries(data).filter(([, time]) => !(now - Date.parse(time) < keepKillsMs));
    const entries: [string, string | null][] = old.map(([name]) => [name, null]);
    const body = { data: Object.fromEntries([...entries, [session, new Date(now).toISOString()]]) };
    const options = setHeaderOptions('Content-Type', PatchStrategy.MergePatch);
    await this.#core.patchNamespacedConfigMap({ ...place, body }, options);
  }
}
