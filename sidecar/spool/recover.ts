import { mkdirSync } from 'node:fs';
import { readdir, readFile, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { tryParseFrame } from '#core/record/frame.ts';
import { ChaperoneError } from '#core/errors.ts';
import { deleteSegment, tryParseSegmentName, type Segment } from './segment.ts';

/** What an earlier process left in the spool. */
export interface Leftover {
  readonly stream: string;
  readonly segments: readonly Segment[];
}

/** Creates the spool's folder, which no other user may read. */
export function createSpoolDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
}

/**
 * Finds the streams that earlier processes did not finish shipping, oldest first. A torn tail, left by a process killed
 * in mid-write, is cut: nothing of it was ever acted on. A segment with damage elsewhere is kept up to the damage.
 */
export async function recoverLeftovers(directory: string): Promise<Leftover[]> {
  const leftovers: Leftover[] = [];
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const segments = await recoverStream(join(directory, entry.name), entry.name);
    if (segments.length > 0) leftovers.push({ stream: entry.name, segments });
    else await rm(join(directory, entry.name), { recursive: true, force: true });
  }
  return leftovers.sort((a, b) => (a.stream < b.stream ? -1 : 1));
}

async function recoverStream(folder: string, stream: string): Promise<Segment[]> {
  const segments: Segment[] = [];
  for (const name of (await readdir(folder)).sort()) {
    const firstSeq = tryParseSegmentName(name);
    if (firstSeq === undefined) continue;
    const segment = await recoverSegment(stream, join(folder, name), firstSeq);
    if (segment.bytes === 0) await deleteSegment(segment);
    else segments.push(segment);
  }
  return segments;
}

async function recoverSegment(stream: string, path: string, firstSeq: number): Promise<Segment> {
  const bytes = await readFile(path);
  let whole = 0;
  let lastSeq = firstSeq - 1;
  try {
    for (;;) {
      const frame = tryParseFrame(bytes, whole);
      if (!frame || frame.header.stream !== stream || frame.header.seq !== lastSeq + 1) break;
      whole += frame.length;
      lastSeq = frame.header.seq;
    }
  } catch (error) {
    if (!(error instanceof ChaperoneError)) throw error; // a damaged frame ends what can be read
  }
  if (whole < bytes.length) await truncate(path, whole);
  return { stream, path, firstSeq, bytes: whole, lastSeq, closed: true };
}
