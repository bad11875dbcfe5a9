/** What is known of one sidecar: what of ours is in force there, and what keeps it from more. */
export interface Standing {
  /** When something of it last changed, in milliseconds since 1970: which of two replicas has heard last. */
  readonly atMs: number;
  /** Parts of the bundle in force, as `KeptResource.part`; undefined where this replica has not heard of any. */
  readonly inForce: readonly string[] | undefined;
  /** The bundle that it refused after that. */
  readonly refused: { readonly parts: readonly string[]; readonly problem: string } | undefined;
  /** Names of resources for which its next bundle is held back. */
  readonly heldBy: readonly string[];
}

/** Standings by `podKey`. */
export type Standings = ReadonlyMap<string, Standing>;

/** The beginning of a pod's uid: 48 random bits, which tell all pods of a cluster apart. */
export function podKey(uid: string): string {
  return uid.slice(0, 13);
}

/**
 * Brings together what replicas say. A sidecar that went from one to another is known to both for a while: what is in
 * force is what was heard last, and so is everything else.
 */
export function mergeStandings(all: readonly Standings[]): Standings {
  const merged = new Map<string, Standing>();
  for (const standings of all)
    for (const [key, standing] of standings) {
      const other = merged.get(key);
      if (!other) merged.set(key, standing);
      else {
        const [newer, older] = standing.atMs >= other.atMs ? [standing, other] : [other, standing];
        merged.set(key, { ...newer, inForce: newer.inForce ?? older.inForce });
      }
    }
  return merged;
}
