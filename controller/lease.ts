import {
  ApiException,
  CoordinationV1Api,
  PatchStrategy,
  setHeaderOptions,
  type V1Lease,
} from '@kubernetes/client-node';
import type { ClusterConnection } from '../runtime/cluster-connection.ts';

/** What a Lease says of who leads. */
export interface LeaseClaim {
  /** Empty where nobody does. */
  readonly holder: string;
  /** For how long after a renewal nobody else may take it. */
  readonly durationMs: number;
  /** As the holder's own clock says it: only good for telling whether it changed. */
  readonly renewTime: string;
  readonly acquireTime: string;
  /** How often the holder changed. */
  readonly transitions: number;
}

/** A Lease as it was read. */
export interface FoundLease extends LeaseClaim {
  /** A claim can be written only as long as nobody else wrote one since. */
  readonly version: string;
}

/** One Lease of the cluster, which is there already. */
export class LeaseObject {
  readonly #api: CoordinationV1Api;
  readonly #place: { readonly namespace: string; readonly name: string };

  constructor(connection: ClusterConnection, place: { namespace: string; name: string }) {
    this.#api = new CoordinationV1Api(connection);
    this.#place = place;
  }

  async read(): Promise<FoundLease> {
    return foundLease(await this.#api.readNamespacedLease(this.#place));
  }

  /** Writes a claim, unless somebody else has written one since `version`. Returns whether it did. */
  async write(version: string, claim: LeaseClaim): Promise<boolean> {
    const body = {
      metadata: { resourceVersion: version },
      spec: {
        holderIdentity: claim.holder,
        leaseDurationSeconds: Math.max(1, Math.round(claim.durationMs / 1000)),
        renewTime: claim.renewTime,
        acquireTime: claim.acquireTime || null, // not a time, where there was none
        leaseTransitions: claim.transitions,
      },
    };
    const options = setHeaderOptions('Content-Type', PatchStrategy.MergePatch);
    try {
      await this.#api.patchNamespacedLease({ ...this.#place, body }, options);
      return true;
    } catch (error) {
      if (error instanceof ApiException && error.code === 409) return false;
      throw error;
    }
  }
}

function foundLease({ metadata, spec }: V1Lease): FoundLease {
  return {
    version: metadata?.resourceVersion ?? '',
    holder: spec?.holderIdentity ?? '',
    durationMs: (spec?.leaseDurationSeconds ?? 0) * 1000,
    renewTime: microTime(spec?.renewTime),
    acquireTime: microTime(spec?.acquireTime),
    transitions: spec?.leaseTransitions ?? 0,
  };
}

/** Writes a time as the API wants it in a Lease: with six places. */
export function microTime(time: Date | undefined): string {
  return time === undefined ? '' : new Date(time).toISOString().replace('Z', '000Z');
}

/**
 * Says whether a Lease is somebody else's. Clocks of two machines may differ by any amount, so the times in it count
 * for nothing: it is free once it has been seen unchanged for its whole duration, by the clock of whoever looks.
 */
export class LeaseObserver {
  #seen: string | undefined;
  #changedMs = 0;

  /** `nowMs` is of a clock that nobody sets. */
  isTaken(lease: LeaseClaim, self: string, nowMs: number): boolean {
    const { holder, renewTime, acquireTime, transitions, durationMs } = lease;
    const said = JSON.stringify([holder, renewTime, acquireTime, transitions, durationMs]);
    if (said !== this.#seen) {
      this.#seen = said;
      this.#changedMs = nowMs;
    }
    if (holder === '' || holder === self) return false;
    return nowMs < this.#changedMs + durationMs;
  }
}
