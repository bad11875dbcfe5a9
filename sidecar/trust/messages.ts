import type { ServerKeyPair } from '#core/control.ts';

/** What the worker is asked. */
export type Job =
  /** Make a certificate authority. */
  | { readonly kind: 'authority'; readonly nowMs: number }
  /** Make a server's certificate under these names and addresses, at least one, signed by an authority. */
  | {
      readonly kind: 'leaf';
      readonly authority: ServerKeyPair;
      readonly names: readonly string[];
      readonly nowMs: number;
    }
  /** Pack certificates, PEM, into a trust store as Java reads it. */
  | { readonly kind: 'store'; readonly certificates: readonly string[] };

/** A job with the number by which it is answered. */
export interface Asked {
  readonly id: number;
  readonly job: Job;
}

/** What came of a job, by its number. */
export type Done =
  | { readonly id: number; readonly made: ServerKeyPair | Uint8Array }
  | { readonly id: number; readonly error: string };
