import { readFileSync } from 'node:fs';
import type { CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import { readAudience } from '#core/audiences.ts';
import { ChaperoneError } from '#core/errors.ts';
import { UsageError } from '../command.ts';
import type { CollectorAccess, ServerAccess } from '../server-access.ts';
import { loadKubeConfig } from './kube-config.ts';
import { forwardPort } from './port-forward.ts';

/** Options of every command that goes to a cluster. */
export const clusterOptions = {
  kubeconfig: { type: 'string' },
  context: { type: 'string' },
} as const;

export const clusterUsage = `  --kubeconfig FILE, --context NAME
                  which cluster (default: as kubectl)`;

/** Options of commands that go to our servers there. */
export const installationOptions = {
  ...clusterOptions,
  'system-namespace': { type: 'string', default: 'chaperone-system' },
  'as-service-account': { type: 'string' },
  'token-file': { type: 'string' },
} as const;

export const installationUsage = `  --as-service-account NS/NAME
                  with a token of this ServiceAccount, which the API server is asked for
  --token-file FILE
                  with the token in a file, of audience chaperone-read
  --system-namespace NS
                  where Chaperone is installed (default chaperone-system)
${clusterUsage}`;

export interface InstallationValues {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly 'system-namespace': string;
  readonly 'as-service-account'?: string | undefined;
  readonly 'token-file'?: string | undefined;
}

const tokenSeconds = 600; // the API server gives out none that lives shorter

const ports = { collector: 15_480, controller: 15_481 } as const;

/** Chaperone as it is installed in a cluster, reached through the API server with the user's own rights. */
export class Installation {
  readonly #config: KubeConfig;
  readonly #core: CoreV1Api;
  readonly #namespace: string;
  readonly #token: () => Promise<string>;

  private constructor(
    config: KubeConfig,
    core: CoreV1Api,
    namespace: string,
    token: () => Promise<string>,
  ) {
    this.#config = config;
    this.#core = core;
    this.#namespace = namespace;
    this.#token = token;
  }

  /** @throws UsageError where nothing says with which token; ChaperoneError `config-invalid`. */
  static async open(values: InstallationValues): Promise<Installation> {
    const { 'as-service-account': account, 'token-file': file } = values;
    if ((account === undefined) === (file === undefined))
      throw new UsageError('say who reads: with either --as-service-account NS/NAME or --token-file FILE'); // prettier-ignore
    const named = account === undefined ? undefined : parseAccount(account);
    const config = await loadKubeConfig(values);
    const { CoreV1Api } = await import('@kubernetes/client-node');
    const core = config.makeApiClient(CoreV1Api);
    const token = async (): Promise<string> =>
      named ? requestToken(core, named) : readTokenFile(file ?? '');
    return new Installation(config, core, values['system-namespace'], token);
  }

  async collector(): Promise<CollectorAccess> {
    const [access, token] = await Promise.all([this.#server('collector'), this.#token()]);
    return { ...access, name: 'collector', readToken: token, operatorToken: () => token };
  }

  async controller(): Promise<{ readonly access: ServerAccess; readonly token: string }> {
    const [access, token] = await Promise.all([this.#server('controller'), this.#token()]);
    return { access, token };
  }

  async #server(name: 'collector' | 'controller'): Promise<ServerAccess> {
    const [ca, pod] = await Promise.all([this.#authority(name), this.#readyPod(name)]);
    const namespace = this.#namespace;
    return {
      name,
      url: `https://chaperone-${name}.${namespace}.svc`,
      ca,
      dial: () => forwardPort(this.#config, { namespace, pod, port: ports[name] }),
    };
  }

  async #authority(name: string): Promise<string> {
    const namespace = this.#namespace;
    const what = `ConfigMap ${namespace}/chaperone-authorities`;
    const { data } = await this.#core
      .readNamespacedConfigMap({ namespace, name: 'chaperone-authorities' })
      .catch((cause: unknown) => {
        throw unreadable(what, cause);
      });
    const ca = data?.[`${name}.crt`];
    if (ca !== undefined && ca !== '') return ca;
    throw new ChaperoneError('config-invalid', `${what} has no authority of the ${name} yet: no controller has started`); // prettier-ignore
  }

  async #readyPod(name: string): Promise<string> {
    const namespace = this.#namespace;
    const labelSelector = `app.kubernetes.io/name=chaperone,app.kubernetes.io/component=${name}`;
    const { items } = await this.#core
      .listNamespacedPod({ namespace, labelSelector })
      .catch((cause: unknown) => {
        throw unreadable(`the pods of namespace ${namespace}`, cause);
      });
    const ready = items.find(
      ({ metadata, status }) =>
        metadata?.deletionTimestamp === undefined &&
        status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True'),
    ); // prettier-ignore
    const pod = ready?.metadata?.name;
    if (pod !== undefined) return pod;
    const count = items.length === 0 ? 'no' : 'no ready';
    throw new ChaperoneError('config-invalid', `namespace ${namespace} has ${count} pod of the ${name}: kubectl -n ${namespace} get pods`); // prettier-ignore
  }
}

interface Account {
  readonly namespace: string;
  readonly name: string;
}

function parseAccount(text: string): Account {
  const [namespace = '', name = '', ...more] = text.split('/');
  if (namespace !== '' && name !== '' && more.length === 0) return { namespace, name };
  throw new UsageError(`--as-service-account: got "${text}", want NAMESPACE/NAME`);
}

async function requestToken(core: CoreV1Api, { namespace, name }: Account): Promise<string> {
  const body = { spec: { audiences: [readAudience], expirationSeconds: tokenSeconds } };
  const { status } = await core
    .createNamespacedServiceAccountToken({ namespace, name, body })
    .catch((cause: unknown) => {
      throw unreadable(`a token of ServiceAccount ${namespace}/${name}`, cause);
    });
  if (status?.token !== undefined) return status.token;
  throw new ChaperoneError('config-invalid', `the API server gave no token of ServiceAccount ${namespace}/${name}`); // prettier-ignore
}

function readTokenFile(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new ChaperoneError('config-invalid', `--token-file: ${file} cannot be read`, { cause });
  }
}

/** Says what could not be had, and the status that the API server gave; its own text can be long. */
export function unreadable(what: string, cause: unknown): ChaperoneError {
  const code: unknown = cause instanceof Error ? Reflect.get(cause, 'code') : undefined;
  const why =
    code === 403
      ? 'you have not the right to'
      : code === 404
        ? 'it is not there'
        : `the API server says ${typeof code === 'number' ? code : 'nothing'}`;
  return new ChaperoneError('config-invalid', `${what}: ${why}`, { cause });
}
