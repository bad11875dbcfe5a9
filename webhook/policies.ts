import { isObject } from '#core/policy/fields.ts';
import type { AuditPolicy } from '#core/policy/resources.ts';
import { documentOf, readDocument, type MeasuredDocument } from './document.ts';
import { Room } from './room.ts';

/** Asks the API for policies, a page at a time: of a namespace, or those of the cluster where it is undefined. */
export type PolicyPages = (namespace: string | undefined) => AsyncIterable<readonly unknown[]>;

/** What a namespace may have, of policies and bytes of their documents; the API could be made to list gigabytes. */
const maxOfNamespace = { policies: 512, bytes: 8 * 1024 * 1024 } as const;
const maxKept = { policies: 2_048, bytes: 16 * 1024 * 1024 } as const;
/** Lists under way: each holds a page. */
const lists = { size: 4, sizeOfOne: 2, waitMs: 3_000, maxWaiting: 1_024 };

/** Policies as the cluster has them now. Asked for at each pod, and read once for each of their versions. */
export class Policies {
  readonly #pages: PolicyPages;
  readonly #room = new Room(lists);
  /** By uid and version, those that were asked for last at the end. */
  readonly #kept = new Map<string, MeasuredDocument>();
  #keptBytes = 0;

  constructor(pages: PolicyPages) {
    this.#pages = pages;
  }

  /**
   * The policies of a namespace and of the cluster that can be read; none of its own for a namespace that has more than
   * anybody reads. Rejects where the cluster does not answer, or is asked for too much at once.
   */
  async of(namespace: string): Promise<readonly AuditPolicy[]> {
    const leave = await this.#room.enter(namespace, 1);
    if (!leave) throw new Error('too many policies are asked for at once');
    try {
      const [own, ofCluster] = await Promise.all([
        this.#list(namespace, maxOfNamespace),
        this.#list(undefined, { policies: Infinity, bytes: Infinity }),
      ]);
      return [...own, ...ofCluster];
    } finally {
      leave();
    }
  }

  async #list(
    namespace: string | undefined,
    most: { readonly policies: number; readonly bytes: number },
  ): Promise<readonly AuditPolicy[]> {
    const found: AuditPolicy[] = [];
    let [count, length] = [0, 0];
    for await (const page of this.#pages(namespace))
      for (const object of page) {
        const { bytes, parsed } = this.#read(object);
        count += 1;
        length += bytes;
        if (count > most.policies || length > most.bytes) return [];
        const { resource } = parsed;
        if (resource?.kind === 'AuditPolicy' || resource?.kind === 'ClusterAuditPolicy')
          found.push(resource);
      }
    return found;
  }

  #read(object: unknown): MeasuredDocument {
    const { uid, resourceVersion } = isObject(object) && isObject(object['metadata']) ? object['metadata'] : {}; // prettier-ignore
    const key = `${String(uid)}@${String(resourceVersion)}`;
    const known = this.#kept.get(key);
    const read = known ?? readDocument(documentOf(object));
    this.#kept.delete(key);
    this.#kept.set(key, read);
    if (known) return read;
    this.#keptBytes += read.bytes;
    for (const [oldest, { bytes }] of this.#kept) {
      if (this.#kept.size <= maxKept.policies && this.#keptBytes <= maxKept.bytes) break;
      this.#kept.delete(oldest);
      this.#keptBytes -= bytes;
    }
    return read;
  }
}
