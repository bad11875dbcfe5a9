import type { Outcome, RecordRef, Refusal } from '#core/operation.ts';
import type { Permit } from '../gate.ts';
import type { SettingsQuery } from './reading/settings-query.ts';
import type { Control } from './outlet.ts';
import type { Change, Portal, Statement } from './statements.ts';

/** A message of the agent, decided on and in the order of sending. */
export type Item =
  /** `open`: the beginning of a message whose rest follows as `more`. */
  | {
      readonly kind: 'query' | 'parse';
      readonly permit: Permit;
      readonly change: Change;
      readonly frame: Buffer;
      readonly open: boolean;
    }
  | {
      readonly kind: 'function-call' | 'bind';
      readonly permit: Permit;
      readonly frame: Buffer;
      readonly open: boolean;
    }
  | {
      readonly kind: 'more';
      readonly frame: Buffer;
      readonly record: RecordRef;
      readonly last: boolean;
    }
  | Execute
  /** Of a portal that a Bind made, or of a cursor. `record`: holds a name that no other record gave. */
  | {
      readonly kind: 'describe-portal';
      readonly portal: Portal | undefined;
      readonly record: RecordRef | undefined;
      readonly frame: Buffer;
    }
  | {
      readonly kind: 'describe-statement';
      readonly statement: Statement;
      readonly record: RecordRef | undefined;
      readonly frame: Buffer;
    }
  | {
      readonly kind: 'close';
      readonly change?: Change;
      readonly record: RecordRef | undefined;
      readonly frame: Buffer;
    }
  | { readonly kind: 'flush' | 'sync'; readonly frame: Buffer }
  | { readonly kind: 'terminate'; readonly frame: Buffer }
  /** CopyData. `inside`: it ends within a message, and only more of it may follow. */
  | {
      readonly kind: 'copy-data';
      readonly permit: Permit;
      readonly record: RecordRef;
      readonly frame: Buffer;
      readonly inside: boolean;
    }
  /** CopyDone or CopyFail. */
  | {
      readonly kind: 'copy-end';
      readonly permit: Permit;
      readonly record: RecordRef;
      readonly frame: Buffer;
    }
  /** Asks for the replies that the backend keeps back until a Flush or Sync. */
  | { readonly kind: 'own-flush' }
  /** Asks the backend for its settings, between messages of the agent that all have their replies. */
  | { readonly kind: 'own-query'; readonly query: SettingsQuery }
  | Refused;

/** A message that was refused. */
export interface Refused {
  readonly kind: 'refused';
  /** A Query or FunctionCall, which ends with a ReadyForQuery of its own. */
  readonly simple: boolean;
  /** Whether the unnamed statement goes with it, as it does with a Query or a Parse that fails. */
  readonly drops?: boolean;
  /** Whether it holds the end of a transaction, which PostgreSQL takes also in one that has failed. */
  readonly ends?: boolean;
  /** Data of a COPY. */
  readonly data?: boolean;
  readonly refusal: Refusal;
}

export interface Execute {
  readonly kind: 'execute';
  readonly permit: Permit;
  readonly portal: Portal;
  readonly name: string;
  /** Whether the portal is a cursor that SQL declared, so that each Execute is an operation of its own. */
  readonly cursor: boolean;
  readonly frame: Buffer;
}

/** What is to be done after a transition. */
export type Effect =
  | {
      readonly kind: 'send';
      readonly permit: Permit;
      readonly record: RecordRef;
      readonly frame: Buffer;
    }
  | { readonly kind: 'control'; readonly control: Control }
  | { readonly kind: 'answer'; readonly bytes: Buffer };

/** A reply that is still to come. */
export type Expected =
  | { readonly kind: 'parse'; readonly permit: Permit; readonly change: Change }
  /** A Query or a FunctionCall, whose answer goes on to its ReadyForQuery. */
  | { readonly kind: 'query'; readonly permit: Permit; readonly change: Change | undefined }
  | { readonly kind: 'bind'; readonly permit: Permit }
  | { readonly kind: 'describe-portal'; readonly permit: Permit | undefined }
  | {
      readonly kind: 'execute';
      readonly permit: Permit;
      readonly statement: Statement;
      readonly cursor: boolean;
    }
  | { readonly kind: 'describe-statement'; readonly statement: Statement }
  /** A Describe of ours, for rows that could not be read in the record otherwise. */
  | { readonly kind: 'own-describe'; readonly permit: Permit; readonly statement: Statement }
  | { readonly kind: 'close'; readonly change: Change | undefined }
  | { readonly kind: 'sync' }
  | { readonly kind: 'own-query'; readonly query: SettingsQuery }
  /** A Close of ours, of the unnamed statement. */
  | { readonly kind: 'own-close' }
  /** A Sync of ours behind a query of ours, whose ReadyForQuery nobody else awaits. */
  | { readonly kind: 'own-sync' }
  /** An Execute that must fail: its error becomes the refusal, so that the transaction fails as for any error. */
  | { readonly kind: 'poison'; readonly error: Buffer; readonly yields: boolean };

/** What a backend's message means to us, and what becomes of it. */
export type Reply =
  | { readonly kind: 'answer'; readonly permit: Permit; readonly ends?: Outcome }
  /** `askedFor` an operation by the lane itself: recorded, and kept from the agent. */
  | {
      readonly kind: 'layout';
      readonly statement: Statement;
      readonly askedFor: Permit | undefined;
      readonly rows: boolean;
    }
  | { readonly kind: 'acknowledgement' }
  | { readonly kind: 'aside'; readonly channel: 'notice' | 'parameters' | 'message' | 'layout' }
  | { readonly kind: 'replaced'; readonly bytes: Buffer }
  /** Answers a query of the lane's own: kept from the agent, and taken by `query` where that is still asked. */
  | { readonly kind: 'own'; readonly query: SettingsQuery | undefined }
  | { readonly kind: 'ready' };

/** What becomes of messages up to the next Sync. */
export type Segment =
  | 'clean' // nothing was sent since the last Sync
  | 'open'
  | 'skipping' // after an error: dropped, as the backend would
  | 'skipping-here'; // refused before anything went up: the Sync is answered here as well

/** What passes whatever the messages before it have led to. */
export type Passing = 'terminate' | 'copy-data' | 'copy-end' | 'more' | 'own-flush' | 'own-query';

/** What is sent as the agent wrote it, under no permit. */
export function control(
  kind: 'sync' | 'flush' | 'describe' | 'close',
  frame: Buffer,
  record?: RecordRef,
): Extract<Effect, { kind: 'control' }> {
  return { kind: 'control', control: { kind, frame, record } };
}

/** How an operation has ended whose rows are to be read as its statement says. */
export function ended({ layout }: Statement): Outcome {
  return { status: 'ok', ...(typeof layout === 'object' ? { layout } : {}) };
}
