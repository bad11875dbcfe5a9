import type { KubeConfig } from '@kubernetes/client-node';
import { ChaperoneError } from '#core/errors.ts';

/** How a cluster is reached where more than `KUBECONFIG` says so. */
export interface ClusterChoice {
  /** A kubeconfig file; undefined: as `KUBECONFIG` says, then the home directory's, then that of the pod itself. */
  readonly kubeconfig?: string | undefined;
  /** Undefined: the current one. */
  readonly context?: string | undefined;
}

/**
 * Finds the cluster as kubectl does. The client of the Kubernetes API is loaded only here: it takes longer than most
 * commands run.
 * @throws ChaperoneError `config-invalid` where none is named.
 */
export async function loadKubeConfig({
  kubeconfig,
  context,
}: ClusterChoice = {}): Promise<KubeConfig> {
  const client = await import('@kubernetes/client-node');
  const config = new client.KubeConfig();
  try {
    if (kubeconfig === undefined) config.loadFromDefault();
    else config.loadFromFile(kubeconfig);
  } catch (cause) {
    const which = kubeconfig ?? 'the kubeconfig';
    throw new ChaperoneError('config-invalid', `${which} cannot be read`, { cause });
  }
  if (context !== undefined) {
    if (!config.getContexts().some(({ name }) => name === context))
      throw new ChaperoneError('config-invalid', `the kubeconfig has no context "${context}"`);
    config.setCurrentContext(context);
  }
  if (config.getCurrentCluster() === null)
    throw new ChaperoneError('config-invalid', 'there is no cluster, and no KUBECONFIG names one');
  return config;
}
