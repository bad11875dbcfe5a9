import { constants, mkdirSync } from 'node:fs';
import { copyFile, readdir, readFile, rmdir, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { prefixBytes, tryParseFrame, type Frame } from '#core/record/frame.ts';
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

/** A segment of which something cannot be read, though it is no write that did not finish. */
export interface Damage {
  readonly path: string;
  /** Length of what is whole, before the damage. */
  readonly keptBytes: number;
  readonly lostBytes: number;
}

/**
 * Finds the streams that earlier processes did not finish shipping, oldest first. A torn tail, left by a process killed
 * in mid-write, is cut: nothing of it was ever acted on. A segment with other damage is used up to the damage, and the
 * file as it was is kept beside it, named `.damaged`, for whoever finds out what happened.
 */
export async function recoverLeftovers(
  directory: string,
  onDamage: (damage: Damage) => void,
): Promise<Leftover[]> {
  const leftovers: Leftover[] = [];
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const folder = join(directory, entry.name);
    const segments = await recoverStream(folder, entry.name, onDamage);
    if (segments.length > 0) leftovers.push({ stream: entry.name, segments });
    else await removeEmptyFolder(folder);
  }
  return leftovers.sort((a, b) => (a.stream < b.stream ? -1 : 1));
}

async function recoverStream(
  folder: string,
  stream: string,
  onDamage: (damage: Damage) => void,
): Promise<Segment[]> {
  const segments: Segment[] = [];
  for (const name of (await readdir(folder)).sort()) {
    const firstSeq = tryParseSegmentName(name);
    if (firstSeq === undefined) continue;
    const { segment, damage } = await recoverSegment(stream, join(folder, name), firstSeq);
    if (damage) onDamage(damage);
    if (segment.bytes === 0) await deleteSegment(segment);
    else segments.push(segment);
  }
  return segments;
}

async function recoverSegment(
  stream: string,
  path: string,
  firstSeq: number,
): Promise<{ segment: Segment; damage: Damage | undefined }> {
  const bytes = await readFile(path);
  const { whole, lastSeq, torn } = readWhole(bytes, stream, firstSeq);
  const segment: Segment = { stream, path, firstSeq, bytes: whole, lastSeq, closed: true };
  if (whole === bytes.length) return { segment, damage: undefined };
  if (!torn) await keepDamaged(path);
  await truncate(path, whole);
  const damage = { path, keptBytes: whole, lostBytes: bytes.length - whole };
  return { segment, damage: torn ? undefined : damage };
}

/** Reads up to the first thing that is not the record due there; `torn` when that is a record whose rest was not written. */
function readWhole(
  bytes: Buffer,
  stream: string,
  firstSeq: number,
): { whole: number; lastSeq: number; torn: boolean } {
  let whole = 0;
  let lastSeq = firstSeq - 1;
  for (;;) {
    const frame = tryReadFrame(bytes, whole);
    if (frame === 'cut-short') return { whole, lastSeq, torn: !hasFrame(bytes, whole + 1) };
    const due = frame !== 'damaged' && frame.header.stream === stream;
    if (!due || frame.header.seq !== lastSeq + 1) return { whole, lastSeq, torn: false };
    whole += frame.length;
    lastSeq += 1;
  }
}

function tryReadFrame(bytes: Buffer, offset: number): Frame | 'cut-short' | 'damaged' {
  try {
    return tryParseFrame(bytes, offset) ?? 'cut-short';
  } catch (error) {
    if (error instanceof ChaperoneError) return 'damaged';
    throw error;
  }
}

/** Whether a whole record begins anywhere from `offset` on: a length that is wrong looks like a record cut short. */
function hasFrame(bytes: Buffer, offset: number): boolean {
  for (let at = offset; ; at += 1) {
    at = bytes.indexOf(headerStart, at);
    if (at < 0) return false;
    const start = at - prefixBytes;
    if (start >= offset && typeof tryReadFrame(bytes, start) === 'object') return true;
  }
}

const headerStart = '{"v":1,'; // as the writer begins every header

/** A file that was kept before holds all that this one does, and more. */
async function keepDamaged(path: string): Promise<void> {
  try {
    await copyFile(path, `${path}.damaged`, constants.COPYFILE_EXCL);
  } catch (error) {
    if (!isCode(error, 'EEXIST')) throw error;
  }
}

async function removeEmptyFolder(folder: string): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    if (!isCode(error, 'ENOTEMPTY') && !isCode(error, 'ENOENT')) throw error;
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
