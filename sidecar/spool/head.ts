import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isHex } from '#core/record/checkpoint.ts';
import type { OpenSessionEntry } from './open-records.ts';

/**
 * How a stream stood at one of its records: what has to be known of the segments before it, which are deleted, to go on
 * behind them.
 */
export interface Head {
  readonly stream: string;
  readonly seq: number;
  /** In hex; undefined where it is not known, behind records that are lost. */
  readonly link: string | undefined;
  readonly monoNs: number;
  readonly ended: boolean;
  readonly open: readonly OpenSessionEntry[];
}

const fileName = 'head.json';
const ballastBytes = 256 * 1024; // a head of 1 000 sessions with their requests, twice

/** Returns where a stream's head is kept. */
export function headPath(directory: string, stream: string): string {
  return join(directory, stream, fileName);
}

/** Reads a stream's head; undefined where there is none that can be read. */
export function tryReadHead(directory: string, stream: string): Head | undefined {
  try {
    const head = JSON.parse(readFileSync(headPath(directory, stream), 'utf8')) as Head; // checked below
    const fits = head.stream === stream && Number.isSafeInteger(head.seq) && head.seq > 0;
    const known = head.link === undefined || isHex(head.link, 32);
    return fits && known && Array.isArray(head.open) ? head : undefined;
  } catch {
    return undefined; // there is none, or nothing that we wrote: the records then say how far they lead by themselves
  }
}

/** Puts a head in the place of the one before, whole or not at all. */
export function writeHead(directory: string, head: Head): void {
  const path = headPath(directory, head.stream);
  const temporary = `${path}.new`;
  withBallast(directory, () => {
    mkdirSync(join(directory, head.stream), { recursive: true, mode: 0o700 });
    writeFileSync(temporary, JSON.stringify(head), { mode: 0o600, flush: true });
    renameSync(temporary, path);
  });
}

/**
 * Sets bytes aside on the disk for the small writes without which nothing can be deleted: on a disk that is full to the
 * last byte the spool would never shrink again.
 */
export function keepBallast(directory: string): void {
  const path = ballastPath(directory);
  if (existsSync(path)) return;
  try {
    writeFileSync(path, Buffer.alloc(ballastBytes), { mode: 0o600 });
  } catch {
    rmSync(path, { force: true }); // there is no room for it now; what is deleted next makes some
  }
}

/** Does a small write; if the disk has no room, in the room of the ballast. */
export function withBallast(directory: string, write: () => void): void {
  try {
    write();
  } catch (error) {
    if (!isFull(error)) throw error;
    rmSync(ballastPath(directory), { force: true });
    write();
  }
}

function ballastPath(directory: string): string {
  return join(directory, 'ballast');
}

function isFull(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    (error.code === 'ENOSPC' || error.code === 'EDQUOT')
  );
}
