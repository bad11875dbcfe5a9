import type { Workload } from '#core/identity/principal.ts';
import { mayConcern, type KeptResource } from '../bundles.ts';
import { podKey, type Standing, type Standings } from './standing.ts';

/** A pod with a sidecar of ours that has not ended. */
export interface LivePod extends Workload {
  readonly uid: string;
  /** Whether the sidecar runs, as its node says. One that has reported runs whatever that says. */
  readonly isRunning: boolean;
}

/** What has become of a resource at the sidecars that it concerns. */
export interface Count {
  readonly sidecars: number;
  /** Of them: where it is in force as it is now. */
  readonly current: number;
  /** Where it was refused as it is now. */
  readonly refused: number;
  /** Where it is not in force since the bundle is held back. */
  readonly held: number;
  /** What one that refused it said. */
  readonly problem: string | undefined;
  /** Names of resources that hold it back, in order. */
  readonly heldBy: readonly string[];
}

/** Counts for each resource, by its name, what sidecars have of it. */
export function countSidecars(
  resources: readonly KeptResource[],
  pods: readonly LivePod[],
  standings: Standings,
): ReadonlyMap<string, Count> {
  const tallies = new Map(resources.map((kept) => [kept, new Tally(kept.part)]));
  for (const [workload, uids] of alike(pods, standings)) {
    const concerned = resources.filter((kept) => mayConcern(kept, workload));
    for (const standing of uids.map((uid) => standings.get(podKey(uid))))
      for (const kept of concerned) tallies.get(kept)?.add(standing);
  }
  return new Map(Array.from(tallies, ([{ name }, tally]) => [name, tally.count]));
}

/** Pods whose sidecars run, those together that the same resources concern: there are far fewer of such than pods. */
function alike(
  pods: readonly LivePod[],
  standings: Standings,
): Iterable<readonly [workload: Workload, uids: readonly string[]]> {
  const groups = new Map<string, readonly [LivePod, string[]]>();
  for (const pod of pods) {
    if (!pod.isRunning && !standings.has(podKey(pod.uid))) continue;
    const key = JSON.stringify([pod.namespace, pod.serviceAccount, ...pod.labels]);
    const group = groups.get(key) ?? [pod, []];
    group[1].push(pod.uid);
    groups.set(key, group);
  }
  return groups.values();
}

/** One resource's count while it is made. */
class Tally {
  readonly #part: string;
  readonly #heldBy = new Set<string>();
  #sidecars = 0;
  #current = 0;
  #refused = 0;
  #held = 0;
  #problem: string | undefined;

  constructor(part: string) {
    this.#part = part;
  }

  get count(): Count {
    return {
      sidecars: this.#sidecars,
      current: this.#current,
      refused: this.#refused,
      held: this.#held,
      problem: this.#problem,
      heldBy: [...this.#heldBy].sort(),
    };
  }

  add(standing: Standing | undefined): void {
    this.#sidecars += 1;
    if (standing?.inForce?.includes(this.#part) === true) this.#current += 1;
    else if (standing?.refused?.parts.includes(this.#part) === true) {
      this.#refused += 1;
      this.#problem ??= standing.refused.problem;
    } else if (standing && standing.heldBy.length > 0) {
      this.#held += 1;
      for (const name of standing.heldBy) this.#heldBy.add(name);
    }
  }
}
