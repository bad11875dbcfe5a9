import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { ApiException } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import type { KeptResource } from '../bundles.ts';
import { kinds, pathOf, type Kind } from '../kinds.ts';
import type { KeptCredential } from '../login.ts';
import type { KubeApi, KubeObject } from '../watch/kube-api.ts';
import { Reflector } from '../watch/reflector.ts';
import { buildConditions, readConditions, type Condition } from './conditions.ts';
import { countSidecars, type LivePod } from './counts.ts';
import { judgeResources } from './findings.ts';
import { Pace } from './pace.ts';
import { pollMs, problemOf } from './report-writer.ts';
import { Reports } from './reports.ts';
import { mergeStandings, type Standings } from './standing.ts';
import { reportsName, type StatusObjects } from './status-objects.ts';

/** What the leader knows without asking. */
export interface StatusSources {
  readonly resources: () => readonly KeptResource[];
  /** Those of pods with a sidecar of ours that may be running; `standings` are those of all replicas. */
  readonly pods: (standings: Standings) => readonly LivePod[];
  readonly credential: (name: string) => KeptCredential | undefined;
  /** Of this replica's own sidecars. */
  readonly standings: () => Standings;
  /** Whether all of it was listed. */
  readonly isReady: () => boolean;
  /** Has a listener told of each change of it; returns what ends that. */
  readonly onChange: (listener: () => void) => () => void;
}

export interface KeepStatusOptions {
  readonly sources: StatusSources;
  readonly objects: StatusObjects;
  readonly api: KubeApi;
  readonly namespace: string;
  readonly log: Logger;
}

/** An object's conditions, as they were read or written last. */
interface Written {
  readonly conditions: readonly Condition[];
  readonly atMs: number;
}

/** An object is written so often at most. */
const leastMs = 5_000;
/** After so long it is read anew what stands in the cluster: somebody may have changed it. */
const rereadMs = 5 * 60_000;

/** Says in each resource how far it is in force, until the signal aborts. It is the work of one replica. Never rejects. */
export async function keepStatus(options: KeepStatusOptions, signal: AbortSignal): Promise<void> {
  const keeper = new StatusKeeper(options, signal);
  const end = options.sources.onChange(() => keeper.changed());
  await keeper.run();
  end();
}

class StatusKeeper {
  readonly #options: KeepStatusOptions;
  readonly #signal: AbortSignal;
  /** Sidecars take a moment to answer: nobody has to hear of what is over in a second. */
  readonly #pace = new Pace({ settleMs: 1_000, leastMs: 1_000, mostMs: 15_000 });
  readonly #reports = new Reports();
  readonly #reflector: Reflector<KubeObject>;
  /** By uid. */
  #written = new Map<string, Written>();
  #readMs = -Infinity;
  /** Problems that were said since all was read last: each once. */
  readonly #said = new Set<string>();

  constructor(options: KeepStatusOptions, signal: AbortSignal) {
    const { api, namespace, log } = options;
    this.#options = options;
    this.#signal = signal;
    this.#reflector = new Reflector({
      api,
      path: `/api/v1/namespaces/${namespace}/configmaps?fieldSelector=metadata.name%3D${reportsName}`,
      keep: ({ data }) => ({ data }),
      onChange: (key) => {
        this.#reports.take(this.#reflector.get(key) ?? {}, performance.now());
        this.changed();
      },
      log,
      signal,
    });
  }

  changed(): void {
    this.#pace.note(performance.now());
  }

  async run(): Promise<void> {
    while (!this.#signal.aborted) {
      await delay(pollMs, undefined, { signal: this.#signal }).catch(() => undefined); // asked to stop
      const isReady = this.#reflector.synced && this.#options.sources.isReady();
      if (this.#signal.aborted || !isReady || !this.#pace.isDue(performance.now())) continue;
      this.#pace.begin(performance.now());
      try {
        await this.#prune();
        await this.#readAgain();
        await this.#write();
      } catch (error) {
        this.changed();
        this.#say(problemOf(error));
      }
    }
  }

  async #prune(): Promise<void> {
    const gone = this.#reports.gone(performance.now());
    if (gone.length > 0)
      await this.#options.objects.writeReports(new Map(gone.map((name) => [name, undefined])));
  }

  async #readAgain(): Promise<void> {
    if (performance.now() - this.#readMs < rereadMs) return;
    const written = new Map<string, Written>();
    for (const kind of kinds) {
      for await (const { items } of this.#options.api.pages(pathOf(kind), this.#signal)) {
        for (const item of items) {
          const uid = uidOf(item);
          const atMs = this.#written.get(uid)?.atMs ?? -Infinity;
          written.set(uid, { conditions: readConditions(item), atMs });
        }
      }
    }
    this.#written = written;
    this.#said.clear();
    this.#readMs = performance.now();
  }

  async #write(): Promise<void> {
    const { resources, pods, credential, standings } = this.#options.sources;
    const all = resources();
    const heard = this.#reports.standings(performance.now());
    const known = mergeStandings([...heard, standings()]);
    const counts = countSidecars(all, pods(known), known);
    const findings = judgeResources(all, credential);
    for (const kept of all) {
      const [found, count] = [findings.get(kept.name), counts.get(kept.name)];
      if (this.#signal.aborted) return;
      if (!found || !count) continue; // each has both
      const { conditions: before, atMs } = this.#written.get(kept.uid) ?? { conditions: [], atMs: -Infinity }; // prettier-ignore
      const conditions = buildConditions(kept, found, count, { before, nowMs: Date.now() });
      if (isDeepStrictEqual(conditions, before)) continue;
      if (performance.now() - atMs < leastMs) this.changed();
      else await this.#writeOne(kept, { before, conditions });
    }
  }

  async #writeOne(kept: KeptResource, { conditions, before }: Changed): Promise<void> {
    const place = placeOf(kept);
    if (!place) return;
    const atMs = performance.now();
    try {
      const isWritten = await this.#options.objects.writeConditions(place, kept, conditions);
      this.#written.set(kept.uid, { conditions: isWritten ? conditions : before, atMs });
    } catch (error) {
      // One that the API server does not take keeps no other from being written.
      if (!(error instanceof ApiException)) throw error;
      this.#written.set(kept.uid, { conditions: before, atMs });
      this.#say(`${kept.name}: ${problemOf(error)}`);
    }
  }

  #say(problem: string): void {
    if (this.#signal.aborted || this.#said.has(problem)) return;
    this.#said.add(problem);
    this.#options.log.warn({ problem }, 'the status of resources cannot be kept');
  }
}

interface Changed {
  readonly before: readonly Condition[];
  readonly conditions: readonly Condition[];
}

function placeOf({
  name,
  namespace,
}: KeptResource): Parameters<StatusObjects['writeConditions']>[0] | undefined {
  // prettier-ignore
  const parts = name.split('/');
  const kind = kinds.find((known): known is Kind => known === parts[0]);
  const own = parts.at(-1);
  return kind && own !== undefined ? { kind, metadata: { name: own, namespace } } : undefined;
}

function uidOf({ metadata }: KubeObject): string {
  const { uid } = (metadata ?? {}) as { readonly uid?: string }; // of an object of the API
  return uid ?? '';
}
