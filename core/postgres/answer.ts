import type { TranscriptLine } from '../record/transcript.ts';
import {
  BackendTag,
  parseCommandComplete,
  parseDataRow,
  parseErrorFields,
  parseNotification,
  parseRowDescription,
  type Field,
} from './backend.ts';
import { decodeAscii, type DecodeText } from './encoding.ts';
import { FrameSplitter, type Piece } from './frames.ts';
import { FrontendTag } from './frontend.ts';
import { BodyReader } from './reader.ts';
import { formatValue } from './values.ts';

/** A row or another message up to this length is shown; of a longer one only its length. */
const maxShownBytes = 1024 * 1024;

/** What is needed to read the answer of one request. */
export interface Answer {
  readonly seq: number;
  /** Reads text of the session's encoding as it is now. */
  decode: DecodeText;
  /** The COPY names an encoding of its own for its data. */
  readonly ownEncoding: boolean;
  /** Of the Bind that asked; undefined for a Query, which gets a description with its rows. */
  readonly resultFormats: readonly number[] | undefined;
  /** Columns with their formats, once they are known. */
  fields: readonly Field[] | undefined;
  /** Finds the columns of a Bind that was not described itself, without their formats. */
  describe: () => readonly Field[] | undefined;
  /** Whether data of a COPY are binary. */
  binaryCopy: boolean;
  command: string | undefined;
  /** Present while the records so far end within a message. */
  splitter: FrameSplitter | undefined;
  /** Bytes are missing, so that nobody knows where the next message begins. */
  lost: boolean;
}

/** Returns a splitter for backend messages that holds at most one that is shown. */
export function messageSplitter(): FrameSplitter {
  return new FrameSplitter({
    streamed: new Set(),
    maxMessageBytes: maxShownBytes,
    oversized: 'skip',
  });
}

/** Yields the lines of a piece of an answer, cut anywhere. Cells are views decoded one row at a time. */
export function* answerLines(answer: Answer, payload: Buffer): Generator<TranscriptLine> {
  if (answer.lost || payload.length === 0) return;
  const splitter = answer.splitter ?? messageSplitter();
  const pieces = tryParse(() => splitter.push(payload));
  if (!pieces) {
    answer.lost = true;
    answer.splitter = undefined;
    yield note(answer.seq, 'what follows of this answer cannot be read');
    return;
  }
  answer.splitter = splitter.between ? undefined : splitter;
  for (const piece of pieces) {
    const lines = tryParse(() => messageLines(answer, piece));
    yield* lines ?? [note(answer.seq, 'a message that cannot be read')];
  }
}

/** Returns the lines of a message that belongs to no answer, or to none that goes on. */
export function asideLines(
  seq: number | undefined,
  piece: Piece,
  decode: DecodeText,
): readonly TranscriptLine[] {
  if (piece.kind !== 'message') return [notShown(seq, piece)];
  const { tag, body } = piece;
  switch (tag) {
    case BackendTag.ErrorResponse:
    case BackendTag.NoticeResponse: {
      const fields = parseErrorFields(body, decode);
      const line = {
        kind: tag === BackendTag.ErrorResponse ? 'error' : 'notice',
        seq,
        severity: fields.get('S') ?? '',
        code: fields.get('C') ?? '',
        message: fields.get('M') ?? '',
        detail: fields.get('D'),
        hint: fields.get('H'),
      } as const;
      return [line];
    }
    case BackendTag.NotificationResponse: {
      const { channel, payload } = parseNotification(body, decode);
      return [note(seq, `notification on ${channel}: ${payload}`)];
    }
    default:
      return [];
  }
}

/** Returns the text of CopyData, or of the reason in a CopyFail. */
export function copyText(answer: Answer, piece: Piece): string | undefined {
  if (piece.kind !== 'message') return undefined;
  if (piece.tag === FrontendTag.CopyFail)
    return `(given up: ${answer.decode(piece.body.subarray(0, -1))})`;
  if (piece.tag !== BackendTag.CopyData) return undefined;
  return formatValue(
    0,
    answer.binaryCopy ? 1 : 0,
    piece.body,
    answer.ownEncoding ? decodeAscii : answer.decode,
  );
}

function columnsLine(seq: number, fields: readonly Field[]): TranscriptLine {
  return { kind: 'columns', seq, names: fields.map(({ name }) => name) };
}

/** Builds a remark of the transcript's own. `seq`: the request that it is about, if it is about one. */
export function note(seq: number | undefined, text: string): TranscriptLine {
  return { kind: 'note', seq, text };
}

/** Format of the value at `index`. None given: all are text; one: it is that of all; else one each. */
export function formatAt(formats: readonly number[], index: number): number {
  return (formats.length === 1 ? formats[0] : formats[index]) ?? 0;
}

/** What was recorded may be anything: an agent or a backend wrote it. */
export function tryParse<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

function messageLines(answer: Answer, piece: Piece): readonly TranscriptLine[] {
  const { seq } = answer;
  if (piece.kind !== 'message') return [notShown(seq, piece)];
  const { tag, body } = piece;
  switch (tag) {
    case BackendTag.RowDescription:
      answer.fields = parseRowDescription(body, answer.decode);
      return [columnsLine(seq, answer.fields)];
    case BackendTag.DataRow:
      return [...knownColumns(answer), { kind: 'row', seq, cells: cellTexts(answer, body) }];
    case BackendTag.CommandComplete:
      answer.command = parseCommandComplete(body);
      return [];
    case BackendTag.CopyOutResponse:
    case BackendTag.CopyInResponse:
      answer.binaryCopy = body[0] === 1;
      return [];
    case BackendTag.CopyData:
      return [{ kind: 'copy', seq, text: copyText(answer, piece) ?? '' }];
    case BackendTag.FunctionCallResponse: {
      const value = new BodyReader(body).value();
      return [{ kind: 'row', seq, cells: [value ? formatValue(0, 1, value) : null] }];
    }
    default:
      return asideLines(seq, piece, answer.decode);
  }
}

/** The columns line that an earlier description makes, before the first row. */
function knownColumns(answer: Answer): readonly TranscriptLine[] {
  const fields = answer.fields ? undefined : answer.describe();
  if (!fields) return [];
  const formats = answer.resultFormats; // of a portal that SQL declared only the description tells
  answer.fields = formats
    ? fields.map((field, index) => ({ ...field, format: formatAt(formats, index) }))
    : fields;
  return [columnsLine(answer.seq, fields)];
}

function cellTexts(answer: Answer, body: Buffer): (string | null)[] {
  return parseDataRow(body).map((cell, index) => {
    if (cell === undefined) return null;
    const field = answer.fields?.[index];
    const format = field?.format ?? formatAt(answer.resultFormats ?? [], index);
    return formatValue(field?.typeOid ?? 0, format, cell, answer.decode);
  });
}

function notShown(
  seq: number | undefined,
  piece: Exclude<Piece, { kind: 'message' }>,
): TranscriptLine {
  const length = 'length' in piece ? piece.length : piece.bytes.length;
  return note(seq, `a message of ${length} bytes is not shown`);
}
