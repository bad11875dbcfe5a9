import { mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The spool is a folder a stream, named by the stream, with segment files named by the seq of their first record.
 * Names sort in the order in which things were written (streams are UUIDv7).
 */
export interface Segment {
  readonly path: string;
  readonly firstSeq: number;
  /** Length of what is whole; bytes past it are a write that did not finish. */
  bytes: number;
}

/** A new file begins once one has this many bytes: small enough to be deleted soon after it was shipped. */
export const segmentBytes = 8 * 1024 * 1024;

/** Returns where a stream's segment is that begins with a record. */
export function segmentPath(directory: string, stream: string, firstSeq: number): string {
  return join(directory, stream, `${String(firstSeq).padStart(16, '0')}.frames`);
}

/** Creates the file of a stream's next segment, readable by this user alone. Returns it with its descriptor. */
export function createSegment(
  directory: string,
  stream: string,
  firstSeq: number,
): { segment: Segment; fd: number } {
  mkdirSync(join(directory, stream), { recursive: true, mode: 0o700 });
  const path = segmentPath(directory, stream, firstSeq);
  const fd = openSync(path, 'wx', 0o600);
  return { segment: { path, firstSeq, bytes: 0 }, fd };
}

/** Returns the first seq that a segment's file name gives, or undefined for a name that is not a segment's. */
export function tryParseSegmentName(name: string): number | undefined {
  const match = /^(\d{16})\.frames$/.exec(name);
  return match?.[1] === undefined ? undefined : Number(match[1]);
}
