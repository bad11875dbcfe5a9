import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { isObject } from '#core/policy/fields.ts';
import type { KubeApi, KubeObject } from './kube-api.ts';

export interface ReflectorOptions<T> {
  readonly api: Pick<KubeApi, 'pages' | 'watch'>;
  /** Such as `/api/v1/pods`. */
  readonly path: string;
  /** What is kept of an object; undefined for one that nobody asks for. */
  readonly keep: (object: KubeObject) => T | undefined;
  /** What is kept of something has changed, is new or is gone, by `namespace/name`. */
  readonly onChange: (key: string) => void;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

const relistMs = { least: 5 * 60_000, spread: 5 * 60_000 };
const maxRetryMs = 30_000;
/** Doubled by each failure, also the first. */
const baseRetryMs = 250;

/** All objects of a kind as the cluster has them now, kept current by a watch and listed anew every few minutes. */
export class Reflector<T> {
  readonly #options: ReflectorOptions<T>;
  readonly #kept = new Map<string, { readonly version: string; readonly value: T }>();
  #synced = false;
  #lastProblem: string | undefined;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    void this.#run();
  }

  /** Whether everything was listed once. */
  get synced(): boolean {
    return this.#synced;
  }

  get size(): number {
    return this.#kept.size;
  }

  get(key: string): T | undefined {
    return this.#kept.get(key)?.value;
  }

  *values(): Generator<T> {
    for (const { value } of this.#kept.values()) yield value;
  }

  // Never rejects.
  async #run(): Promise<void> {
    const { signal } = this.#options;
    for (let failures = 0; !signal.aborted;) {
      try {
        await this.#listAndWatch(() => (failures = 0));
      } catch (error) {
        if (signal.aborted) return;
        this.#say(error);
        failures += 1;
        const most = Math.min(maxRetryMs, baseRetryMs * 2 ** failures);
        await delay(most * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
      }
    }
  }

  async #listAndWatch(onListed: () => void): Promise<void> {
    const { api, path, signal } = this.#options;
    let version = '';
    const there = new Set<string>();
    for await (const page of api.pages(path, signal)) {
      version = page.version;
      for (const item of page.items) {
        there.add(keyOf(item));
        this.#put(item);
      }
    }
    for (const key of this.#kept.keys()) if (!there.has(key)) this.#remove(key);
    this.#synced = true;
    this.#lastProblem = undefined;
    onListed();
    const untilMs = performance.now() + relistMs.least + Math.random() * relistMs.spread;
    while (performance.now() < untilMs && !signal.aborted) {
      const end = await api.watch(path, {
        version,
        signal,
        onEvent: ({ type, object }) => {
          version = versionOf(object) || version;
          if (type === 'DELETED') this.#remove(keyOf(object));
          else if (type !== 'BOOKMARK') this.#put(object);
        },
      });
      if (end === 'expired') return;
    }
  }

  #put(object: KubeObject): void {
    const key = keyOf(object);
    const version = versionOf(object);
    const before = this.#kept.get(key);
    if (before?.version === version) return;
    const value = this.#options.keep(object);
    if (value === undefined) return this.#remove(key);
    // Most changes are of a status that nobody here asks for.
    const isSame = before !== undefined && isDeepStrictEqual(before.value, value);
    this.#kept.set(key, { version, value: isSame ? before.value : value });
    if (!isSame) this.#options.onChange(key);
  }

  #remove(key: string): void {
    if (this.#kept.delete(key)) this.#options.onChange(key);
  }

  /** Once for each thing that goes wrong: a cluster that is away is tried often. */
  #say(error: unknown): void {
    const problem = error instanceof Error ? error.message : 'unknown';
    if (problem !== this.#lastProblem)
      this.#options.log.warn({ path: this.#options.path, problem }, 'a watch was lost');
    this.#lastProblem = problem;
  }
}

function metadataOf(object: KubeObject): Readonly<Record<string, unknown>> {
  return isObject(object['metadata']) ? object['metadata'] : {};
}

/** `namespace/name`, or `/name` of what is the cluster's. */
export function keyOf(object: KubeObject): string {
  const { namespace, name } = metadataOf(object);
  return `${typeof namespace === 'string' ? namespace : ''}/${typeof name === 'string' ? name : ''}`;
}

function versionOf(object: KubeObject): string {
  const { resourceVersion } = metadataOf(object);
  return typeof resourceVersion === 'string' ? resourceVersion : '';
}
