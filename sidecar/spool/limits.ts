import { statfsSync } from 'node:fs';
import { segmentBytes } from './segment.ts';

/** How much the spool may hold, in bytes. */
export interface SpoolLimits {
  readonly maxBytes: number;
  /** Beyond that, for endings and checkpoints. */
  readonly reserveBytes: number;
  readonly segmentBytes: number;
}

const volumeShare = 0.8;
const reserveShare = 0.05;
const maxReserveBytes = 4 * 1024 * 1024;
const leastSegmentBytes = 64 * 1024;

/** Returns the limits of a spool: at most `mostBytes`, and at most four fifths of the volume that it is on. */
export function limitsOf(directory: string, mostBytes: number): SpoolLimits {
  const { blocks, bsize } = statfsSync(directory);
  const volumeBytes = blocks * bsize || Infinity; // some file systems do not say
  const maxBytes = Math.min(mostBytes, Math.floor(volumeBytes * volumeShare));
  return {
    maxBytes,
    reserveBytes: Math.min(maxReserveBytes, Math.floor(maxBytes * reserveShare)),
    // Room comes back by whole segments, so there have to be several.
    segmentBytes: Math.max(leastSegmentBytes, Math.min(segmentBytes, Math.floor(maxBytes / 8))),
  };
}
