import { isPromise } from 'node:util/types';
import type { RecordRef } from '#core/operation.ts';
import type { Delivery } from '#core/policy/resources.ts';
import type { Ready } from './ready.ts';
import type { SpoolWriter } from './spool/writer.ts';

/** What the collector has committed of the stream that is being written. */
export interface Commits {
  /** Everything up to this seq is committed. */
  readonly ackedSeq: number;
  /** Settles when a seq is committed, or with a Stop when it will not be: at once while the collector is away. */
  committed(seq: number): Ready;
}

export interface ClearanceOptions {
  readonly writer: Pick<SpoolWriter, 'turn' | 'lastSeq'>;
  readonly commits: Commits;
  /** What the policies in force ask for. */
  readonly delivery: () => Delivery;
}

/**
 * Says when what was recorded may go up: once it is in the spool, or, under `delivery: Acknowledged`, once the collector
 * has committed it. A change of the policy counts for what is recorded from then on.
 */
export class Clearance {
  readonly #options: ClearanceOptions;
  /** Records from this seq on have to be committed. */
  #committedFrom = Number.POSITIVE_INFINITY;

  constructor(options: ClearanceOptions) {
    this.#options = options;
  }

  /** Settles when everything recorded so far may go up, or with a Stop when it must not. */
  turn(): Ready {
    const { writer, delivery } = this.#options;
    const turn = writer.turn();
    if (delivery() === 'Spool') {
      this.#committedFrom = Number.POSITIVE_INFINITY;
      return turn;
    }
    this.#committedFrom = Math.min(this.#committedFrom, writer.lastSeq + 1);
    return isPromise(turn)
      ? turn.then((stop) => stop ?? this.#committed())
      : (turn ?? this.#committed());
  }

  /** Whether a record is where it has to be before what it is about goes up. */
  has({ seq }: RecordRef): boolean {
    if (seq === undefined) return false;
    return seq < this.#committedFrom || seq <= this.#options.commits.ackedSeq;
  }

  #committed(): Ready {
    const { writer, commits } = this.#options;
    return this.#committedFrom <= writer.lastSeq ? commits.committed(writer.lastSeq) : undefined;
  }
}
