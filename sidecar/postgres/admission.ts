import { ChaperoneError } from '#core/errors.ts';
import { isRefusal, type Operation, type RecordRef, type Refusal } from '#core/operation.ts';
import { hasFixedColumns, renamesOf, type Renames } from '#core/postgres/command.ts';
import type { Piece } from '#core/postgres/frames.ts';
import {
  FrontendTag,
  isAsciiName,
  parseBind,
  parseBindNames,
  parseClose,
  parseDescribe,
  parseExecute,
  parseFunctionCall,
  parseParse,
  parseParseName,
  parseQuery,
  type NamedObject,
} from '#core/postgres/frontend.ts';
import type { PayloadType } from '#core/record/kinds.ts';
import type { Permit } from '../gate.ts';
import type { Session } from '../lane.ts';
import type { Item, Refused } from './items.ts';
import { impossible, judgedTags, mayBeLong, simpleTags, unnamable } from './agent-messages.ts';
import { assertCut, assertEmpty, isRefusable } from './message-bounds.ts';
import { anyEffects, noEffects } from './reading/effects.ts';
import { boundBefore, fetch, functionCall, tooLong, unreadText } from './reading/plain-facts.ts';
import type { Obstacle, Place, Reader, Subject } from './reading/reader.ts';
import type { Reading } from './reading/readings.ts';
import { Names, Statements, unknownStatement, type Portal } from './statements.ts';

/** A message as far as it is there: whole, or `open` when the rest follows. */
interface Message {
  readonly tag: number;
  readonly frame: Buffer;
  readonly body: Buffer;
  readonly open: boolean;
}

const headerBytes = 5;

/**
 * Turns the agent's messages into items of the pipeline: each operation is decided and its record queued, in the order
 * of sending and before anything of it goes up. What is not understood is refused, never passed on unseen.
 */
export class Admission {
  readonly #session: Session;
  readonly #reader: Reader | undefined;
  readonly #statements = new Statements();
  readonly #portals = new Names<Portal>();
  /** After a refusal PostgreSQL's rule holds: nothing before the next Sync is looked at. */
  #skipping = false;
  /** What SQL that was admitted since every reply had come may rename. */
  #doubt: Renames = 'nothing';
  /** The message that was looked at last, and what of it is judged: what was read of it is known by its buffer. */
  #seen: { readonly piece: Piece; readonly subject: Subject | undefined } | undefined;
  /** Whether a pipeline has begun that no Sync has ended. */
  #unsynced = false;
  /** Whether a Parse has given the unnamed statement a text since something took it away. */
  #hasUnnamed = false;
  /** The operation whose message goes on in the pieces that follow. */
  #flowing: { readonly permit: Permit; readonly type: PayloadType } | undefined;

  constructor(session: Session, reader?: Reader) {
    this.#session = session;
    this.#reader = reader;
  }

  /** What keeps a message from being judged now. */
  obstacle(piece: Piece, place: Place): Obstacle | undefined {
    if (this.#skipping) return undefined;
    const executes = piece.tag === FrontendTag.Execute;
    if (!executes && !judgedTags.has(piece.tag)) return undefined;
    // If what is before it in the pipeline fails, the backend skips it: then nothing may be said in its place.
    if (simpleTags.has(piece.tag) && this.#unsynced && !place.idle) return 'replies';
    if (piece.kind !== 'message') return undefined;
    try {
      if (executes) return !place.idle && this.#isOfOld(piece.body) ? 'replies' : undefined;
      if (piece !== this.#seen?.piece || piece.tag === FrontendTag.Bind)
        this.#seen = { piece, subject: this.#subjectOf(piece.tag, piece.body) };
      const { subject } = this.#seen;
      return subject && this.#reader?.obstacle(subject, place);
    } catch (error) {
      if (error instanceof ChaperoneError) return undefined; // said when the message is admitted
      throw error;
    }
  }

  #subjectOf(tag: number, body: Buffer): Subject | undefined {
    switch (tag) {
      case FrontendTag.Query:
        return { kind: 'text', text: parseQuery(body) };
      case FrontendTag.Parse:
        return { kind: 'text', text: parseParse(body).query };
      case FrontendTag.Bind: {
        const { statement: name } = parseBindNames(body);
        return { kind: 'name', name, known: this.#statements.get(name).remembered };
      }
      default:
        return undefined;
    }
  }

  /** Whether the meaning of names depends on replies that are still to come. */
  get uncertain(): boolean {
    return this.#statements.uncertain;
  }

  /** Whether SQL that was admitted may change what names mean, so that the next one has to wait for its end. */
  get doubtful(): boolean {
    return this.#doubt !== 'nothing';
  }

  /** Says which changes of names the backend has made: it will make no others of those so far. `outside` a transaction. */
  settle(outside: boolean): void {
    this.#statements.settle();
    if (outside) this.#portals.clear();
  }

  /** Says that every reply has come. */
  endDoubt(): void {
    this.#doubt = 'nothing';
  }

  /** Says that SQL has changed what names mean. */
  forget(renames: Renames): void {
    if (renames === 'statements' || renames === 'all') this.#statements.forget();
    if (renames === 'portals' || renames === 'all') this.#portals.clear();
  }

  /** Says that something has failed: no command tag tells what it had renamed by then, which no rollback undoes. */
  forgetDoubtful(): void {
    this.forget(this.#doubt);
  }

  /** Returns the item for a piece, or undefined for what is skipped. @throws ChaperoneError `protocol-violation`. */
  admit(piece: Piece): Item | undefined {
    if (piece.kind === 'more') return this.#more(piece);
    if (piece.tag === FrontendTag.Terminate && piece.kind === 'message')
      return terminate(piece.frame, piece.body);
    if (this.#skipping) {
      if (piece.tag !== FrontendTag.Sync) return undefined;
      this.#skipping = false;
    }
    if (piece.kind !== 'message' && piece.kind !== 'open') throw impossible(piece.tag);
    const { kind, tag, frame } = piece;
    if (kind === 'open' && !mayBeLong.has(tag)) throw impossible(tag);
    const open = kind === 'open' && !piece.last;
    this.#unsynced = !simpleTags.has(tag) && tag !== FrontendTag.Sync;
    try {
      return this.#admitMessage({ tag, frame, body: frame.subarray(headerBytes), open });
    } catch (error) {
      if (!(error instanceof ChaperoneError) || !isRefusable(error)) throw error;
      this.#session.violated(error.code);
      return this.#refused(tag, { code: error.code, message: error.message });
    } finally {
      this.#seen = undefined;
    }
  }

  /** The text of a message as it was looked at before. */
  #textSeen(frame: Buffer): Buffer | undefined {
    const { piece, subject } = this.#seen ?? {};
    if (piece?.kind !== 'message' || piece.frame !== frame) return undefined;
    return subject?.kind === 'text' ? subject.text : undefined;
  }

  /** Admits a piece of the COPY that `permit` takes data for. */
  admitCopy(piece: Extract<Piece, { kind: 'message' | 'run' }>, permit: Permit): Item {
    const ends = piece.kind === 'message';
    const frame = ends ? piece.frame : piece.bytes;
    const record = permit.up('copy', { type: 'postgres.copy', bytes: frame }, ends);
    if (ends) return { kind: 'copy-end', permit, record, frame };
    return { kind: 'copy-data', permit, record, frame, inside: piece.inside };
  }

  #admitMessage(message: Message): Item {
    const { tag, frame, body } = message;
    switch (tag) {
      case FrontendTag.Query:
        return this.#query(message);
      case FrontendTag.Parse:
        return this.#parse(message);
      case FrontendTag.Bind:
        return this.#bind(message);
      case FrontendTag.FunctionCall:
        return this.#functionCall(message);
      case FrontendTag.Execute:
        return this.#execute(frame, body);
      case FrontendTag.Describe:
        return this.#describe(frame, body);
      case FrontendTag.Close:
        return this.#close(frame, body);
      case FrontendTag.Flush:
        assertEmpty(body);
        return { kind: 'flush', frame };
      case FrontendTag.Sync:
        assertEmpty(body);
        this.#reader?.endsPipeline();
        return { kind: 'sync', frame };
      default:
        throw impossible(tag);
    }
  }

  #query({ tag, frame, body, open }: Message): Item {
    const bytes = open ? body : (this.#textSeen(frame) ?? parseQuery(body));
    const { facts, effects } = this.#read(open, { kind: 'text', text: bytes });
    const answer = this.#decide('request', 'postgres.query', bytes, { open, facts });
    if (isRefusal(answer)) return { ...this.#refused(tag, answer, true), ends: effects.ends };
    this.#reader?.runs(effects);
    this.#reader?.endsPipeline();
    if (!open) this.#reader?.runsText(bytes);
    this.#portals.delete('');
    this.#runs(open ? 'all' : renamesOf(bytes));
    // A simple Query destroys the unnamed statement as well.
    const change = this.#statements.delete('');
    this.#hasUnnamed = false;
    return { kind: 'query', permit: answer, change, frame, open };
  }

  #parse({ tag, frame, body, open }: Message): Item {
    const { name, query } = open
      ? { name: parseParseName(body), query: undefined }
      : parseParse(body);
    this.#statements.reserve(name);
    const text = this.#textSeen(frame) ?? query;
    const { facts, effects } = this.#read(open, { kind: 'text', text: text ?? body });
    const answer = this.#decide('statement', 'postgres.parse', body, { open, facts });
    if (isRefusal(answer))
      return { ...this.#refused(tag, answer, name === ''), ends: effects.ends };
    const remembered = text && this.#reader?.remember(name, text);
    const fixed = query !== undefined && hasFixedColumns(query);
    const renames = query ? renamesOf(query) : 'all';
    const statement = { ref: answer.ref, remembered, fixed, renames, layout: undefined };
    const change = this.#statements.set(name, statement);
    if (name === '') this.#hasUnnamed = true;
    return { kind: 'parse', permit: answer, change, frame, open };
  }

  #bind({ tag, frame, body, open }: Message): Item {
    const { portal, statement: name } = open ? parseBindNames(body) : parseBind(body);
    if (!isAsciiName(portal)) throw unnamable;
    // Portals end with their transaction, which the agent need not say.
    if (this.#portals.full) this.#portals.prune((one) => one.permit.finished && !this.#isOld(one));
    this.#portals.reserve(portal);
    const statement = this.#statements.get(name);
    // Code may run here already: the planner runs functions that say they are immutable.
    const known = statement.remembered;
    const { facts, effects } = this.#read(false, { kind: 'name', name, known });
    const answer = this.#decide('request', 'postgres.bind', body, {
      open,
      facts,
      statement: statement.ref,
    });
    if (isRefusal(answer)) return this.#refused(tag, answer);
    this.#reader?.runs(effects);
    if (known?.known?.kind === 'text') this.#reader?.runsText(known.known.text);
    const { changes } = this.#reader ?? {};
    this.#portals.set(portal, { permit: answer, statement, effects, changes, described: false });
    return { kind: 'bind', permit: answer, frame, open };
  }

  #functionCall({ tag, frame, body, open }: Message): Item {
    if (!open) parseFunctionCall(body);
    const { facts, effects } = this.#reader
      ? functionCall(body)
      : { facts: unreadText, effects: undefined };
    const answer = this.#decide('request', 'postgres.function-call', body, { open, facts });
    if (isRefusal(answer)) return this.#refused(tag, answer);
    if (effects) this.#reader?.runs(effects);
    this.#reader?.endsPipeline();
    return { kind: 'function-call', permit: answer, frame, open };
  }

  /** A portal that no Bind made, or that has run to its end, may be a cursor that SQL declared. */
  #execute(frame: Buffer, body: Buffer): Item {
    assertCut(body.length - 5);
    const { portal: name } = parseExecute(body);
    const bound = this.#portals.get(name);
    const old = bound && this.#isOld(bound);
    if (bound && !old && !bound.permit.finished) {
      const { permit, statement, effects } = bound;
      const refusal = permit.use?.resume();
      if (refusal) {
        this.#session.violated(refusal.code);
        return this.#refused(FrontendTag.Execute, refusal);
      }
      this.#runs(statement.renames);
      this.#reader?.runs(effects);
      return { kind: 'execute', permit, portal: bound, name, cursor: false, frame };
    }
    const facts = old ? boundBefore : this.#reader ? fetch : unreadText;
    const statement = old ? bound.statement : unknownStatement();
    const { ref } = statement;
    const decided = { open: false, facts, statement: ref };
    const answer = this.#decide('request', 'postgres.execute', body, decided);
    if (isRefusal(answer)) return this.#refused(FrontendTag.Execute, answer);
    this.#runs(statement.renames);
    const effects = old ? bound.effects : noEffects;
    this.#reader?.runs(effects);
    const portal = { permit: answer, statement, effects, changes: undefined, described: false };
    return { kind: 'execute', permit: answer, portal, name, cursor: true, frame };
  }

  /**
   * What PostgreSQL does not plan looks up its names when it is run, and not when it is bound: `COPY orders` or `EXECUTE s`
   * are others after a SET between the two.
   */
  #isOld({ statement, changes }: Portal): boolean {
    return !statement.fixed && changes !== this.#reader?.changes;
  }

  /** Whether an Execute is of such a portal, if that has not gone with its transaction. */
  #isOfOld(body: Buffer): boolean {
    const bound = this.#portals.get(parseExecute(body).portal);
    return bound !== undefined && this.#isOld(bound);
  }

  #describe(frame: Buffer, body: Buffer): Item {
    assertCut(body.length - 2);
    const named = parseDescribe(body);
    const record = this.#mention(named, frame);
    if (named.kind === 'statement') {
      const statement = this.#statements.get(named.name);
      return { kind: 'describe-statement', statement, record, frame };
    }
    const found = this.#portals.get(named.name);
    const portal = found && !found.permit.finished ? found : undefined;
    return { kind: 'describe-portal', portal, record, frame };
  }

  #close(frame: Buffer, body: Buffer): Item {
    assertCut(body.length - 2);
    const named = parseClose(body);
    const record = this.#mention(named, frame);
    if (named.kind === 'statement')
      return { kind: 'close', change: this.#statements.delete(named.name), record, frame };
    this.#portals.delete(named.name);
    return { kind: 'close', record, frame };
  }

  /** A name may be any text: one that no record has given is recorded before it goes up. */
  #mention({ kind, name }: NamedObject, frame: Buffer): RecordRef | undefined {
    const names = kind === 'statement' ? this.#statements : this.#portals;
    if (name === '' || names.has(name)) return undefined;
    return this.#session.mention({ type: 'postgres.name', bytes: frame });
  }

  /** More of a message that was too long to be held: recorded and passed on, or dropped with its beginning. */
  #more({ tag, bytes, last }: Extract<Piece, { kind: 'more' }>): Item | undefined {
    const flowing = this.#flowing;
    if (last) this.#flowing = undefined;
    if (!flowing) return undefined;
    const { permit, type } = flowing;
    const text = last && tag === FrontendTag.Query ? bytes.subarray(0, -1) : bytes; // without the closing NUL
    const record = permit.up('message', { type, bytes: text }, last);
    return { kind: 'more', frame: bytes, record, last };
  }

  #runs(renames: Renames): void {
    if (renames !== 'nothing') this.#doubt = this.#doubt === 'nothing' ? renames : 'all';
  }

  /** What a message does. Nobody can judge a text that is not all there. */
  #read(open: boolean, subject: Subject): Reading {
    if (open && subject.kind === 'text') return { facts: tooLong, effects: anyEffects };
    return this.#reader?.read(subject) ?? { facts: unreadText, effects: noEffects };
  }

  #decide(
    kind: 'statement' | 'request',
    type: PayloadType,
    bytes: Buffer,
    { open, facts, statement }: Pick<Operation, 'facts' | 'statement'> & { open: boolean },
  ): Permit | Refusal {
    const answer = this.#session.admit({ kind, facts, content: { type, bytes }, open, statement });
    if (open && !isRefusal(answer)) this.#flowing = { permit: answer, type };
    return answer;
  }

  /** `unnamed`: PostgreSQL would take the unnamed statement away although the message fails. */
  #refused(tag: number, refusal: Refusal, unnamed = false): Refused {
    const simple = simpleTags.has(tag);
    this.#skipping = !simple;
    const drops = unnamed && this.#hasUnnamed;
    if (drops) {
      this.#hasUnnamed = false;
      this.#statements.delete('').applied = true;
    }
    return { kind: 'refused', simple, drops, refusal };
  }
}

function terminate(frame: Buffer, body: Buffer): Item {
  assertEmpty(body);
  return { kind: 'terminate', frame };
}
