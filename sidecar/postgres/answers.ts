import { ChaperoneError } from '#core/errors.ts';
import type { Content } from '#core/operation.ts';
import { BackendTag } from '#core/postgres/backend.ts';
import { renamesOfTag, type Renames } from '#core/postgres/command.ts';
import { FrameSplitter, type Piece } from '#core/postgres/frames.ts';
import type { Permit } from '../gate.ts';
import type { Session } from '../lane.ts';
import { AnswerLimit, type Part } from './answer-limit.ts';
import type { Reply } from './items.ts';
import type { Pipeline } from './pipeline.ts';
import type { Answer, ReleaseQueue } from './release.ts';

const maxBackendMessageBytes = 1024 * 1024; // of errors and notices; rows and data pass in runs
const maxTagBytes = 64; // COMPLETION_TAG_BUFSIZE of PostgreSQL

export interface AnswersOptions {
  readonly session: Session;
  readonly pipeline: Pipeline;
  readonly release: ReleaseQueue;
  /** Called when a COPY begins to take the agent's data. */
  readonly onCopyIn: () => void;
  /** Called when SQL has changed what names mean. */
  readonly onRenamed: (renames: Renames, tag: string) => void;
  /** Called when the backend has said that something failed. */
  readonly onFailed: () => void;
}

/** The way of the backend's bytes down: split into messages, matched with what they answer, recorded, and released. */
export class Answers {
  readonly #options: AnswersOptions;
  readonly #splitter = new FrameSplitter({
    streamed: new Set([BackendTag.DataRow, BackendTag.CopyData, BackendTag.FunctionCallResponse]),
    maxMessageBytes: maxBackendMessageBytes,
    oversized: 'stream',
  });
  /** The answer that the message under way belongs to, when that is too long to be held. */
  #answering: Reply | undefined;
  #inside = false;
  readonly #limit = new AnswerLimit();

  constructor(options: AnswersOptions) {
    this.#options = options;
  }

  /** Whether what was given to the agent ends within a message, so that nothing of ours fits behind it. */
  get inside(): boolean {
    return this.#inside;
  }

  /** What is withheld of answers that are more than they may be. */
  get limit(): Pick<AnswerLimit, 'running' | 'withholding' | 'cancels'> {
    return this.#limit;
  }

  /**
   * Takes bytes of the backend. Returns whether a ReadyForQuery was among them.
   * @throws ChaperoneError `protocol-violation`.
   */
  push(chunk: Buffer): boolean {
    const pieces: Piece[] = [];
    const answers: Answer[] = [];
    const { pipeline, release, session } = this.#options;
    try {
      this.#splitter.push(chunk, pieces);
    } finally {
      // What came before a violation was said: a message that was begun is finished before our last word.
      try {
        for (const piece of pieces) this.#take(piece, answers);
      } finally {
        const said = pipeline.idle ? this.#limit.settle() : undefined;
        if (said) answers.push({ bytes: said, ready: false });
        const end = { inside: this.#inside, idle: pipeline.idle };
        if (answers.length > 0) release.push(answers, session.recorded(), end);
      }
    }
    return answers.some(({ ready }) => ready);
  }

  #take(piece: Piece, answers: Answer[]): void {
    switch (piece.kind) {
      case 'message':
        this.#deliver(this.#reply(piece.tag, piece.body, piece.frame, 0), partOf(piece), answers);
        this.#notice(piece.tag, piece.body);
        break;
      case 'run': {
        const { tag, bytes, ended } = piece;
        const reply = this.#reply(tag, undefined, bytes, ended);
        const passed = this.#deliver(reply, partOf(piece), answers);
        this.#inside = piece.inside && passed;
        break;
      }
      case 'open': {
        if (!spokenAtLength.has(piece.tag)) throw tooLong;
        const reply = this.#options.pipeline.reply(piece.tag, piece.frame.subarray(5));
        const begun = piece.last ? reply : withoutEnd(reply);
        const passed = this.#deliver(begun, partOf(piece), answers);
        if (!passed && reply.kind === 'answer' && reply.ends) reply.permit.finish(reply.ends);
        this.#answering = piece.last ? undefined : passed ? reply : swallowed;
        this.#inside = !piece.last && passed;
        this.#notice(piece.tag, piece.frame.subarray(5));
        break;
      }
      case 'more': {
        const reply = this.#answering ?? { kind: 'acknowledgement' };
        if (piece.last) this.#answering = undefined;
        if (reply.kind === 'replaced') break; // its beginning was, or was withheld
        this.#deliver(piece.last ? reply : withoutEnd(reply), partOf(piece), answers);
        this.#inside = !piece.last;
        break;
      }
      case 'oversized':
        throw tooLong;
    }
  }

  /** What a message says beside its answer. */
  #notice(tag: number, body: Buffer): void {
    const { pipeline, onCopyIn, onRenamed, onFailed } = this.#options;
    switch (tag) {
      case BackendTag.CopyInResponse:
        if (pipeline.copyIn) onCopyIn();
        break;
      case BackendTag.CommandComplete: {
        const words = body.toString('latin1', 0, Math.min(body.length - 1, maxTagBytes));
        onRenamed(renamesOfTag(words), words);
        break;
      }
      case BackendTag.ErrorResponse:
        onFailed();
        break;
      default:
        break;
    }
  }

  /** Records a piece and releases it. Returns whether it passes as it is, and not something in its place. */
  #deliver(reply: Reply, part: Part, answers: Answer[]): boolean {
    if (reply.kind === 'own') return false;
    const limited = this.#limit.take(reply, part);
    const kept = limited ? limited.record : part;
    if (kept) this.#record(reply, kept.bytes, kept.rows);
    const permit = reply.kind === 'answer' ? reply.permit : undefined;
    if (limited) {
      for (const bytes of limited.release)
        answers.push({ bytes, ready: reply.kind === 'ready' && bytes === part.bytes, permit });
      return false;
    }
    if (reply.kind === 'replaced') answers.push({ bytes: reply.bytes, ready: false });
    else if (reply.kind !== 'layout' || !reply.askedFor)
      answers.push({ bytes: part.bytes, ready: reply.kind === 'ready', permit });
    return reply.kind !== 'replaced';
  }

  /** What a message answers; an answer to a query of the lane's own is taken here. */
  #reply(tag: number, body: Buffer | undefined, bytes: Buffer, ended: number): Reply {
    const { pipeline } = this.#options;
    const reply = pipeline.reply(tag, body);
    if (reply.kind === 'own' && reply.query?.take(tag, bytes, ended))
      pipeline.answered(reply.query);
    return reply;
  }

  #record(reply: Exclude<Reply, { kind: 'own' }>, bytes: Buffer, rows: number): void {
    const content: Content = { type: 'postgres.messages', bytes };
    switch (reply.kind) {
      case 'answer':
        this.#recordAnswer(reply.permit, content, rows);
        if (reply.ends) reply.permit.finish(reply.ends);
        break;
      case 'layout': {
        if (reply.askedFor && !reply.rows) break;
        const of = reply.askedFor ?? reply.statement;
        const { ref } = this.#options.session.aside('layout', content, of.ref);
        if (reply.rows) reply.statement.layout = ref;
        break;
      }
      case 'aside':
        this.#options.session.aside(reply.channel, content);
        break;
      case 'acknowledgement':
      case 'replaced':
      case 'ready':
        break; // without content
    }
  }

  #recordAnswer(permit: Permit, content: Content, rows: number): void {
    if (permit.finished) this.#options.session.aside('message', content, permit.ref);
    else permit.down(content, rows);
  }
}

/** Messages of a backend that may be of any length: an error quotes the value that it is about. */
const spokenAtLength: ReadonlySet<number> = new Set([
  BackendTag.ErrorResponse,
  BackendTag.NoticeResponse,
]);

const tooLong = new ChaperoneError(
  'protocol-violation',
  'the backend sent a message that is too large',
);

/** What goes on of a message whose beginning did not pass. */
const swallowed: Reply = { kind: 'replaced', bytes: Buffer.alloc(0) };

function partOf(piece: Exclude<Piece, { kind: 'oversized' }>): Part {
  const { kind, tag } = piece;
  const bytes = 'frame' in piece ? piece.frame : piece.bytes;
  return { kind, tag, bytes, rows: kind === 'run' ? piece.ended : 0 };
}

function withoutEnd(reply: Reply): Reply {
  return reply.kind === 'answer' ? { kind: 'answer', permit: reply.permit } : reply;
}
