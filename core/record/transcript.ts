import type { EndReason, OutcomeStatus, RecordedPrincipal, RecordedVerdict } from './kinds.ts';

/**
 * A session as a person reads it. Texts and cells are what an agent and a backend wrote: hostile, and to be escaped by
 * whoever prints them. `seq` names the request that a line belongs to, since requests may overlap.
 */
export type TranscriptLine =
  | {
      readonly kind: 'session';
      readonly time: string;
      readonly session: string;
      readonly backend: string;
      readonly principal: RecordedPrincipal;
      /** What the agent asked for at login. */
      readonly login: ReadonlyMap<string, string>;
    }
  | {
      readonly kind: 'request';
      readonly seq: number;
      readonly time: string;
      /** Undefined where it was not recorded, or was erased. */
      readonly text: string | undefined;
      readonly verdict: RecordedVerdict;
    }
  | {
      readonly kind: 'parameters';
      readonly seq: number;
      readonly values: readonly (string | null)[];
    }
  | { readonly kind: 'columns'; readonly seq: number; readonly names: readonly string[] }
  | { readonly kind: 'row'; readonly seq: number; readonly cells: readonly (string | null)[] }
  | { readonly kind: 'copy'; readonly seq: number; readonly text: string }
  | {
      readonly kind: 'notice' | 'error';
      readonly seq: number | undefined;
      readonly severity: string;
      readonly code: string;
      readonly message: string;
      readonly detail: string | undefined;
      readonly hint: string | undefined;
    }
  | { readonly kind: 'note'; readonly seq: number | undefined; readonly text: string }
  | {
      readonly kind: 'outcome';
      readonly seq: number;
      readonly status: OutcomeStatus;
      /** Such as `INSERT 0 1`. */
      readonly command: string | undefined;
      readonly rows: number;
      readonly durationUs: number;
    }
  | {
      readonly kind: 'ended';
      readonly time: string;
      readonly reason: EndReason;
      readonly count: number;
    };
