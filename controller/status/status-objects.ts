import {
  ApiException,
  CoreV1Api,
  CustomObjectsApi,
  PatchStrategy,
  setHeaderOptions,
} from '@kubernetes/client-node';
import type { ClusterConnection } from '../../runtime/cluster-connection.ts';
import type { KeptResource } from '../bundles.ts';
import { apiGroup, plurals, type Kind } from '../kinds.ts';
import type { Condition } from './conditions.ts';

/** The ConfigMap by which replicas tell the leader: a key each, and the chart makes it empty. */
export const reportsName = 'chaperone-programmed';

const fieldManager = 'chaperone-controller';

/** What is written of what sidecars have. */
export class StatusObjects {
  readonly #core: CoreV1Api;
  readonly #custom: CustomObjectsApi;
  readonly #namespace: string;

  constructor(connection: ClusterConnection, namespace: string) {
    this.#core = new CoreV1Api(connection);
    this.#custom = new CustomObjectsApi(connection);
    this.#namespace = namespace;
  }

  /** Writes reports by the replica's name; undefined removes one. Others' stay as they are. */
  async writeReports(reports: ReadonlyMap<string, string | undefined>): Promise<void> {
    const data = Object.fromEntries(Array.from(reports, ([name, text]) => [name, text ?? null]));
    await this.#core.patchNamespacedConfigMap(
      { namespace: this.#namespace, name: reportsName, body: { data } },
      setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
    );
  }

  /**
   * Has an object say these conditions, beside those of others. Returns whether it does: one that is gone, or whose name
   * another has by now, is nobody's.
   */
  async writeConditions(
    { kind, metadata }: { readonly kind: Kind; readonly metadata: Place },
    { uid }: Pick<KeptResource, 'uid'>,
    conditions: readonly Condition[],
  ): Promise<boolean> {
    const { name, namespace } = metadata;
    const apiVersion = `${apiGroup.group}/${apiGroup.version}`;
    const body = { apiVersion, kind, metadata: { name, namespace, uid }, status: { conditions } };
    const request = { ...apiGroup, plural: plurals[kind], name, body, fieldManager, force: true };
    const options = setHeaderOptions('Content-Type', PatchStrategy.ServerSideApply);
    try {
      await (namespace === undefined
        ? this.#custom.patchClusterCustomObjectStatus(request, options)
        : this.#custom.patchNamespacedCustomObjectStatus({ ...request, namespace }, options));
      return true;
    } catch (error) {
      if (error instanceof ApiException && (error.code === 404 || error.code === 409)) return false;
      throw error;
    }
  }
}

/** Where an object is. */
export interface Place {
  readonly name: string;
  readonly namespace: string | undefined;
}
