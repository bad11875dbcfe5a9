import type { ErrorCode } from './errors.ts';
import type { Facts } from './facts.ts';
import type { OutcomeStatus, PayloadType } from './record/kinds.ts';

/** Why bytes could not be understood, or not judged in time; without content, as people read it. */
export type UnreadableCause =
  // the text itself
  | 'it is no SQL'
  | 'nul byte'
  | 'too long'
  | 'too deep'
  | 'too much in it'
  | 'took too long'
  | 'killed the parser'
  | 'not understood'
  | 'its encoding or its backslashes may mean something else'
  | 'a statement in it changes what those behind it mean'
  | 'its names may mean something else than when it was bound'
  // what was the matter when it came
  | 'too many rules for what it holds'
  | 'its settings are not known'
  | 'it was not read in time'
  | 'busy'
  | 'stopped';

/** Stands in for facts where bytes could not be understood: never allowed under Enforce. */
export interface Unreadable {
  readonly protocol: 'Unreadable';
  readonly because: UnreadableCause;
  /** What the backend would say of it, where that is known: a mistake in its syntax. */
  readonly error?: { readonly message: string; readonly position: number | undefined };
}

/** Content that is recorded with an operation: already masked, and owned by the record from here on. */
export interface Content {
  readonly type: PayloadType;
  readonly bytes: Buffer;
}

/** Place of a record in its stream; `seq` is known once the record is in the spool. */
export interface RecordRef {
  readonly seq: number | undefined;
}

/** Something an agent wants done, small enough to be decided on its own. */
export interface Operation {
  /** `statement`: text that later requests refer to; `request`: what runs; `connection`: an opaque stream. */
  readonly kind: 'statement' | 'request' | 'connection';
  readonly facts: Facts | Unreadable;
  readonly content?: Content;
  /** The content is the beginning: the rest is recorded by `permit.up` as it comes. */
  readonly open?: boolean | undefined;
  /** For a request whose text was recorded earlier. */
  readonly statement?: RecordRef | undefined;
}

/** A documented no: what the peer reads, in the protocol's own words. */
export interface Refusal {
  readonly code: ErrorCode;
  /** Shown to the peer: never holds content or secrets. */
  readonly message: string;
  /** What to do next. */
  readonly hint?: string;
  /** Where in the text the mistake is, in characters from 1. */
  readonly position?: number | undefined;
  /** The same for programs, as names with values; a name may come again. Values are single lines. */
  readonly details?: readonly (readonly [name: string, value: string])[];
}

/** How an operation ended. */
export interface Outcome {
  readonly status: OutcomeStatus;
  /** The backend's own error code, such as an SQLSTATE. */
  readonly code?: string;
  /** The record that says how the rows are to be read, when it is not part of this answer. */
  readonly layout?: RecordRef;
}

/** Tells a refusal from anything else that `admit` and `open` return. */
export function isRefusal(value: object): value is Refusal {
  return 'code' in value && 'message' in value;
}
