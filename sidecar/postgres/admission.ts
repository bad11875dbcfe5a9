import { ChaperoneError } from '#core/errors.ts';
import { isRefusal, type Operation, type Refusal } from '#core/operation.ts';
import type { Piece } from '#core/postgres/frames.ts';
import {
  FrontendTag,
  parseBind,
  parseClose,
  parseDescribe,
  parseExecute,
  parseParse,
  parseQuery,
} from '#core/postgres/frontend.ts';
import type { Session } from '../lane.ts';
import type { Item } from './pipeline.ts';
import { Names, Statements, type Portal } from './statements.ts';

const facts = { protocol: 'Postgres' } as const;

const unsupportedMessages = new Map<number, string>([
  [FrontendTag.FunctionCall, 'FunctionCall (the fast-path interface)'],
]);

/**
 * Turns the agent's messages into items of the pipeline: each operation is decided and its record queued, in the order
 * of sending and before anything of it goes up. What is not understood is refused, never passed on unseen.
 */
export class Admission {
  readonly #session: Session;
  readonly #statements = new Statements();
  readonly #portals = new Names<Portal>();
  /** After a refusal PostgreSQL's rule holds: nothing before the next Sync is looked at. */
  #skipping = false;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Whether the meaning of names depends on replies that are still to come. */
  get uncertain(): boolean {
    return this.#statements.uncertain;
  }

  /** Says that every reply has come. */
  settle(): void {
    this.#statements.settle();
  }

  /** Says that SQL has changed what the names of statements mean. */
  forgetStatements(): void {
    this.#statements.forget();
  }

  /** Returns the item for a piece, or undefined for what is skipped. @throws ChaperoneError `protocol-violation`. */
  admit(piece: Piece): Item | undefined {
    if (piece.kind === 'message' && piece.tag === FrontendTag.Terminate) {
      return { kind: 'terminate', frame: piece.frame };
    }
    if (this.#skipping) {
      if (piece.kind !== 'message' || piece.tag !== FrontendTag.Sync) return undefined;
      this.#skipping = false;
    }
    try {
      return this.#admitPiece(piece);
    } catch (error) {
      if (!(error instanceof ChaperoneError) || error.code !== 'too-large') throw error;
      return this.#refused(piece.tag, { code: error.code, message: error.message });
    }
  }

  #admitPiece(piece: Piece): Item | undefined {
    if (piece.kind !== 'message') {
      // COPY data that no COPY awaits: PostgreSQL ignores it, and so do we, since none was let through.
      if (piece.tag === FrontendTag.CopyData) return undefined;
      return this.#refused(piece.tag, {
        code: 'too-large',
        message: `a message of ${piece.kind === 'oversized' ? piece.length : 'too many'} bytes is too large to judge`,
        hint: 'Send large values in smaller pieces.',
      });
    }
    const { tag, frame, body } = piece;
    switch (tag) {
      case FrontendTag.Query:
        return this.#query(frame, body);
      case FrontendTag.Parse:
        return this.#parse(frame, body);
      case FrontendTag.Bind:
        return this.#bind(frame, body);
      case FrontendTag.Execute:
        return this.#execute(frame, body);
      case FrontendTag.Describe:
        return this.#describe(frame, body);
      case FrontendTag.Close:
        return this.#close(frame, body);
      case FrontendTag.Flush:
        return { kind: 'flush', frame };
      case FrontendTag.Sync:
        return { kind: 'sync', frame };
      case FrontendTag.CopyDone:
      case FrontendTag.CopyFail:
        return undefined; // see above
      default:
        return this.#unsupported(tag);
    }
  }

  #query(frame: Buffer, body: Buffer): Item {
    const bytes = parseQuery(body);
    const answer = this.#decide({
      kind: 'request',
      facts,
      content: { type: 'postgres.query', bytes },
    });
    if (isRefusal(answer)) return { kind: 'refused', simple: true, refusal: answer };
    this.#portals.delete('');
    // A simple Query destroys the unnamed statement as well.
    return { kind: 'query', permit: answer, change: this.#statements.delete(''), frame };
  }

  #parse(frame: Buffer, body: Buffer): Item {
    const { name } = parseParse(body);
    this.#statements.reserve(name);
    const answer = this.#decide({
      kind: 'statement',
      facts,
      content: { type: 'postgres.parse', bytes: body },
    });
    if (isRefusal(answer)) return this.#refused(FrontendTag.Parse, answer);
    const change = this.#statements.set(name, { ref: answer.ref, layout: undefined });
    return { kind: 'parse', permit: answer, change, frame };
  }

  #bind(frame: Buffer, body: Buffer): Item {
    const { portal, statement: name } = parseBind(body);
    // Portals end with their transaction, which the agent need not say.
    if (this.#portals.full) this.#portals.prune(({ permit }) => permit.finished);
    this.#portals.reserve(portal);
    const statement = this.#statements.get(name);
    const answer = this.#decide({
      kind: 'request',
      facts,
      content: { type: 'postgres.bind', bytes: body },
      ...(statement.ref ? { statement: statement.ref } : {}),
    });
    if (isRefusal(answer)) return this.#refused(FrontendTag.Bind, answer);
    this.#portals.set(portal, { permit: answer, statement });
    return { kind: 'bind', permit: answer, frame };
  }

  #execute(frame: Buffer, body: Buffer): Item {
    const portal = this.#portals.get(parseExecute(body).portal);
    if (portal)
      return { kind: 'execute', permit: portal.permit, statement: portal.statement, frame };
    return this.#refused(FrontendTag.Execute, unknownPortal);
  }

  #describe(frame: Buffer, body: Buffer): Item {
    const { kind, name } = parseDescribe(body);
    if (kind === 'statement') {
      return { kind: 'describe-statement', statement: this.#statements.get(name), frame };
    }
    const portal = this.#portals.get(name);
    if (portal) return { kind: 'describe-portal', permit: portal.permit, frame };
    return this.#refused(FrontendTag.Describe, unknownPortal);
  }

  #close(frame: Buffer, body: Buffer): Item {
    const { kind, name } = parseClose(body);
    if (kind === 'statement')
      return { kind: 'close', change: this.#statements.delete(name), frame };
    this.#portals.delete(name);
    return { kind: 'close', frame };
  }

  #unsupported(tag: number): Item {
    const what = unsupportedMessages.get(tag) ?? `a message of type ${tag}`;
    return this.#refused(tag, {
      code: 'unsupported',
      message: `${what} is not supported`,
      hint: 'Use the simple or the extended query protocol.',
    });
  }

  #decide(operation: Operation): ReturnType<Session['admit']> {
    return this.#session.admit(operation);
  }

  #refused(tag: number, refusal: Refusal): Item {
    const simple = tag === FrontendTag.Query || tag === FrontendTag.FunctionCall;
    this.#skipping = !simple;
    return { kind: 'refused', simple, refusal };
  }
}

const unknownPortal: Refusal = {
  code: 'unsupported',
  message: 'this portal was not made by a Bind of this connection',
  hint: 'Use FETCH for cursors that DECLARE made.',
};
