import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import type { PoolClient } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';

/** A value of one cell in PostgreSQL's binary COPY format; undefined is NULL. */
export type Cell = Buffer | undefined;

// "PGCOPY\n\377\r\n\0", no flags, no header extension (PostgreSQL manual, "COPY", Binary Format).
const signature = Buffer.from('5047434f50590aff0d0a000000000000000000', 'hex');
const trailer = Buffer.from([0xff, 0xff]);
const chunkBytes = 262_144;
const highWaterMark = 1024 * 1024; // what is read is held as a whole anyway

/** Copies rows into a table. `target` is SQL of our own: a table with its columns. */
export async function copyRows(
  client: PoolClient,
  target: string,
  rows: Iterable<readonly Cell[]>,
): Promise<void> {
  const copy = client.query(copyFrom(`COPY ${target} FROM STDIN (FORMAT binary)`));
  await pipeline(Readable.from(encode(rows)), copy);
}

/**
 * Reads all rows of a query, which has to be one whose answer fits into memory. The driver's own way leads large values
 * through text.
 */
export async function readRows(client: PoolClient, select: string): Promise<Cell[][]> {
  const chunks: Buffer[] = [];
  const copy = client.query(
    copyTo(`COPY (${select}) TO STDOUT (FORMAT binary)`, { highWaterMark }),
  );
  for await (const chunk of copy) chunks.push(chunk as Buffer); // no encoding is set
  return decode(Buffer.concat(chunks));
}

function decode(bytes: Buffer): Cell[][] {
  const rows: Cell[][] = [];
  for (let at = signature.length; ;) {
    const count = bytes.readInt16BE(at);
    at += 2;
    if (count === -1) return rows;
    const row: Cell[] = [];
    for (let index = 0; index < count; index += 1) {
      const length = bytes.readInt32BE(at);
      at += 4;
      row.push(length < 0 ? undefined : bytes.subarray(at, at + length));
      at += Math.max(0, length);
    }
    rows.push(row);
  }
}

/** Yields chunks of rows, each written in place: a buffer a cell would cost more than the cell. */
function* encode(rows: Iterable<readonly Cell[]>): Generator<Buffer> {
  let chunk = Buffer.allocUnsafe(chunkBytes);
  let end = signature.copy(chunk);
  for (const row of rows) {
    const length = row.reduce((sum, cell) => sum + 4 + (cell?.length ?? 0), 2);
    if (end + length > chunk.length) {
      yield chunk.subarray(0, end);
      chunk = Buffer.allocUnsafe(Math.max(chunkBytes, length));
      end = 0;
    }
    end = chunk.writeInt16BE(row.length, end);
    for (const cell of row) {
      end = chunk.writeInt32BE(cell?.length ?? -1, end);
      if (cell) end += cell.copy(chunk, end);
    }
  }
  yield chunk.subarray(0, end);
  yield trailer;
}

export function uuidCell(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

export function bigintCell(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigInt64BE(BigInt(value));
  return bytes;
}

const yes = Buffer.from([1]);
const no = Buffer.from([0]);

export function booleanCell(value: boolean): Buffer {
  return value ? yes : no;
}

const epochUs = 946_684_800_000_000; // 2000-01-01, from which PostgreSQL counts

const minusInfinity = Buffer.from('8000000000000000', 'hex');

/** A timestamp of microseconds since 1970; -Infinity is one as well. */
export function timeCell(us: number): Buffer {
  if (us === Number.NEGATIVE_INFINITY) return minusInfinity;
  return bigintCell(us - epochUs);
}
