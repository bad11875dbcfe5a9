import type { Frame } from '../record/frame.ts';
import type { RecordHeader } from '../record/kinds.ts';
import type { TranscriptLine } from '../record/transcript.ts';
import {
  BackendTag,
  parseCommandComplete,
  parseDataRow,
  parseErrorFields,
  parseNotification,
  parseParameterDescription,
  parseRowDescription,
  type Field,
} from './backend.ts';
import { FrameSplitter, type Piece } from './frames.ts';
import { parseBind, parseParse, type BindMessage } from './frontend.ts';
import { formatValue } from './values.ts';

/** Text and parameters are put together again up to this many bytes. */
const maxContentBytes = 4 * 1024 * 1024;
const maxRowBytes = 1024 * 1024;
const maxStatements = 10_000;

/** What is known of a statement that was parsed in this session. */
interface Statement {
  readonly text: string | undefined;
  parameterTypes: readonly number[];
  fields: readonly Field[] | undefined;
}

/** A request whose answer is being read. */
interface OpenRequest {
  readonly seq: number;
  readonly splitter: FrameSplitter;
  fields: readonly Field[] | undefined;
  command: string | undefined;
}

/** A request or statement whose content may go on in the records that follow it. */
interface Pending {
  readonly header: Extract<RecordHeader, { kind: 'statement' | 'request' }>;
  readonly pieces: Buffer[];
  bytes: number;
}

/** Turns the frames of one PostgreSQL session, in their order, into lines. Holds one row of an answer at a time. */
export async function* transcribe(frames: AsyncIterable<Frame>): AsyncGenerator<TranscriptLine> {
  const transcriber = new Transcriber();
  for await (const frame of frames) yield* transcriber.take(frame);
  yield* transcriber.end();
}

class Transcriber {
  readonly #statements = new Map<number, Statement>();
  readonly #open = new Map<number, OpenRequest>();
  readonly #layouts = splitter();
  #pending: Pending | undefined;

  *take(frame: Frame): Generator<TranscriptLine> {
    const { header, payload } = frame;
    if (this.#continues(header)) {
      this.#pending?.pieces.push(payload);
      if (this.#pending) this.#pending.bytes += payload.length;
      return;
    }
    yield* this.end();
    switch (header.kind) {
      case 'session.start':
        yield sessionLine(header, payload);
        break;
      case 'statement':
      case 'request':
        this.#pending = { header, pieces: [payload], bytes: payload.length };
        break;
      case 'part':
        yield* this.#part(header, payload);
        break;
      case 'result':
        yield* this.#result(header, payload);
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
    const content = Buffer.concat(pending.pieces);
    if (pending.header.kind === 'statement') this.#statement(pending.header, content);
    else yield* this.#request(pending.header, content);
  }

  #continues(header: RecordHeader): boolean {
    const pending = this.#pending;
    return (
      pending !== undefined &&
      header.kind === 'part' &&
      header.channel === 'message' &&
      header.direction === 'up' &&
      header.request === pending.header.seq &&
      pending.bytes < maxContentBytes
    );
  }

  #statement({ seq }: Pending['header'], content: Buffer): void {
    if (this.#statements.size >= maxStatements) {
      for (const oldest of this.#statements.keys()) {
        this.#statements.delete(oldest);
        break;
      }
    }
    const parsed = content.length > 0 ? tryParse(() => parseParse(content)) : undefined;
    this.#statements.set(seq, {
      text: parsed?.query.toString('utf8'),
      parameterTypes: parsed?.parameterTypes ?? [],
      fields: undefined,
    });
  }

  *#request(header: Pending['header'], content: Buffer): Generator<TranscriptLine> {
    const { seq, time, verdict, payloadType } = header;
    const statement =
      header.kind === 'request' ? this.#statements.get(header.statement ?? 0) : undefined;
    const bind =
      payloadType === 'postgres.bind' && content.length > 0
        ? tryParse(() => parseBind(content))
        : undefined;
    const own =
      payloadType === 'postgres.query' && content.length > 0 ? content.toString('utf8') : undefined;
    yield { kind: 'request', seq, time, text: own ?? statement?.text, verdict };
    if (bind)
      yield {
        kind: 'parameters',
        seq,
        values: parameterTexts(bind, statement?.parameterTypes ?? []),
      };
    if (verdict.action === 'Deny') return;
    const fields =
      statement?.fields && bind ? withFormats(statement.fields, bind.resultFormats) : undefined;
    this.#open.set(seq, { seq, splitter: splitter(), fields, command: undefined });
    if (fields) yield columnsLine(seq, fields);
  }

  *#part(
    header: Extract<RecordHeader, { kind: 'part' }>,
    payload: Buffer,
  ): Generator<TranscriptLine> {
    if (header.direction === 'up') return;
    const open = header.channel === 'rows' ? this.#open.get(header.request ?? 0) : undefined;
    if (open) yield* answerLines(open, payload);
    else if (header.channel === 'layout') this.#layout(header.request, payload);
    else for (const piece of this.#layouts.push(payload)) yield* asideLines(header.request, piece);
  }

  #layout(of: number | undefined, payload: Buffer): void {
    const statement = this.#statements.get(of ?? 0);
    if (!statement) return;
    for (const piece of splitter().push(payload)) {
      if (piece.kind !== 'message') continue;
      const { tag, body } = piece;
      if (tag === BackendTag.ParameterDescription) {
        statement.parameterTypes =
          tryParse(() => parseParameterDescription(body)) ?? statement.parameterTypes;
      }
      if (tag === BackendTag.RowDescription)
        statement.fields = tryParse(() => parseRowDescription(body));
    }
  }

  *#result(
    header: Extract<RecordHeader, { kind: 'result' }>,
    payload: Buffer,
  ): Generator<TranscriptLine> {
    const seq = header.request ?? 0;
    // A failed Parse has a result of its own, and no request line before it.
    const open = this.#open.get(seq) ?? {
      seq,
      splitter: splitter(),
      fields: undefined,
      command: undefined,
    };
    const statement = this.#statements.get(seq);
    this.#open.delete(seq);
    if (statement?.text !== undefined)
      yield { kind: 'note', seq, text: `not prepared: ${statement.text}` };
    yield* answerLines(open, payload);
    if (header.digest)
      yield { kind: 'note', seq, text: 'the answer was recorded as a digest only' };
    else if (header.payload && payload.length === 0)
      yield { kind: 'note', seq, text: 'the answer was erased' };
    if (header.truncated)
      yield { kind: 'note', seq, text: 'the record of the answer was cut short by policy' };
    yield {
      kind: 'outcome',
      seq,
      status: header.status,
      command: open.command,
      rows: header['db.response.returned_rows'] ?? 0,
      durationUs: header.durationUs,
    };
  }
}

function splitter(): FrameSplitter {
  return new FrameSplitter({
    streamed: new Set(),
    maxMessageBytes: maxRowBytes,
    oversized: 'skip',
  });
}

function* answerLines(open: OpenRequest, payload: Buffer): Generator<TranscriptLine> {
  for (const piece of tryParse(() => open.splitter.push(payload)) ?? []) {
    const lines = tryParse(() => [...answerLine(open, piece)]);
    yield* lines ?? [{ kind: 'note', seq: open.seq, text: 'a message that cannot be read' }];
  }
}

function* answerLine(open: OpenRequest, piece: Piece): Generator<TranscriptLine> {
  const { seq } = open;
  if (piece.kind !== 'message') {
    const length = piece.kind === 'oversized' ? piece.length : piece.bytes.length;
    yield { kind: 'note', seq, text: `a message of ${length} bytes is not shown` };
    return;
  }
  const { tag, body } = piece;
  switch (tag) {
    case BackendTag.RowDescription:
      open.fields = parseRowDescription(body);
      yield columnsLine(seq, open.fields);
      break;
    case BackendTag.DataRow:
      yield { kind: 'row', seq, cells: cellTexts(body, open.fields ?? []) };
      break;
    case BackendTag.CommandComplete:
      open.command = parseCommandComplete(body);
      break;
    case BackendTag.CopyData:
      yield { kind: 'copy', seq, text: body.toString('utf8') };
      break;
    default:
      yield* asideLines(seq, piece);
  }
}

function* asideLines(seq: number | undefined, piece: Piece): Generator<TranscriptLine> {
  if (piece.kind !== 'message') return;
  const { tag, body } = piece;
  if (tag === BackendTag.ErrorResponse || tag === BackendTag.NoticeResponse) {
    const fields = parseErrorFields(body);
    yield {
      kind: tag === BackendTag.ErrorResponse ? 'error' : 'notice',
      seq,
      severity: fields.get('S') ?? '',
      code: fields.get('C') ?? '',
      message: fields.get('M') ?? '',
      detail: fields.get('D'),
      hint: fields.get('H'),
    };
  } else if (tag === BackendTag.NotificationResponse) {
    const { channel, payload } = parseNotification(body);
    yield { kind: 'note', seq, text: `notification on ${channel}: ${payload}` };
  }
}

function columnsLine(seq: number, fields: readonly Field[]): TranscriptLine {
  return { kind: 'columns', seq, names: fields.map(({ name }) => name) };
}

function cellTexts(body: Buffer, fields: readonly Field[]): (string | null)[] {
  return parseDataRow(body).map((cell, index) => {
    const field = fields[index];
    return cell === undefined ? null : formatValue(field?.typeOid ?? 0, field?.format ?? 0, cell);
  });
}

function parameterTexts(bind: BindMessage, types: readonly number[]): (string | null)[] {
  return bind.parameters.map((value, index) =>
    value === undefined
      ? null
      : formatValue(types[index] ?? 0, formatAt(bind.parameterFormats, index), value),
  );
}

function withFormats(fields: readonly Field[], formats: readonly number[]): Field[] {
  return fields.map((field, index) => ({ ...field, format: formatAt(formats, index) }));
}

/** None: all text; one: for all; else one each. */
function formatAt(formats: readonly number[], index: number): number {
  return (formats.length === 1 ? formats[0] : formats[index]) ?? 0;
}

function sessionLine(
  header: Extract<RecordHeader, { kind: 'session.start' }>,
  payload: Buffer,
): TranscriptLine {
  const parsed =
    payload.length > 0 ? tryParse((): unknown => JSON.parse(payload.toString('utf8'))) : undefined;
  const login = Object.entries(parsed ?? {}).map(([name, value]): [string, string] => [
    name,
    String(value),
  ]);
  const { time, session = '', backend, principal } = header;
  return { kind: 'session', time, session, backend, principal, login: new Map(login) };
}

/** What was recorded may be anything: an agent wrote it. */
function tryParse<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}
