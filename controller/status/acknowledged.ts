import type { BundleAck } from '#core/bundle-message.ts';
import { podKey, type Standing, type Standings } from './standing.ts';

/** A sidecar that follows this replica, or did a moment ago. */
interface Follower {
  /** Parts of bundles that it may still answer, by revision, in the order in which they were sent. */
  readonly sent: Map<string, readonly string[]>;
  standing: Standing;
  streams: number;
  /** When the last of its streams ended. */
  leftMs: number;
}

/** It answers the last, or one shortly before. */
const maxSent = 16;
/** Until then a sidecar that was lost here has been heard of by another replica, if it lives. */
const keepLeftMs = 60_000;
const maxProblem = 300;
const maxHeldBy = 3;

/** What sidecars that follow this replica have said of the bundles that they were sent. */
export class Acknowledged {
  readonly #followers = new Map<string, Follower>();
  readonly #onChange: () => void;
  readonly #now: () => number;

  /** `now` is in milliseconds since 1970. */
  constructor(onChange: () => void, now: () => number = Date.now) {
    this.#onChange = onChange;
    this.#now = now;
  }

  /** A stream of a pod begins. */
  opened(uid: string): void {
    const key = podKey(uid);
    const standing = { atMs: 0, inForce: undefined, refused: undefined, heldBy: [] };
    const follower = this.#followers.get(key) ?? { sent: new Map(), standing, streams: 0, leftMs: 0 }; // prettier-ignore
    follower.streams += 1;
    this.#followers.set(key, follower);
  }

  /** A stream of a pod has ended. What was in force still is. */
  left(uid: string): void {
    const follower = this.#followers.get(podKey(uid));
    if (!follower) return;
    follower.streams -= 1;
    follower.leftMs = this.#now();
  }

  sent(uid: string, revision: string, parts: readonly string[]): void {
    const sent = this.#followers.get(podKey(uid))?.sent;
    if (!sent) return;
    sent.delete(revision); // now it is the last
    sent.set(revision, parts);
    for (const old of sent.keys()) if (sent.size > maxSent) sent.delete(old);
  }

  /** Nothing more is sent until resources of these names are mended; none: nothing is held back any more. */
  held(uid: string, names: readonly string[]): void {
    const heldBy = [...new Set(names)].slice(0, maxHeldBy);
    const follower = this.#followers.get(podKey(uid));
    if (!follower || (heldBy.length === 0 && follower.standing.heldBy.length === 0)) return;
    this.#change(follower, { heldBy });
  }

  /** Takes what a sidecar says of a bundle. False where it was not sent from here: another replica was meant. */
  take(uid: string, { revision, accepted, problems }: BundleAck): boolean {
    const follower = this.#followers.get(podKey(uid));
    const parts = follower?.sent.get(revision);
    if (!follower || !parts) return false;
    for (const old of follower.sent.keys()) {
      if (old === revision) break;
      follower.sent.delete(old);
    }
    const [first] = problems;
    const problem = first ? `${first.path}: ${first.message}`.slice(0, maxProblem) : '';
    this.#change(follower, accepted ? { inForce: parts, refused: undefined } : { refused: { parts, problem } }); // prettier-ignore
    return true;
  }

  /** Returns what is known of each, and forgets those who have left. */
  standings(): Standings {
    const known = new Map<string, Standing>();
    for (const [key, { standing, streams, leftMs }] of this.#followers)
      if (streams === 0 && this.#now() - leftMs > keepLeftMs) this.#followers.delete(key);
      else if (standing.atMs > 0) known.set(key, standing);
    return known;
  }

  #change(follower: Follower, changes: Partial<Standing>): void {
    follower.standing = { ...follower.standing, ...changes, atMs: this.#now() };
    this.#onChange();
  }
}
