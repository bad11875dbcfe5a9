import { sqlStateOf } from '#core/errors.ts';
import type { Outcome, Refusal } from '#core/operation.ts';
import type { Over } from '#core/policy/budget.ts';
import { BackendTag, tryParseErrorCode } from '#core/postgres/backend.ts';
import type { Permit } from '../gate.ts';
import { declaredLength, fitRows } from './fit-rows.ts';
import type { Reply } from './items.ts';
import { buildRefusal } from './refusal.ts';

/** A piece of what the backend has said. */
export interface Part {
  readonly kind: 'message' | 'run' | 'open' | 'more';
  readonly tag: number;
  readonly bytes: Buffer;
  /** Rows that end in it. */
  readonly rows: number;
}

/** What becomes of a piece that does not pass as it is. */
export interface Limited {
  /** What of it is recorded; nothing where it is not there. */
  readonly record: Part | undefined;
  /** What the agent gets, in order. */
  readonly release: readonly Buffer[];
}

/** An answer that was cut. */
interface Cut {
  readonly permit: Permit;
  readonly over: Over;
  readonly refusal: Refusal;
  /** Whether the agent has read of it though the backend has met no error: it awaits a ReadyForQuery, and nothing else. */
  said: boolean;
}

type AnswerReply = Extract<Reply, { kind: 'answer' }>;

const dropped: Limited = { record: undefined, release: [] };

/**
 * Holds answers to the limits of their requests. What is beyond is neither recorded nor released: the agent reads an
 * error in its place, once the backend has ended the request. Where it has ended it by an error of its own, both are in the
 * same state; where it was faster than the cancel, all is withheld up to the next ReadyForQuery, as an error would have it.
 */
export class AnswerLimit {
  #cut: Cut | undefined;
  /** Why what runs was cancelled that took too long. */
  #cancelled: { readonly over: Over; readonly refusal: Refusal } | undefined;
  /** Bytes of a row that was let through and is still to come. */
  #left = 0;

  /** The request whose answer was cut and that runs on. */
  get running(): Permit | undefined {
    return this.#cut?.said === false ? this.#cut.permit : undefined;
  }

  /** Whether anything is dropped of what the backend says. */
  get withholding(): boolean {
    return this.#cut !== undefined;
  }

  /**
   * Says that a request is cancelled for its length: the error that this leads to becomes its refusal. It may be that of
   * another which the backend works on before the same Sync.
   */
  cancels(permit: Permit, over: Over): void {
    const refusal = permit.use?.refusal(over, 'cancelled');
    if (refusal) this.#cancelled = { over, refusal };
  }

  /** Returns what is to be said where every reply has come, and none that could stand for the rest of what was cut. */
  settle(): Buffer | undefined {
    const cut = this.#cut;
    if (!cut || cut.said) return undefined;
    cut.said = true;
    cut.permit.finish({ status: 'incomplete' });
    return this.#say(cut);
  }

  /** Returns what becomes of a piece; undefined where it passes as it is. */
  take(reply: Reply, part: Part): Limited | undefined {
    if (reply.kind === 'answer') return this.#answer(reply, part);
    if (reply.kind === 'ready') this.#cancelled = undefined;
    const cut = this.#cut;
    if (!cut || reply.kind === 'own') return undefined;
    if (reply.kind === 'ready') {
      this.#cut = undefined;
      if (cut.said) return undefined;
      return { record: undefined, release: [this.#say(cut), part.bytes] };
    }
    if (!cut.said) return undefined;
    const told = reply.kind === 'aside' && reply.channel !== 'layout' && reply.channel !== 'notice';
    if (told) return undefined;
    return reply.kind === 'layout' ? { record: part, release: [] } : dropped;
  }

  #answer(reply: AnswerReply, part: Part): Limited | undefined {
    const { permit } = reply;
    if (!this.#cut) {
      const { use } = permit;
      if (this.#cancelled && saysCancelled(part)) return this.#confirm(permit, part);
      if (!use?.boundAnswers || unbound.has(part.tag)) return undefined;
      if (part.kind === 'run') return this.#run(permit, part);
      if (part.kind === 'more') return undefined; // counted with its beginning
      const amount = { rows: 0, bytes: declaredLength(part.bytes) };
      const over = use.exceeds(amount);
      if (!over) {
        use.add(amount);
        return undefined;
      }
      this.#begin(permit, over);
    }
    return this.#cut && this.#cutOff(this.#cut, reply, part);
  }

  /** The backend says that it has cancelled what took too long; any other end is passed on as it is. */
  #confirm(permit: Permit, part: Part): Limited | undefined {
    const cancelled = this.#cancelled;
    this.#cancelled = undefined;
    if (!cancelled) return undefined;
    if (permit.use?.overdue()) permit.cut(cancelled.over);
    return { record: part, release: [buildRefusal(cancelled.refusal)] };
  }

  #run(permit: Permit, part: Part): Limited | undefined {
    const { use } = permit;
    if (!use) return undefined;
    const { length, begun, ended, left, beyond } = fitRows(part.bytes, this.#left, use.room());
    this.#left = left;
    use.add(begun);
    const over = beyond && use.exceeds(beyond);
    if (!over) return undefined;
    this.#begin(permit, over);
    if (length === 0) return dropped;
    const bytes = part.bytes.subarray(0, length);
    return { record: { ...part, bytes, rows: ended }, release: [bytes] };
  }

  #begin(permit: Permit, over: Over): void {
    const refusal = permit.cut(over);
    if (refusal) this.#cut = { permit, over, refusal, said: false };
  }

  /** What comes of an answer that was cut, or behind one that had run. */
  #cutOff(cut: Cut, { permit, ends }: AnswerReply, { tag }: Part): Limited {
    const ended: Outcome | undefined = ends && { ...ends, status: 'incomplete' };
    if (cut.said) {
      if (ended) permit.finish(ended);
      return dropped;
    }
    if (tag === BackendTag.ErrorResponse) {
      this.#cut = undefined;
      permit.finish(ends ?? { status: 'error' });
      return { record: undefined, release: [buildRefusal(cut.refusal)] };
    }
    if (!ends && tag !== BackendTag.PortalSuspended) return dropped;
    permit.finish(ended ?? { status: 'incomplete' });
    cut.said = true;
    return { record: undefined, release: [this.#say(cut)] };
  }

  /** Of a request that has run to its end. */
  #say({ permit, over, refusal }: Cut): Buffer {
    return buildRefusal(permit.use?.refusal(over, 'run') ?? refusal);
  }
}

const queryCanceled = sqlStateOf('request-timeout');

function saysCancelled({ kind, tag, bytes }: Part): boolean {
  if (kind !== 'message' || tag !== BackendTag.ErrorResponse) return false;
  return tryParseErrorCode(bytes.subarray(5)) === queryCanceled;
}

/** Messages that are short whatever is asked for, and without which an answer would not be told from one that was cut. */
const unbound: ReadonlySet<number> = new Set([
  BackendTag.CommandComplete,
  BackendTag.EmptyQueryResponse,
  BackendTag.PortalSuspended,
  BackendTag.CopyInResponse,
  BackendTag.CopyDone,
  BackendTag.ReadyForQuery,
]);
