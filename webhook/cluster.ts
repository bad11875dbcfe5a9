import {
  ApiException,
  CoreV1Api,
  CustomObjectsApi,
  NodeV1Api,
  type KubeConfig,
} from '@kubernetes/client-node';
import { isObject } from '#core/policy/fields.ts';
import type { AuditPolicy } from '#core/policy/resources.ts';
import { openCluster } from '../runtime/cluster-connection.ts';
import { apiAudiences } from './api-audiences.ts';
import type { OwnerReference } from './pod.ts';
import { Policies } from './policies.ts';
import { addressIn, clusterAddresses, serviceOf } from './own-service.ts';

/** The API server itself waits five seconds for the answer that needs this. */
const deadlineMs = 3_000;

/** Where our resources are, in the API. */
const group = { group: 'chaperone.dev', version: 'v1alpha1' } as const;

const policiesOfPage = 8; // each has a megabyte at most, with what the API server notes of it

/** Controllers of pods that come with Kubernetes, by version and kind. */
const owners = new Map([
  ['apps/v1 ReplicaSet', 'replicasets'],
  ['apps/v1 StatefulSet', 'statefulsets'],
  ['apps/v1 DaemonSet', 'daemonsets'],
  ['batch/v1 Job', 'jobs'],
]);

/** What the webhook reads of the cluster; every call settles within three seconds. */
export class Cluster {
  readonly #core: CoreV1Api;
  readonly #nodes: NodeV1Api;
  readonly #custom: CustomObjectsApi;
  readonly #policies = new Policies((namespace) => this.#pages(namespace));

  /** @throws ChaperoneError `config-invalid` where the configuration names no cluster. */
  constructor(config: KubeConfig) {
    const connection = openCluster(config, deadlineMs);
    this.#core = new CoreV1Api(connection);
    this.#nodes = new NodeV1Api(connection);
    this.#custom = new CustomObjectsApi(connection);
  }

  /** @throws what `apiAudiences` throws. */
  get apiAudiences(): readonly string[] {
    return apiAudiences();
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

  /** Addresses of a server of ours, by its URL. Rejects where its Service has none that sidecars could go by. */
  async serverAddresses(url: URL): Promise<readonly string[]> {
    const service = serviceOf(url);
    const own = addressIn(url);
    const addresses = service
      ? clusterAddresses((await this.#core.readNamespacedService(service)).spec)
      : own === undefined
        ? []
        : [own];
    if (addresses.length === 0) throw new Error(`${url.hostname} has no address`);
    return addresses;
  }

  /** The policies of a namespace and of the cluster that can be read. */
  async policies(namespace: string): Promise<readonly AuditPolicy[]> {
    return this.#policies.of(namespace);
  }

  async *#pages(namespace: string | undefined): AsyncGenerator<readonly unknown[]> {
    let next = '';
    do {
      const page = { limit: policiesOfPage, ...(next !== '' && { _continue: next }) };
      const list: unknown = await (namespace === undefined
        ? this.#custom.listClusterCustomObject({ ...group, ...page, plural: 'clusterauditpolicies' })
        : this.#custom.listNamespacedCustomObject({ ...group, ...page, namespace, plural: 'auditpolicies' })); // prettier-ignore
      const { items, metadata } = isObject(list) ? list : {};
      yield Array.isArray(items) ? items : [];
      const more = isObject(metadata) ? metadata['continue'] : undefined;
      next = typeof more === 'string' ? more : '';
    } while (next !== '');
  }

  /** Whether there is this very owner, by its uid; false for kinds that do not come with Kubernetes. */
  async isThere(
    namespace: string,
    { apiVersion, kind, name, uid }: OwnerReference,
  ): Promise<boolean> {
    const plural = owners.get(`${apiVersion} ${kind}`);
    if (plural === undefined) return false;
    const [ofGroup = '', version = ''] = apiVersion.split('/');
    try {
      const owner: unknown = await this.#custom.getNamespacedCustomObject({ group: ofGroup, version, namespace, plural, name }); // prettier-ignore
      const metadata = isObject(owner) ? owner['metadata'] : {};
      return isObject(metadata) && metadata['uid'] === uid;
    } catch (error) {
      if (error instanceof ApiException && error.code === 404) return false;
      throw error;
    }
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
