import type { Amount } from '#core/policy/budget.ts';

const headerBytes = 5;

/** How much of a run fits. */
export interface Fit {
  /** Bytes of it, up to the beginning of the first row that does not fit. */
  readonly length: number;
  /** Rows that begin in that, with all their bytes, also those that are still to come. */
  readonly begun: Amount;
  /** Rows that end in it. */
  readonly ended: number;
  /** Bytes of its last row that are still to come. */
  readonly left: number;
  /** The first row that does not fit, if any does not. */
  readonly beyond: Amount | undefined;
}

/**
 * Finds how many rows of a run fit into what is left. A row counts where it begins, with its whole length: one that was
 * begun has to be finished, since nothing else could be said within it. `continued`: bytes of a row that began earlier.
 */
export function fitRows(run: Buffer, continued: number, room: Amount): Fit {
  let rows = 0;
  let bytes = 0;
  let at = continued;
  const before = continued > 0 && continued <= run.length ? 1 : 0;
  while (at < run.length) {
    const length = 1 + run.readUInt32BE(at + 1); // a run is never cut within a header
    if (rows + 1 > room.rows || bytes + length > room.bytes)
      return {
        length: at,
        begun: { rows, bytes },
        ended: before + rows,
        left: 0,
        beyond: { rows: 1, bytes: length },
      };
    rows += 1;
    bytes += length;
    at += length;
  }
  const left = at - run.length;
  const begun = { rows, bytes };
  const ended = before + rows - (left > 0 && rows > 0 ? 1 : 0);
  return { length: run.length, begun, ended, left, beyond: undefined };
}

/** Length of a whole message as its header says. */
export function declaredLength(frame: Buffer): number {
  return frame.length < headerBytes ? frame.length : 1 + frame.readUInt32BE(1);
}
