import type { KubeConfig } from '@kubernetes/client-node';
import { ChaperoneError } from '#core/errors.ts';
import { loadKubeConfig } from './kube-config.ts';

/** A Secret to be made. */
export interface NewSecret {
  readonly namespace: string;
  readonly name: string;
  /** What it says, by key; asked for only where it is not there yet. */
  readonly content: () => Readonly<Record<string, string>>;
}

/**
 * Makes a Secret that is never made anew: one that is there stays as it is, whoever made it. Returns whether it was new.
 * @throws ChaperoneError `config-invalid`.
 */
export async function createSecretOnce({ namespace, name, content }: NewSecret): Promise<boolean> {
  const { ApiException, CoreV1Api } = await import('@kubernetes/client-node');
  const config: KubeConfig = await loadKubeConfig();
  const api = config.makeApiClient(CoreV1Api);
  const has = (error: unknown, code: number): boolean =>
    error instanceof ApiException && error.code === code;
  try {
    await api.readNamespacedSecret({ namespace, name });
    return false;
  } catch (error) {
    if (!has(error, 404)) throw failed(`Secret ${namespace}/${name} cannot be looked for`, error);
  }
  const metadata = { namespace, name, labels: { 'app.kubernetes.io/name': 'chaperone' } };
  try {
    await api.createNamespacedSecret({ namespace, body: { metadata, stringData: content() } });
    return true;
  } catch (error) {
    if (has(error, 409)) return false; // another was faster
    throw failed(`Secret ${namespace}/${name} cannot be made`, error);
  }
}

/** What the API says can quote what it was sent: only its status is passed on. */
function failed(what: string, error: unknown): ChaperoneError {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined;
  return new ChaperoneError('config-invalid', `${what}: the Kubernetes API says ${String(code)}`);
}
