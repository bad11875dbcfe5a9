import { mkdirSync } from 'node:fs';
import { readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { StreamHead } from '#core/record/kinds.ts';
import { unlinked } from '#core/record/checkpoint.ts';
import { createSessionId } from '../session.ts';
import type { Moment } from './clock.ts';
import { endStream } from './end-stream.ts';
import { headPath, keepBallast, tryReadHead } from './head.ts';
import type { Leftover } from './messages.ts';
import { StreamReader, type Damage } from './stream-reader.ts';
import { tryParseSegmentName } from './segment.ts';

/** What earlier processes left in the spool. */
export interface Recovered {
  /** Oldest first. */
  readonly leftovers: readonly Leftover[];
  /** Streams of which nothing but the head is left: it goes once their successor is known. */
  readonly shipped: readonly string[];
  /** The stream before this process's, as it was left. */
  readonly previous: StreamHead | undefined;
  /** Set where that stream could not be ended yet: does it. Until then it is none of the others. @throws where it cannot. */
  readonly endPrevious: (() => EndedStream) | undefined;
  readonly bytes: number;
  /** For this process: sorts behind all that are there, also when the clock was set back. */
  readonly stream: string;
}

/** A stream of an earlier process that was ended late. */
export interface EndedStream {
  readonly head: StreamHead;
  readonly leftover: Leftover;
}

export interface RecoverOptions {
  readonly directory: string;
  readonly now: () => Moment;
  readonly nowMs: () => number;
  readonly onDamage: (damage: Damage) => void;
  /** What was left open could not be ended in the record. */
  readonly onUnended: (stream: string, error: Error) => void;
}

const streamName = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Creates the spool's folder, which no other user may read. */
export function createSpoolDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  keepBallast(directory);
}

/**
 * Reads what earlier processes left, and writes down how it ended for those that could not: what a request came to is
 * unknown, sessions ended with their process. It can be killed at any moment and begun anew.
 */
export async function recoverSpool(options: RecoverOptions): Promise<Recovered> {
  const { directory } = options;
  const streams = await streamsIn(directory);
  const readers: StreamReader[] = [];
  for (const stream of streams) {
    const reader = await readStream(options, stream);
    if (reader) readers.push(reader);
  }
  // Earlier ones were ended before the next one began, which has named them as they were then.
  const last = readers.at(-1);
  const unended = last && !last.chain.ended && !tryEnd(last, options) ? last : undefined;
  const settled = readers.filter((reader) => reader !== unended);
  const leftovers = settled.filter(({ batches }) => batches.length > 0);
  const shipped = settled.filter(({ batches }) => batches.length === 0);
  const bytes = leftovers.flatMap(({ ends }) => ends).reduce((sum, end) => sum + end.bytes, 0);
  const stream = idBehind(streams.at(-1), options.nowMs());
  return {
    leftovers: leftovers.map(leftoverOf),
    shipped: shipped.map(({ stream: id }) => id),
    previous: last && headOf(last),
    endPrevious:
      unended &&
      (() => {
        endStream(unended, directory, options.now());
        return { head: headOf(unended), leftover: leftoverOf(unended) };
      }),
    bytes,
    stream,
  };
}

function headOf({ stream, chain: { head } }: StreamReader): StreamHead {
  return { stream, seq: head.seq, link: head.link ?? unlinked };
}

function leftoverOf({ stream, batches, ends }: StreamReader): Leftover {
  return { stream, batches, ends };
}

async function streamsIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory() && streamName.test(entry.name)) // a volume may have others
    .map(({ name }) => name)
    .sort();
}

/** Reads all that is left of a stream; undefined where there is nothing. */
async function readStream(
  { directory, onDamage }: RecoverOptions,
  stream: string,
): Promise<StreamReader | undefined> {
  const folder = join(directory, stream);
  await rm(`${headPath(directory, stream)}.new`, { force: true });
  const segments = (await readdir(folder)).sort().flatMap((name) => {
    const firstSeq = tryParseSegmentName(name);
    return firstSeq === undefined ? [] : [{ path: join(folder, name), firstSeq }];
  });
  const head = tryReadHead(directory, stream);
  if (segments.length === 0 && !head) {
    await removeEmptyFolder(folder);
    return undefined;
  }
  const reader = new StreamReader({ stream, head, onDamage });
  for (const [index, { path, firstSeq }] of segments.entries())
    await reader.read(path, firstSeq, index === segments.length - 1);
  reader.finish();
  return reader.chain.seq > 0 ? reader : undefined;
}

function tryEnd(reader: StreamReader, { directory, now, onUnended }: RecoverOptions): boolean {
  try {
    endStream(reader, directory, now());
    return true;
  } catch (error) {
    // The disk cannot be written, or not yet: nothing of a new stream can be either.
    onUnended(reader.stream, error instanceof Error ? error : new Error('unknown'));
    return false;
  }
}

/** Streams are UUIDv7: their first 48 bits are the time. */
function idBehind(stream: string | undefined, nowMs: number): string {
  const last = Number.parseInt((stream ?? '').replaceAll('-', '').slice(0, 12), 16);
  return createSessionId(Number.isNaN(last) ? nowMs : Math.max(nowMs, last + 1));
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
