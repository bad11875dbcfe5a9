import type { Duplex } from 'node:stream';
import { isPromise } from 'node:util/types';
import type { Permit } from '../gate.ts';
import type { Ready, Stop } from '../ready.ts';
import { AdjacentWriter } from './adjacent.ts';
import { buildRefusal } from './refusal.ts';

/** A piece of the answer stream, in the order of sending. */
export interface Answer {
  readonly bytes: Buffer;
  /** A ReadyForQuery: the place where a withheld answer is closed. */
  readonly ready: boolean;
  /** The operation that it answers. */
  readonly permit?: Permit | undefined;
  /** Our last word, which is said whatever is withheld. */
  readonly last?: boolean;
}

/** Answers of one turn, released together once they are in the spool. */
interface Batch {
  readonly answers: readonly Answer[];
  readonly ready: Ready;
  readonly length: number;
  readonly end: BatchEnd;
}

/** Where a batch of answers ends. */
export interface BatchEnd {
  /** Within a message: nothing of ours fits behind it. */
  readonly inside: boolean;
  /** With every answer given: there is nothing that could be withheld further. */
  readonly idle: boolean;
}

export interface ReleaseOptions {
  readonly agent: Duplex;
  /** Called when the answer was cut within a message, so that the connection cannot go on. */
  readonly onBroken: (stop: Stop) => void;
  /** Called after each release, and when the agent has read what was sent. */
  readonly onProgress: () => void;
}

const withheldNote =
  'the audit log cannot be written, so the answer is withheld; the operation itself was run';

/**
 * Holds the answers back until they are in the spool. What cannot be recorded is withheld: up to the next
 * ReadyForQuery nothing of the answer passes, and an error stands in its place.
 */
export class ReleaseQueue {
  readonly #options: ReleaseOptions;
  readonly #agent: AdjacentWriter;
  readonly #queue: Batch[] = [];
  #heldBytes = 0;
  #pumping = false;
  #inside = false;
  #withholding: Stop | undefined;
  /** Whether what is withheld answers an operation. */
  #ran = false;

  constructor(options: ReleaseOptions) {
    this.#options = options;
    this.#agent = new AdjacentWriter(options.agent);
  }

  /** Bytes that wait for the spool or for the agent. */
  get backlogBytes(): number {
    return this.#heldBytes + this.#options.agent.writableLength;
  }

  get empty(): boolean {
    return this.#queue.length === 0;
  }

  push(answers: readonly Answer[], ready: Ready, end: BatchEnd): void {
    const length = answers.reduce((sum, { bytes }) => sum + bytes.length, 0);
    this.#heldBytes += length;
    this.#queue.push({ answers, ready, length, end });
    if (!this.#pumping) void this.#pump();
  }

  // Never rejects: turns settle with a Stop, and writing to a socket reports by its events.
  async #pump(): Promise<void> {
    this.#pumping = true;
    for (let batch = this.#queue[0]; batch; batch = this.#queue[0]) {
      const stop = isPromise(batch.ready) ? await batch.ready : batch.ready;
      this.#queue.shift();
      this.#heldBytes -= batch.length;
      this.#release(batch, stop);
      this.#options.onProgress();
    }
    this.#pumping = false;
  }

  #release({ answers, end }: Batch, stop: Stop | undefined): void {
    if (stop) for (const { permit } of answers) permit?.finish({ status: 'incomplete' });
    if (stop && !this.#withholding && this.#inside) return this.#options.onBroken(stop);
    for (const answer of answers) {
      const held = this.#withholding ?? stop;
      if (!held || answer.last || (answer.ready && !this.#withholding))
        this.#agent.add(answer.bytes);
      else if (answer.ready) this.#closeWithheld(held, answer);
      else {
        this.#withholding = held;
        this.#ran ||= answer.permit !== undefined;
      }
    }
    // What ends with a Flush has no ReadyForQuery that would close it; behind our last word nothing is said.
    if (end.idle && this.#withholding && answers.at(-1)?.last !== true)
      this.#agent.add(this.#withheld(this.#withholding));
    this.#agent.flush();
    if (end.idle) this.#passAgain();
    if (!this.#withholding) this.#inside = end.inside;
  }

  #closeWithheld(stop: Stop, answer: Answer): void {
    this.#agent.add(this.#withheld(stop));
    this.#agent.add(answer.bytes);
    this.#passAgain();
  }

  #withheld({ refusal }: Stop): Buffer {
    return buildRefusal(this.#ran ? { ...refusal, message: withheldNote } : refusal);
  }

  #passAgain(): void {
    this.#withholding = undefined;
    this.#ran = false;
  }
}
