import { hash, randomBytes } from 'node:crypto';
import type { KubeConfig } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import type { BackendCredential } from '#core/control.ts';
import { isObject } from '#core/policy/fields.ts';
import type { BundleNetwork } from '#core/bundle-message.ts';
import { apiAudiences } from '../webhook/api-audiences.ts';
import { documentOf, nameOfDocument, readDocument } from '../webhook/document.ts';
import { containerNames, keys } from '../webhook/names.ts';
import { addressIn, clusterAddresses, serviceOf, type ServerAddresses } from '../webhook/own-service.ts'; // prettier-ignore
import { tryParsePod } from '../webhook/pod.ts';
import type { KeptResource } from './bundles.ts';
import type { ControllerConfig } from './config.ts';
import { killsName } from './identities.ts';
import { kinds, pathOf } from './kinds.ts';
import type { KeptCredential } from './login.ts';
import { inspectPod, type Inspected, type Offered } from './pod-check.ts';
import { KubeApi, type KubeObject } from './watch/kube-api.ts';
import { Reflector } from './watch/reflector.ts';

/** A pod with a sidecar of our name: what bundles need of it, and not its text, which may have a megabyte and more. */
export interface WatchedPod {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly serviceAccount: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly inspected: Inspected;
  /** Whether its sidecar runs, as its node says. */
  readonly isRunning: boolean;
  /** Whether it has ended. One that is being removed has its grace period, and its sessions with it. */
  readonly over: boolean;
}

export interface ClusterStateOptions {
  readonly kubeConfig: KubeConfig;
  readonly config: ControllerConfig;
  /** Something that bundles are made of has changed: of a pod, by `namespace/name`, of a namespace, by `namespace/`, or of any. */
  readonly onChange: (of: string | undefined) => void;
  /** Sessions to end, by what their ids begin with. */
  readonly onKill: (session: string) => void;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** Of a pod, as JSON; a bundle holds them. */
const maxLabels = 64 * 1024;
/** What was asked before this process looked is done. */
const killMs = 120_000;

/** What the controller knows of the cluster. */
export class ClusterState {
  /** Of this process alone. */
  readonly secret = randomBytes(32);
  readonly #config: ControllerConfig;
  readonly #resources: readonly Reflector<KeptResource>[];
  readonly #pods: Reflector<WatchedPod>;
  readonly #namespaces: Reflector<Readonly<Record<string, string>>>;
  readonly #credentials: Reflector<KeptCredential>;
  readonly #nodes: Reflector<readonly string[]>;
  readonly #apiServers: Reflector<readonly string[]>;
  readonly #kills: Reflector<readonly Kill[]>;
  /** Services of our two servers. */
  readonly #servers: readonly Reflector<readonly string[]>[];

  /** @throws ChaperoneError `config-invalid` where the configuration names no cluster. */
  constructor({ kubeConfig, config, onChange, onKill, log, signal }: ClusterStateOptions) {
    this.#config = config;
    const { images, controllerUrl, collectorUrl } = config;
    const offered: Offered = {
      images,
      get apiAudiences() {
        return apiAudiences();
      },
      controllerUrl: controllerUrl.href,
      collectorUrl: collectorUrl.href,
    };
    const api = new KubeApi(kubeConfig);
    const reflect = <T>(
      path: string,
      keep: (object: KubeObject) => T | undefined,
      changed: (key: string) => void = () => onChange(undefined),
    ): Reflector<T> => new Reflector({ api, path, keep, onChange: changed, log, signal });
    // What a namespace has for itself is news to its own pods alone.
    const ofNamespace = (key: string): void => onChange(`${key.slice(0, key.indexOf('/'))}/`);
    this.#resources = kinds.map((kind) => reflect(pathOf(kind), keepResource, kind === 'AuditPolicy' ? ofNamespace : undefined)); // prettier-ignore
    this.#pods = reflect('/api/v1/pods', (pod) => keepPod(pod, offered), onChange);
    this.#namespaces = reflect('/api/v1/namespaces', labelsOf, (key) =>
      onChange(`${key.slice(1)}/`),
    );
    this.#credentials = reflect(`/api/v1/namespaces/${config.credentialsNamespace}/secrets`, keepCredential); // prettier-ignore
    this.#nodes = reflect('/api/v1/nodes', addressesOfNode);
    const slices = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices';
    this.#apiServers = reflect(slices, addressesOfApiServer);
    this.#servers = [config.controllerUrl, config.collectorUrl].flatMap((url) => {
      const service = serviceOf(url);
      if (!service) return [];
      const { namespace, name } = service;
      const path = `/api/v1/namespaces/${namespace}/services?fieldSelector=metadata.name%3D${name}`;
      return reflect(path, ({ spec }) => clusterAddresses(spec));
    });
    const kills = `/api/v1/namespaces/${config.namespace}/configmaps`;
    const only = `${kills}?fieldSelector=metadata.name%3D${killsName}`;
    const killed = new Set<string>();
    this.#kills = reflect(only, keepKills, (key) => {
      for (const { session, timeMs } of this.#kills.get(key) ?? []) {
        if (!killed.has(session) && Date.now() - timeMs < killMs) onKill(session);
        killed.add(session);
      }
    });
  }

  /** What is not known yet; undefined where everything was listed once. */
  get missing(): string | undefined {
    const all = [...this.#resources, this.#pods, this.#namespaces, this.#credentials, this.#nodes, this.#apiServers, this.#kills, ...this.#servers]; // prettier-ignore
    const left = all.filter(({ synced }) => !synced).length;
    return left > 0 ? `${left} of ${all.length} kinds are not listed yet` : undefined;
  }

  get resources(): readonly KeptResource[] {
    return this.#resources.flatMap((reflector) => [...reflector.values()]);
  }

  get podCount(): number {
    return this.#pods.size;
  }

  get pods(): IterableIterator<WatchedPod> {
    return this.#pods.values();
  }

  pod(namespace: string, name: string): WatchedPod | undefined {
    return this.#pods.get(`${namespace}/${name}`);
  }

  namespaceLabels(name: string): Readonly<Record<string, string>> {
    return this.#namespaces.get(`/${name}`) ?? {};
  }

  credential(name: string): KeptCredential | undefined {
    return this.#credentials.get(`${this.#config.credentialsNamespace}/${name}`);
  }

  /** Where the Services of our two servers are now. */
  get serverAddresses(): ServerAddresses {
    const { controllerUrl, collectorUrl } = this.#config;
    return { controller: this.#addressesAt(controllerUrl), collector: this.#addressesAt(collectorUrl) }; // prettier-ignore
  }

  #addressesAt(url: URL): readonly string[] {
    const service = serviceOf(url);
    if (!service) return [addressIn(url) ?? ''];
    const key = `${service.namespace}/${service.name}`;
    return this.#servers.flatMap((each) => each.get(key) ?? []);
  }

  networkOf(namespace: string): BundleNetwork {
    const { resolver, clusterDomain, deniedAddresses } = this.#config;
    const denied = new Set([
      ...deniedAddresses,
      ...Array.from(this.#nodes.values()).flat(),
      ...Array.from(this.#apiServers.values()).flat(),
    ]);
    return {
      resolver,
      searchDomains: [`${namespace}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain],
      deniedAddresses: [...denied].sort(),
    };
  }
}

function keepResource(object: KubeObject): KeptResource {
  const document = documentOf(object);
  const metadata = isObject(document['metadata']) ? document['metadata'] : {};
  const namespace = typeof metadata['namespace'] === 'string' ? metadata['namespace'] : undefined;
  const name = nameOfDocument(document);
  const { uid, generation } = isObject(object['metadata']) ? object['metadata'] : {};
  return {
    document,
    name,
    namespace,
    uid: typeof uid === 'string' ? uid : '',
    generation: typeof generation === 'number' ? generation : 0,
    part: `${name}@${hash('sha256', JSON.stringify(document), 'hex').slice(0, 12)}`,
    ...readDocument(document),
  };
}

function keepPod(object: KubeObject, offered: Offered): WatchedPod | undefined {
  const pod = tryParsePod(object);
  const ours = pod?.spec.initContainers?.some(({ name }) => name === containerNames.sidecar);
  if (!pod || ours !== true) return undefined;
  const { uid, namespace } = isObject(object['metadata']) ? object['metadata'] : {};
  const { phase, initContainerStatuses } = isObject(object['status']) ? object['status'] : {};
  const { name = '', labels = {} } = pod.metadata;
  const isLong = JSON.stringify(labels).length > maxLabels;
  return {
    name,
    namespace: typeof namespace === 'string' ? namespace : '',
    uid: typeof uid === 'string' ? uid : '',
    serviceAccount: pod.spec.serviceAccountName ?? 'default',
    labels: new Map(isLong ? [] : Object.entries(labels)),
    inspected: isLong
      ? { kind: 'other', reason: `its labels are longer than ${maxLabels} characters` }
      : inspectPod(pod, offered),
    isRunning: Array.isArray(initContainerStatuses) && initContainerStatuses.some(isRunningSidecar),
    over: phase === 'Succeeded' || phase === 'Failed',
  };
}

function isRunningSidecar(status: unknown): boolean {
  const { name, state } = isObject(status) ? status : {};
  return name === containerNames.sidecar && isObject(state) && isObject(state['running']);
}

interface Kill {
  /** What ids begin with. */
  readonly session: string;
  /** When it was ordered, in milliseconds since 1970. */
  readonly timeMs: number;
}

function keepKills({ data }: KubeObject): readonly Kill[] {
  const entries = Object.entries(isObject(data) ? data : {});
  return entries.map(([session, time]) => ({ session, timeMs: Date.parse(String(time)) }));
}

function labelsOf(object: KubeObject): Readonly<Record<string, string>> {
  const { labels } = isObject(object['metadata']) ? object['metadata'] : {};
  return isObject(labels)
    ? Object.fromEntries(Object.entries(labels).map(([key, value]) => [key, String(value)]))
    : {};
}

function keepCredential(object: KubeObject): KeptCredential | undefined {
  const { metadata, data } = object;
  const { name, annotations } = isObject(metadata) ? metadata : {};
  if (typeof name !== 'string') return undefined;
  const annotated = isObject(annotations) ? annotations[keys.hosts] : '';
  const hosts = typeof annotated === 'string' ? annotated : '';
  const decode = (key: string): string | undefined => {
    const value = isObject(data) ? data[key] : undefined;
    return typeof value === 'string' ? Buffer.from(value, 'base64').toString('utf8') : undefined;
  };
  const [username, password, certificate, key] = ['username', 'password', 'tls.crt', 'tls.key'].map(decode); // prettier-ignore
  const byType = new Map<BackendCredential['type'], BackendCredential>();
  if (username !== undefined && password !== undefined)
    byType.set('Password', { type: 'Password', username, password });
  if (username !== undefined && certificate !== undefined && key !== undefined)
    byType.set('ClientCertificate', { type: 'ClientCertificate', username, certificate, key });
  const listed = hosts.split(',').map((host) => host.trim().toLowerCase());
  return { name, hosts: listed.filter((host) => host !== ''), byType };
}

function addressesOfNode({ status }: KubeObject): readonly string[] {
  const addresses = isObject(status) ? status['addresses'] : [];
  return (Array.isArray(addresses) ? addresses : []).flatMap((entry: unknown) => {
    if (!isObject(entry) || !String(entry['type']).endsWith('IP')) return [];
    return typeof entry['address'] === 'string' ? [entry['address']] : [];
  });
}

function addressesOfApiServer(object: KubeObject): readonly string[] | undefined {
  const { labels } = isObject(object['metadata']) ? object['metadata'] : {};
  if (!isObject(labels) || labels['kubernetes.io/service-name'] !== 'kubernetes') return undefined;
  const { endpoints } = object;
  return (Array.isArray(endpoints) ? endpoints : []).flatMap((endpoint: unknown) => {
    const addresses = isObject(endpoint) ? endpoint['addresses'] : [];
    return (Array.isArray(addresses) ? addresses : []).filter((each) => typeof each === 'string');
  });
}
