import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import type { PoolClient } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';

/** A value of one cell in PostgreSQL's binary COPY format; undefined is NULL. */
export type Cell = Buffer | undefined;

// "PGCOPY\n\377\r\n\0", no flags, no header extension (PostgreSQL manual, "COPY", Binary Format).
const signature = Buffer.from('5047434f50590aff0d0a000000000000000000', 'hex');
const trailer = Buffer.from([0xff, 0xff]);
const chunkBytes = 262_144;

/** Copies rows into a table. `target` is SQL of our own: a table with its columns. */
export async function copyRows(
  client: PoolClient,
  target: string,
  rows: Iterable<readonly Cell[]>,
): Promise<void> {
  const copy = client.query(copyFrom(`COPY ${target} FROM STDIN (FORMAT binary)`));
  await pipeline(Readable.from(encode(rows)), copy);
}

function* encode(rows: Iterable<readonly Cell[]>): Generator<Buffer> {
  let chunks: Buffer[] = [signature];
  let bytes = 0;
  for (const row of rows) {
    const count = Buffer.allocUnsafe(2);
    count.writeInt16BE(row.length);
    chunks.push(count);
    for (const cell of row) {
      const length = Buffer.allocUnsafe(4);
      length.writeInt32BE(cell?.length ?? -1);
      chunks.push(length);
      if (cell) chunks.push(cell);
      bytes += 4 + (cell?.length ?? 0);
    }
    if (bytes < chunkBytes) continue;
    yield Buffer.concat(chunks);
    chunks = [];
    bytes = 0;
  }
  chunks.push(trailer);
  yield Buffer.concat(chunks);
}

export function uuidCell(uuid: string | undefined): Cell {
  return uuid === undefined ? undefined : Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

export function bigintCell(value: number): Cell {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigInt64BE(BigInt(value));
  return bytes;
}

export function textCell(text: string): Cell {
  return Buffer.from(text, 'utf8');
}
