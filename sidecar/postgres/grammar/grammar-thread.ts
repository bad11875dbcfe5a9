import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { parserStartMs, startParserThread } from '../../../runtime/parser-thread.ts';
import { unreadable, type FromGrammar, type Reading } from './reading.ts';

/** A reading, and what it has cost. */
export interface Outcome {
  readonly reading: Reading;
  /** Characters of the reading as JSON. */
  readonly length: number;
  readonly tookMs: number;
  /** Whether the text has cost the thread its life. */
  readonly fatal: boolean;
}

export interface GrammarThreadOptions {
  /** From when the thread starts on a text. */
  readonly deadlineMs: number;
  /** Texts that wait. */
  readonly maxTexts: number;
  /** Of texts that wait, in UTF-16 code units. */
  readonly maxLength: number;
  /** Without a text, before the thread is ended; undefined: it stays. */
  readonly idleMs: number | undefined;
}

interface Job {
  readonly text: string;
  /** Whether it was lost with a thread before. */
  readonly again: boolean;
  readonly resolve: (outcome: Outcome) => void;
}

// In TypeScript the worker is a file of its own; in a bundle it lies beside the one that this is part of.
const workerFile = join(
  import.meta.dirname,
  import.meta.filename.endsWith('.ts') ? 'worker.ts' : 'sidecar-postgres-grammar-worker.cjs',
);

/** A text as short as this is read in a millisecond: a thread that is lost over it was held up by something else. */
const harmlessLength = 4_096;

/**
 * A thread that reads one text after the other. It is started by the first text, and thrown away by one that it does not
 * survive, or with which it is not done in time; the next text starts another.
 */
export class GrammarThread {
  readonly #options: GrammarThreadOptions;
  readonly #queue: Job[] = [];
  #queuedLength = 0;
  #worker: Worker | undefined;
  #isReady = false;
  #current: Job | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: GrammarThreadOptions) {
    this.#options = options;
  }

  read(text: string): Promise<Outcome> {
    const { maxTexts, maxLength } = this.#options;
    if (this.#queue.length >= maxTexts || this.#queuedLength + text.length > maxLength) {
      return Promise.resolve(outcome('busy', false));
    }
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.#queue.push({ text, again: false, resolve });
    this.#queuedLength += text.length;
    this.#advance();
    return promise;
  }

  /** Ends the thread; what waits for it is not read. */
  async stop(): Promise<void> {
    const waiting = this.#queue.splice(0);
    this.#queuedLength = 0;
    const worker = this.#worker;
    const current = this.#forget();
    for (const { resolve } of current ? [current, ...waiting] : waiting) {
      resolve(outcome('stopped', false));
    }
    await worker?.terminate();
  }

  #advance(): void {
    if (this.#current) return;
    if (this.#queue.length === 0) return this.#rest();
    const worker = this.#worker ?? this.#start();
    worker.ref();
    const job = this.#isReady ? this.#next() : undefined;
    if (!job) return;
    this.#current = job;
    worker.postMessage(job.text);
    this.#limit(this.#options.deadlineMs, () => {
      if (this.#current === job) this.#lose('took too long');
    });
  }

  #next(): Job | undefined {
    const job = this.#queue.shift();
    this.#queuedLength -= job?.text.length ?? 0;
    return job;
  }

  /** An idle thread keeps no process alive, nor its memory for good. */
  #rest(): void {
    this.#worker?.unref();
    clearTimeout(this.#timer);
    const { idleMs } = this.#options;
    if (idleMs === undefined || !this.#worker) return;
    this.#timer = setTimeout(() => this.#discard(), idleMs).unref();
  }

  #start(): Worker {
    const worker = startParserThread(workerFile, 'grammar');
    const lost = (): void => {
      if (this.#worker === worker) this.#lose('killed the parser');
    };
    worker.on('message', (message: FromGrammar) => {
      if (this.#worker === worker) this.#take(message);
    });
    worker.on('error', lost).on('exit', lost);
    this.#worker = worker;
    this.#limit(parserStartMs, () => {
      if (this.#worker === worker && !this.#isReady) this.#lose('took too long');
    });
    return worker;
  }

  /**
   * A timer that is due when this thread comes back from other work goes off before the answer that has come meanwhile is
   * read: only what has not come after that is late.
   */
  #limit(ms: number, late: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => setImmediate(late), ms);
  }

  #take(message: FromGrammar): void {
    clearTimeout(this.#timer);
    if (message.type === 'ready') {
      this.#isReady = true;
    } else {
      const { json, tookMs, spent } = message;
      const reading = JSON.parse(json) as Reading; // from our own thread
      const fatal = spent && reading.kind === 'unreadable';
      const job = this.#current;
      this.#current = undefined;
      if (spent) this.#discard();
      job?.resolve({ reading, length: json.length, tookMs, fatal });
    }
    this.#advance();
  }

  /** The thread is gone or is given up, and with it the text that it was at, or that it was started for. */
  #lose(because: 'took too long' | 'killed the parser'): void {
    const worker = this.#worker;
    const job = this.#forget() ?? this.#next();
    void worker?.terminate();
    if (job && !job.again && job.text.length <= harmlessLength) {
      this.#queue.unshift({ ...job, again: true });
      this.#queuedLength += job.text.length;
    } else job?.resolve(outcome(because, true));
    this.#advance();
  }

  #discard(): void {
    const worker = this.#worker;
    this.#forget();
    void worker?.terminate();
  }

  #forget(): Job | undefined {
    clearTimeout(this.#timer);
    const job = this.#current;
    this.#current = undefined;
    this.#worker = undefined;
    this.#isReady = false;
    return job;
  }
}

function outcome(because: Parameters<typeof unreadable>[0], fatal: boolean): Outcome {
  return { reading: unreadable(because), length: 0, tookMs: 0, fatal };
}
