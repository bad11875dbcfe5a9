import { mkdirSync, openSync } from 'node:fs';
import { rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/**
 * The spool is a folder a stream, named by the stream, with segment files named by the seq of their first record.
 * Names sort in the order in which things were written (streams are UUIDv7).
 */
export interface Segment {
  readonly stream: string;
  readonly path: string;
  readonly firstSeq: number;
  /** Length of what is whole; bytes past it are a write that did not finish. */
  bytes: number;
  /** `firstSeq - 1` while the segment is empty. */
  lastSeq: number;
  /** Nothing more will be written to it. */
  closed: boolean;
}

/** A new file begins once one has this many bytes: small enough to be deleted soon after it was shipped. */
export const segmentBytes = 8 * 1024 * 1024;

const suffix = '.frames';

/** Creates the file of a stream's next segment, readable by this user alone. Returns it with its descriptor. */
export function createSegment(
  directory: string,
  stream: string,
  firstSeq: number,
): { segment: Segment; fd: number } {
  const folder = join(directory, stream);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${String(firstSeq).padStart(16, '0')}${suffix}`);
  const fd = openSync(path, 'wx', 0o600);
  return {
    segment: { stream, path, firstSeq, bytes: 0, lastSeq: firstSeq - 1, closed: false },
    fd,
  };
}

/** Returns the first seq that a segment's file name gives, or undefined for a name that is not a segment's. */
export function tryParseSegmentName(name: string): number | undefined {
  const match = /^(\d{16})\.frames$/.exec(name);
  return match?.[1] === undefined ? undefined : Number(match[1]);
}

/** Deletes a shipped segment, and its stream's folder with the last one. */
export async function deleteSegment(segment: Segment): Promise<void> {
  await rm(segment.path, { force: true });
  await rmdir(dirname(segment.path)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw error;
  });
}
