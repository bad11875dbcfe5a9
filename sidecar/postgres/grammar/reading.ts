import type { UnreadableCause } from '#core/operation.ts';
import type { Survey } from '#core/postgres/sql/survey.ts';

/** What PostgreSQL's grammar makes of a text. */
export type Reading =
  | { readonly kind: 'survey'; readonly survey: Survey }
  | {
      readonly kind: 'syntax-error';
      readonly message: string;
      /** As PostgreSQL reports it: in characters, from 1. */
      readonly position: number;
      readonly sqlState: '42601';
    }
  | { readonly kind: 'unreadable'; readonly because: Unreadable };

/**
 * Why a text was not read, which says nothing about what the backend would make of it. `not understood`: the grammar
 * read it, and what it found has no place in a survey.
 */
export type Unreadable = Extract<
  UnreadableCause,
  | 'nul byte'
  | 'too long'
  | 'too deep'
  | 'too much in it'
  | 'took too long'
  | 'killed the parser'
  | 'not understood'
  | 'busy'
  | 'stopped'
>;

/** What the thread of the grammar says. It is sent texts, one at a time once it is ready. */
export type FromGrammar =
  | { readonly type: 'ready' }
  | {
      readonly type: 'read';
      /** A `Reading` as JSON: its length is its cost, and a string passes between threads at the cost of a copy. */
      readonly json: string;
      readonly tookMs: number;
      /** Whether this thread is to be thrown away: nobody knows what the text has left in the module's memory. */
      readonly spent: boolean;
    };

/** Builds what becomes of a text that cannot be read. */
export function unreadable(because: Unreadable): Reading {
  return { kind: 'unreadable', because };
}
