import type { Refusal } from '#core/operation.ts';
import type { EndReason } from '#core/record/kinds.ts';

/** Why nothing more may pass: the refusal for the peer and the reason for the record. */
export interface Stop {
  readonly refusal: Refusal;
  readonly reason: EndReason;
  /** What runs is cancelled at once, in place of having a while to end. */
  readonly urgent?: true;
}

/** Done at once; or when the promise settles; or not at all, with the reason. */
export type Ready = undefined | Stop | Promise<undefined | Stop>;
