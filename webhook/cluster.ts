import {
  ApiException,
  CoreV1Api,
  createConfiguration,
  CustomObjectsApi,
  NodeV1Api,
  ServerConfiguration,
  type KubeConfig,
  type Middleware,
  type RequestContext,
} from '@kubernetes/client-node';
import { ChaperoneError } from '#core/errors.ts';
import { isObject } from '#core/policy/fields.ts';

/** The API server itself waits five seconds for the answer that needs this. */
const deadlineMs = 3_000;

/** Where our resources are, in the API. */
const group = { group: 'chaperone.dev', version: 'v1alpha1' } as const;

/** What the webhook reads of the cluster; every call settles within three seconds. */
export class Cluster {
  readonly #core: CoreV1Api;
  readonly #nodes: NodeV1Api;
  readonly #custom: CustomObjectsApi;

  /** @throws ChaperoneError `config-invalid` where the configuration names no cluster. */
  constructor(config: KubeConfig) {
    const server = config.getCurrentCluster()?.server;
    if (server === undefined)
      throw new ChaperoneError(
        'config-invalid',
        'there is no cluster, and no KUBECONFIG names one',
      );
    const configuration = createConfiguration({
      baseServer: new ServerConfiguration(server, {}),
      authMethods: { default: config },
      promiseMiddleware: [sharedConnections()],
    });
    this.#core = new CoreV1Api(configuration);
    this.#nodes = new NodeV1Api(configuration);
    this.#custom = new CustomObjectsApi(configuration);
  }

  async namespaceLabels(name: string): Promise<Readonly<Record<string, string>>> {
    const { metadata } = await this.#core.readNamespace({ name });
    return metadata?.labels ?? {};
  }

  /** Undefined where there is no such class: then the API server takes no pod that names it. */
  async runtimeHandler(name: string): Promise<string | undefined> {
    try {
      return (await this.#nodes.readRuntimeClass({ name })).handler;
    } catch (error) {
      if (error instanceof ApiException && error.code === 404) return undefined;
      throw error;
    }
  }

  /** The policies of a namespace and of the cluster, as the API shows them. */
  async policies(namespace: string): Promise<readonly unknown[]> {
    const [ofNamespace, ofCluster]: unknown[] = await Promise.all([
      this.#custom.listNamespacedCustomObject({ ...group, namespace, plural: 'auditpolicies' }),
      this.#custom.listClusterCustomObject({ ...group, plural: 'clusterauditpolicies' }),
    ]);
    return [...itemsOf(ofNamespace), ...itemsOf(ofCluster)];
  }

  /** Returns whether it was new: one of the same name says the same. */
  async createEvent(namespace: string, event: EventBody): Promise<boolean> {
    try {
      await this.#core.createNamespacedEvent({ namespace, body: event });
      return true;
    } catch (error) {
      if (error instanceof ApiException && error.code === 409) return false;
      throw error;
    }
  }
}

/** A core/v1 Event. */
export type EventBody = Parameters<CoreV1Api['createNamespacedEvent']>[0]['body'];

function itemsOf(list: unknown): readonly unknown[] {
  return isObject(list) && Array.isArray(list['items']) ? list['items'] : [];
}

/**
 * Gives each request its deadline, and all of them the connections of the first: the client would open new ones for
 * every request, and keep them.
 */
function sharedConnections(): Middleware {
  let connections: ReturnType<RequestContext['getDispatcher']>;
  return {
    pre: async (request) => {
      connections ??= request.getDispatcher();
      if (connections) request.setDispatcher(connections);
      request.setSignal(AbortSignal.timeout(deadlineMs));
      return request;
    },
    post: async (response) => response,
  };
}
