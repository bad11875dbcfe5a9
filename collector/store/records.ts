import type { PoolClient } from 'pg';
import type { Batch, Fault, ReceivedRecord } from '../batch.ts';
import { bigintCell, booleanCell, copyRows, timeCell, uuidCell } from './copy.ts';

export interface RecordPlace {
  readonly stream: string;
  readonly receivedUs: number;
  /** Seqs of checkpoints that are signed. */
  readonly signed: ReadonlySet<number>;
}

export async function copyRecords(
  client: PoolClient,
  { stream, receivedUs, signed }: RecordPlace,
  records: readonly ReceivedRecord[],
): Promise<void> {
  const streamCell = uuidCell(stream);
  const received = timeCell(receivedUs);
  const sessions = new Map<string, Buffer | undefined>();
  const rows = records.map(({ frame, headerHash }) => {
    const { header, headerBytes, salt, payload } = frame;
    const { session = '' } = header;
    let cell = sessions.get(session);
    if (!cell && session !== '') sessions.set(session, (cell = uuidCell(session)));
    const [storedSalt, content] = payload.length > 0 ? [salt, payload] : [undefined, undefined];
    return [
      streamCell,
      bigintCell(header.seq),
      cell,
      headerBytes,
      headerHash,
      storedSalt,
      content,
      received,
      booleanCell(signed.has(header.seq)),
    ];
  });
  const columns =
    'stream, seq, session, header, header_hash, salt, payload, received_at, checkpoint';
  await copyRows(client, `records (${columns})`, rows);
}

/**
 * Compares what is sent again with what is stored. What is not stored any more, or was never taken because it lay in a
 * batch that did not verify, is passed over.
 */
export async function compareKnown(
  client: PoolClient,
  batch: Batch,
  ackedSeq: number,
): Promise<Fault | undefined> {
  const known = batch.records.filter(({ frame }) => frame.header.seq <= ackedSeq);
  const first = known[0]?.frame.header.seq;
  if (first === undefined) return undefined;
  const { rows } = await client.query<{ seq: number; header_hash: Buffer }>(
    'SELECT seq::float8, header_hash FROM records WHERE stream = $1 AND seq BETWEEN $2 AND $3',
    [batch.stream, first, first + known.length - 1],
  );
  const stored = new Map(rows.map(({ seq, header_hash: hash }) => [seq, hash]));
  const other = known.find(
    ({ frame, headerHash }) => stored.get(frame.header.seq)?.equals(headerHash) === false,
  );
  return (
    other && {
      seq: other.frame.header.seq,
      why: 'it is not the record that is stored in its place',
      kind: 'break',
    }
  );
}
