import type { KeyObject } from 'node:crypto';
import type { CollectorOptions } from './collector.ts';
import type { Batch, SegmentEnd } from './shipment.ts';

/** What an earlier process left in the spool, ready to be shipped. */
export interface Leftover {
  readonly stream: string;
  readonly batches: readonly Batch[];
  readonly ends: readonly SegmentEnd[];
}

/** First thing that the worker is told. */
export interface WorkerStart {
  readonly type: 'start';
  readonly directory: string;
  readonly stream: string;
  /** Private key of the stream's checkpoints. */
  readonly key: KeyObject;
  /** See `Progress`. */
  readonly progress: SharedArrayBuffer;
  readonly leftovers: readonly Leftover[];
  /** Earlier streams of which nothing but the head is left: it goes once the collector has our first record. */
  readonly shipped: readonly string[];
  readonly collector: CollectorOptions;
  /** PEM of the key that acknowledgements are signed with; undefined: their signatures are not checked. */
  readonly collectorKey: string | undefined;
}

/** What the worker is told. */
export type ToWorker =
  | WorkerStart
  /** An earlier stream that could not be ended before; nothing of our own is written yet. */
  | { readonly type: 'leftover'; readonly leftover: Leftover }
  /** Certificates of the collector's CA, PEM, in place of those before. */
  | { readonly type: 'trust'; readonly ca: string }
  /** There is more, or somebody is in a hurry. */
  | { readonly type: 'nudge' }
  /** The stream is closed: ship the rest of it, for at most this long. */
  | { readonly type: 'stop'; readonly timeoutMs: number };

/** What went wrong on the way to the collector. */
export type Trouble =
  | {
      readonly kind: 'unavailable';
      readonly stream: string;
      readonly status: number;
      readonly error: string | undefined;
    }
  /** The collector has less than it has acknowledged; it is sent again what is still here. */
  | { readonly kind: 'behind'; readonly stream: string; readonly ackedSeq: number }
  /** A batch will not be taken, or begins where the collector cannot go on. */
  | {
      readonly kind: 'refused';
      readonly stream: string;
      readonly status?: number;
      readonly ackedSeq?: number;
    }
  /** An acknowledgement is not signed by the collector, or not about what was sent. */
  | {
      readonly kind: 'not-acknowledged';
      readonly stream: string;
      readonly seq: number;
      readonly why: 'signature' | 'link' | 'stream' | 'unwritten';
    }
  /** The collector could not verify records, and has set them aside. */
  | {
      readonly kind: 'quarantined';
      readonly stream: string;
      readonly from: number;
      readonly to: number;
    }
  /** A file of the spool cannot be read or written by the worker. */
  | { readonly kind: 'spool'; readonly stream: string; readonly error: string };

/** What the worker says. */
export type FromWorker =
  /** Records are committed that were not before; `seq`: of our own stream, all up to it. */
  | {
      readonly type: 'committed';
      readonly records: number;
      readonly seq: number | undefined;
      /** Some of them did not verify: they are set aside, and nobody can show them. */
      readonly aside: boolean;
    }
  | { readonly type: 'deleted'; readonly bytes: number }
  | { readonly type: 'trouble'; readonly trouble: Trouble }
  /** It has shipped what it could; streams of which something is left in the spool. */
  | { readonly type: 'stopped'; readonly left: readonly string[] };
