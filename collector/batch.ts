import { firstLink, hashHeader, nextLink } from '#core/record/chain.ts';
import { ChaperoneError } from '#core/errors.ts';
import { parseFrames, payloadMatches, type Frame } from '#core/record/frame.ts';
import { HttpProblem } from './problem.ts';

/** A record with the hash that the chain binds. */
export interface VerifiedRecord {
  readonly frame: Frame;
  readonly headerHash: Buffer;
}

/** Records of one stream, without a gap, each with the payload that its header names. */
export interface Batch {
  readonly stream: string;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly records: readonly VerifiedRecord[];
}

/** What a sidecar sends in 2 MiB is far below; checking this many takes the event loop about a third of a second. */
const maxRecords = 50_000;

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Verifies what can be verified without the store. @throws HttpProblem `batch-invalid` that names the record. */
export function verifyBatch(bytes: Buffer): Batch {
  const records: VerifiedRecord[] = [];
  let seq = 0;
  try {
    for (const frame of parseFrames(bytes)) {
      const { header } = frame;
      const first = records[0]?.frame.header;
      seq = header.seq;
      if (records.length === maxRecords) {
        throw new HttpProblem('too-large', `a batch has at most ${maxRecords} records`);
      }
      if (!uuid.test(header.stream)) throw invalid(seq, 'its stream is not a UUID');
      if (header.session !== undefined && !uuid.test(header.session))
        throw invalid(seq, 'its session is not a UUID');
      if (Number.isNaN(Date.parse(header.time))) throw invalid(seq, 'its time is not a time');
      if (first && header.stream !== first.stream) throw invalid(seq, 'it is of another stream');
      if (first && seq !== first.seq + records.length)
        throw invalid(seq, 'it does not follow the one before');
      if (!payloadMatches(frame))
        throw invalid(seq, 'its payload does not have the hash in its header');
      if (header.payload && frame.payload.length === 0)
        throw invalid(seq, 'its payload is missing');
      records.push({ frame, headerHash: hashHeader(frame.headerBytes) });
    }
  } catch (error) {
    if (!(error instanceof ChaperoneError)) throw error;
    throw invalid(seq + 1, error.message);
  }
  const first = records[0]?.frame.header;
  if (!first) throw new HttpProblem('batch-invalid', 'the batch is empty');
  return {
    stream: first.stream,
    firstSeq: first.seq,
    lastSeq: first.seq + records.length - 1,
    records,
  };
}

/** Extends a stream's chain by records. `head` is undefined for a stream without records. */
export function extendChain(
  stream: string,
  head: Buffer | undefined,
  records: readonly VerifiedRecord[],
): Buffer {
  return records.reduce(
    (link, { headerHash }) => nextLink(link, headerHash),
    head ?? firstLink(stream),
  );
}

function invalid(seq: number, why: string): HttpProblem {
  return new HttpProblem('batch-invalid', `record ${seq}: ${why}`, { seq });
}
