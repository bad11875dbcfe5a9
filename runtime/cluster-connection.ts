import {
  createConfiguration,
  ServerConfiguration,
  type KubeConfig,
  type Middleware,
  type RequestContext,
} from '@kubernetes/client-node';
import { ChaperoneError } from '#core/errors.ts';

/** What classes of the Kubernetes API, such as `CoreV1Api`, are made with. */
export type ClusterConnection = ReturnType<typeof createConfiguration>;

/**
 * Opens the cluster that a configuration names. Each request settles within `deadlineMs`.
 * @throws ChaperoneError `config-invalid` where it names none.
 */
export function openCluster(config: KubeConfig, deadlineMs: number): ClusterConnection {
  const server = config.getCurrentCluster()?.server;
  if (server === undefined)
    throw new ChaperoneError('config-invalid', 'there is no cluster, and no KUBECONFIG names one');
  return createConfiguration({
    baseServer: new ServerConfiguration(server, {}),
    authMethods: { default: config },
    promiseMiddleware: [sharedSockets(deadlineMs)],
  });
}

/**
 * Gives each request its deadline, and all of them the sockets of the first: the client would open new ones for every
 * request, and keep them.
 */
function sharedSockets(deadlineMs: number): Middleware {
  let sockets: ReturnType<RequestContext['getDispatcher']>;
  return {
    pre: async (request) => {
      sockets ??= request.getDispatcher();
      if (sockets) request.setDispatcher(sockets);
      request.setSignal(AbortSignal.timeout(deadlineMs));
      return request;
    },
    post: async (response) => response,
  };
}
