import type { Frame } from '../record/frame.ts';
import type { PayloadDigest, RecordHeader } from '../record/kinds.ts';
import { isReadable } from '../record/readable.ts';
import { Recent } from '../record/recent.ts';
import type { TranscriptLine } from '../record/transcript.ts';
import {
  answerLines,
  asideLines,
  copyText,
  messageSplitter,
  note,
  tryParse,
  type Answer,
} from './answer.ts';
import {
  BackendTag,
  parseParameterDescription,
  parseParameterStatus,
  parseRowDescription,
  type Field,
} from './backend.ts';
import { decodeUtf8, isSameEncoding, textDecoder, type DecodeText } from './encoding.ts';
import type { FrameSplitter, Piece } from './frames.ts';
import { parseBind, parseFunctionCall, parseParse } from './frontend.ts';
import { argumentTexts, mentionText, parameterTexts, requestText } from './request.ts';

/** As much as a sidecar admits in one message: text and parameters are put together again up to here. */
const maxContentBytes = 16 * 1024 * 1024;
/** Texts of statements that later requests may name, together. */
const maxStatementBytes = 32 * 1024 * 1024;
const maxLayoutColumns = 100_000;
/** Requests that were made and have no result yet. A connection may hold 10 000 portals. */
const maxOpenRequests = 20_000;
/** Answers that end within a message at the same time; a backend ends one before it goes on with another. */
const maxCutAnswers = 16;

type HeaderOf<Kind extends RecordHeader['kind']> = Extract<RecordHeader, { kind: Kind }>;

/** What is known of a statement that was parsed in this session. */
interface Statement {
  readonly text: string | undefined;
  parameterTypes: readonly number[];
  fields: readonly Field[] | undefined;
}

interface OpenRequest {
  readonly answer: Answer;
  readonly statement: Statement | undefined;
  /** Seq of the record that describes its rows. */
  layout: number | undefined;
  /** Of what the agent sends for a COPY. */
  data?: FrameSplitter | undefined;
}

/** A request or statement whose content may go on in the records that follow it. */
interface Pending {
  readonly header: HeaderOf<'statement' | 'request'>;
  readonly pieces: Buffer[];
  bytes: number;
  /** Not all of it is there: erased, or more than is put together. */
  partial: 'erased' | 'long' | undefined;
}

/** The description of a statement, or of one request's rows, which may take several records. */
interface OpenLayout {
  /** Seq of the first record, by which results name it. */
  readonly seq: number;
  readonly of: number | undefined;
  readonly splitter: FrameSplitter;
}

/**
 * Turns the frames of one PostgreSQL session, in their order, into lines. Holds one row of an answer at a time. Never
 * throws because of what was recorded: what cannot be read is said to be so.
 */
export async function* transcribe(frames: AsyncIterable<Frame>): AsyncGenerator<TranscriptLine> {
  const transcriber = new Transcriber();
  for await (const frame of frames) yield* transcriber.take(frame);
  yield* transcriber.end();
}

/** The steps of `transcribe`, for whoever takes frames as they come. */
export class Transcriber {
  readonly #statements = new Recent<Statement>(maxStatementBytes);
  readonly #layouts = new Recent<readonly Field[]>(maxLayoutColumns);
  readonly #open = new Recent<OpenRequest>(maxOpenRequests);
  readonly #cut = new Recent<Answer>(maxCutAnswers);
  #asides = messageSplitter();
  #encoding = 'UTF8';
  #decode: DecodeText = decodeUtf8;
  #layout: OpenLayout | undefined;
  #pending: Pending | undefined;

  *take(frame: Frame): Generator<TranscriptLine> {
    const { header, payload } = frame;
    if (!isReadable(header)) {
      yield* this.end();
      yield note(undefined, `record ${header.seq} cannot be read`);
      return;
    }
    if (this.#continues(frame)) return;
    yield* this.end();
    switch (header.kind) {
      case 'session.start': {
        const line = sessionLine(header, payload);
        this.#speak(line.login.get('client_encoding') ?? this.#encoding);
        yield line;
        break;
      }
      case 'statement':
      case 'request':
        this.#pending = { header, pieces: [], bytes: 0, partial: undefined };
        addContent(this.#pending, frame);
        break;
      case 'part':
        yield* this.#part(header, frame);
        break;
      case 'result':
        yield* this.#result(header, frame);
        break;
      case 'violation':
        yield { kind: 'note', seq: undefined, text: `a message was refused: ${header.code}` };
        break;
      case 'session.end': {
        const { time, reason, count } = header;
        yield { kind: 'ended', time, reason, count };
        break;
      }
      default:
        break; // records of the stream, not of the session
    }
  }

  /** Says what the last request was, once it is known that nothing of it follows. */
  *end(): Generator<TranscriptLine> {
    const pending = this.#pending;
    this.#pending = undefined;
    if (!pending) return;
    const { header } = pending;
    const content = Buffer.concat(pending.pieces);
    if (header.kind === 'statement') yield* this.#statement(header, content);
    else yield* this.#request(header, content, pending);
    const { seq } = header;
    if (header.digest) yield digestNote(seq, 'the request', header.digest);
    if (pending.partial === 'erased') yield note(seq, 'content of the request was erased');
    if (pending.partial === 'long')
      yield note(seq, `the request is longer than the ${maxContentBytes} bytes that are shown`);
  }

  /** Whether the record goes on with the content of the last request, and was taken so. */
  #continues(frame: Frame): boolean {
    const { header } = frame;
    const pending = this.#pending;
    if (
      !pending ||
      header.kind !== 'part' ||
      header.channel !== 'message' ||
      header.direction !== 'up' ||
      header.request !== pending.header.seq
    )
      return false;
    addContent(pending, frame);
    return true;
  }

  /** A statement is shown with the requests that run it; one that was denied, at once. */
  *#statement(header: HeaderOf<'statement'>, content: Buffer): Generator<TranscriptLine> {
    const { seq, time, verdict } = header;
    const parsed = content.length > 0 ? tryParse(() => parseParse(content)) : undefined;
    const text = parsed && this.#decode(parsed.query);
    if (verdict.action === 'Deny') {
      yield { kind: 'request', seq, time, text, verdict };
      return;
    }
    const parameterTypes = parsed?.parameterTypes ?? [];
    this.#statements.set(seq, { text, parameterTypes, fields: undefined }, 1000 + content.length);
  }

  *#request(
    header: HeaderOf<'request'>,
    content: Buffer,
    { partial }: Pending,
  ): Generator<TranscriptLine> {
    const { seq, time, verdict, payloadType } = header;
    const statement = this.#statements.get(header.statement);
    const isEmpty = payloadType === 'postgres.query' && !header.payload && !header.digest;
    const known = content.length > 0 || isEmpty;
    const text = known ? requestText(payloadType, content, this.#decode) : undefined;
    yield { kind: 'request', seq, time, text: text ?? statement?.text, verdict };
    if (header.statement !== undefined && !statement)
      yield note(seq, `its text is that of record ${header.statement}, which is too far back`);
    const isBind = payloadType === 'postgres.bind' && content.length > 0 && !partial;
    const bind = isBind ? tryParse(() => parseBind(content)) : undefined;
    const call = payloadType === 'postgres.function-call' && content.length > 0 && !partial;
    const called = call ? tryParse(() => parseFunctionCall(content)) : undefined;
    if (bind)
      yield {
        kind: 'parameters',
        seq,
        values: parameterTexts(bind, statement?.parameterTypes, this.#decode),
      };
    else if (called) yield { kind: 'parameters', seq, values: argumentTexts(called, this.#decode) };
    else if (isBind) yield note(seq, 'its parameters cannot be read');
    if (verdict.action === 'Deny') return;
    const ownEncoding = /encoding/i.test(text ?? statement?.text ?? '');
    const answer = newAnswer(seq, bind?.resultFormats, ownEncoding);
    this.#open.set(seq, { answer, statement, layout: header.layout });
  }

  *#part(header: HeaderOf<'part'>, frame: Frame): Generator<TranscriptLine> {
    if (header.direction === 'up') {
      if (header.payloadType !== 'postgres.name') yield* this.#copyIn(header, frame);
      else if (header.digest) yield digestNote(undefined, 'a name', header.digest);
      else yield note(undefined, mentionText(frame.payload, this.#decode));
      return;
    }
    if (header.channel === 'layout') return this.#takeLayout(header, frame);
    if (header.backendPid !== undefined)
      yield note(undefined, `served by backend process ${header.backendPid}`);
    const open = header.channel === 'rows' ? this.#open.get(header.request) : undefined;
    if (open) yield* this.#answer(open, frame);
    else if (isErased(frame)) {
      this.#asides = messageSplitter();
      yield note(header.request, `a message of ${header.payload?.length ?? 0} bytes was erased`);
    } else yield* this.#aside(header.request, frame.payload);
  }

  /** Data that the agent sent for a COPY. */
  *#copyIn(header: HeaderOf<'part'>, frame: Frame): Generator<TranscriptLine> {
    const { request: seq } = header;
    const open = this.#open.get(seq);
    if (header.channel !== 'copy' || seq === undefined || !open) return;
    if (header.digest) yield digestNote(seq, 'the data', header.digest);
    if (isErased(frame)) {
      yield note(seq, 'data of the COPY were erased');
      open.data = undefined;
      return;
    }
    open.data ??= messageSplitter();
    const { data, answer } = open;
    answer.decode = this.#decode;
    const pieces = tryParse(() => data.push(frame.payload));
    if (!pieces) yield note(seq, 'data of the COPY cannot be read');
    for (const piece of pieces ?? []) {
      const text = copyText(answer, piece);
      if (text !== undefined) yield { kind: 'copy', seq, text };
      else if (piece.kind !== 'message')
        yield note(seq, 'data of the COPY are too long to be shown');
    }
  }

  *#aside(seq: number | undefined, payload: Buffer): Generator<TranscriptLine> {
    const pieces = tryParse(() => this.#asides.push(payload));
    if (!pieces) this.#asides = messageSplitter();
    for (const piece of pieces ?? []) {
      const lines = tryParse(() => this.#said(seq, piece));
      yield* lines ?? [note(seq, 'a message that cannot be read')];
    }
    if (!pieces) yield note(seq, 'a message that cannot be read');
  }

  /** A server says how it speaks from now on after the statement that has changed it. */
  #said(seq: number | undefined, piece: Piece): readonly TranscriptLine[] {
    if (piece.kind !== 'message' || piece.tag !== BackendTag.ParameterStatus)
      return asideLines(seq, piece, this.#decode);
    const { name, value } = parseParameterStatus(piece.body);
    if (name !== 'client_encoding' || isSameEncoding(value, this.#encoding)) return [];
    this.#speak(value);
    return [note(seq, `texts are in ${value} from here on`)];
  }

  #speak(encoding: string): void {
    this.#encoding = encoding;
    this.#decode = textDecoder(encoding);
  }

  #takeLayout(header: HeaderOf<'part'>, { payload }: Frame): void {
    const { seq, request: of } = header;
    const open = this.#open.get(of);
    const goesOn = this.#layout && !this.#layout.splitter.between && this.#layout.of === of;
    const layout = goesOn && this.#layout ? this.#layout : { seq, of, splitter: messageSplitter() };
    this.#layout = layout;
    const statement = open?.statement ?? this.#statements.get(of);
    for (const piece of tryParse(() => layout.splitter.push(payload)) ?? []) {
      if (piece.kind !== 'message') continue;
      const { tag, body } = piece;
      if (tag === BackendTag.ParameterDescription && statement) {
        statement.parameterTypes =
          tryParse(() => parseParameterDescription(body)) ?? statement.parameterTypes;
      }
      if (tag !== BackendTag.RowDescription) continue;
      const fields = tryParse(() => parseRowDescription(body, this.#decode));
      if (!fields) continue;
      this.#layouts.set(layout.seq, fields, 1 + fields.length);
      if (open) open.layout = layout.seq;
      if (statement) statement.fields = fields;
    }
  }

  *#answer({ answer, statement, layout }: OpenRequest, frame: Frame): Generator<TranscriptLine> {
    if (isErased(frame)) {
      if (!answer.lost) yield note(answer.seq, 'the answer, or a part of it, was erased');
      answer.lost = true;
      answer.splitter = undefined;
    }
    answer.decode = this.#decode;
    answer.describe = () => this.#layouts.get(layout) ?? statement?.fields;
    yield* answerLines(answer, frame.payload);
    // A portal that is described while it is bound describes its statement as well.
    if (statement && answer.fields) statement.fields ??= answer.fields;
    if (!answer.splitter) this.#cut.delete(answer.seq);
    else {
      for (const forgotten of this.#cut.set(answer.seq, answer)) {
        forgotten.lost = true;
        forgotten.splitter = undefined;
      }
    }
  }

  *#result(header: HeaderOf<'result'>, frame: Frame): Generator<TranscriptLine> {
    const seq = header.request ?? 0;
    // A failed Parse has a result of its own, and no request line before it.
    const { answer, statement, layout } = this.#open.get(seq) ?? {
      answer: newAnswer(seq, undefined, false),
      statement: undefined,
      layout: undefined,
    };
    const unprepared = this.#statements.get(seq)?.text;
    if (unprepared !== undefined) yield note(seq, `not prepared: ${unprepared}`);
    yield* this.#answer({ answer, statement, layout: header.layout ?? layout }, frame);
    if (header.digest) yield digestNote(seq, 'the answer', header.digest);
    if (header.truncated) yield note(seq, 'the record of the answer was cut short by policy');
    else if (answer.splitter) yield note(seq, 'the answer ends within a message');
    this.#open.delete(seq);
    this.#cut.delete(seq);
    yield {
      kind: 'outcome',
      seq,
      status: header.status,
      command: answer.command,
      rows: header['db.response.returned_rows'] ?? 0,
      durationUs: header.durationUs,
    };
  }
}

function newAnswer(
  seq: number,
  resultFormats: readonly number[] | undefined,
  ownEncoding: boolean,
): Answer {
  return {
    seq,
    decode: decodeUtf8,
    ownEncoding,
    resultFormats,
    fields: undefined,
    describe: () => undefined,
    binaryCopy: false,
    command: undefined,
    splitter: undefined,
    lost: false,
  };
}

function addContent(pending: Pending, frame: Frame): void {
  const { payload } = frame;
  if (isErased(frame)) pending.partial = 'erased';
  else if (pending.bytes + payload.length > maxContentBytes) pending.partial = 'long';
  if (pending.partial) return; // what follows a gap would look as if it joined
  pending.pieces.push(payload);
  pending.bytes += payload.length;
}

/** Whether a record had a payload that is not there any more. */
function isErased({ header, payload }: Frame): boolean {
  return payload.length === 0 && (header.payload?.length ?? 0) > 0;
}

function digestNote(
  seq: number | undefined,
  what: string,
  { sha256, length }: PayloadDigest,
): TranscriptLine {
  return note(seq, `${what} was recorded as a digest only: SHA-256 ${sha256} of ${length} bytes`);
}

function sessionLine(
  header: HeaderOf<'session.start'>,
  payload: Buffer,
): Extract<TranscriptLine, { kind: 'session' }> {
  const parsed = tryParse((): unknown => JSON.parse(payload.toString('utf8'))); // empty: no login
  const login = Object.entries(parsed ?? {}).map(([name, value]): [string, string] => [
    name,
    typeof value === 'string' ? value : JSON.stringify(value),
  ]);
  const { time, session = '', backend, principal } = header;
  return { kind: 'session', time, session, backend, principal, login: new Map(login) };
}
