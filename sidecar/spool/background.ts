import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { publicKeyHex } from '#core/record/checkpoint.ts';
import type { FromWorker, Leftover, ToWorker, Trouble, WorkerStart } from './messages.ts';
import { Progress } from './progress.ts';

export interface BackgroundOptions {
  /** Records are committed, or set aside, that were not before; `seq`: of our own stream, all up to it. */
  readonly onCommitted: (records: number, seq: number | undefined, aside: boolean) => void;
  readonly onDeleted: (bytes: number) => void;
  readonly onTrouble: (trouble: Trouble) => void;
}

// In TypeScript the worker is a file of its own; in a bundle it lies beside the one that this is part of.
const workerFile = join(
  import.meta.dirname,
  import.meta.filename.endsWith('.ts') ? 'worker.ts' : 'sidecar-spool-worker.cjs',
);

// What it holds is a batch, its compressed form and a description of what is in the spool.
const resourceLimits = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 4 };

/**
 * The worker that links, signs and ships, as the writer's thread sees it. Its thread starts with the construction; it has
 * nothing to do until `start`.
 */
export class Background {
  readonly progress = new Progress();
  /** Rejects when the worker ends unasked: nothing is signed or shipped any more. */
  readonly failed: Promise<never>;
  readonly #worker: Worker;
  readonly #options: BackgroundOptions;
  readonly #stopped = Promise.withResolvers<readonly string[]>();

  constructor(options: BackgroundOptions) {
    this.#options = options;
    this.#worker = new Worker(workerFile, { env: {}, execArgv: [], resourceLimits, name: 'spool' });
    this.#worker.on('message', (message: FromWorker) => this.#take(message));
    this.failed = new Promise((_, reject) => {
      this.#worker.on('error', (cause) => {
        reject(new Error('the worker of the spool failed', { cause }));
      });
      this.#worker.on('exit', () => reject(new Error('the worker of the spool has ended')));
    });
    this.failed.catch(() => undefined); // after a stop nobody asks
  }

  /** Makes the stream's key pair, gives the private half away, and returns the public one in hex. */
  start(start: Omit<WorkerStart, 'type' | 'key' | 'progress'>): string {
    const { publicKey, privateKey }: { publicKey: KeyObject; privateKey: KeyObject } =
      generateKeyPairSync('ed25519');
    this.#post({ type: 'start', ...start, key: privateKey, progress: this.progress.memory });
    return publicKeyHex(publicKey);
  }

  /** Ships an earlier stream that could not be ended before `start`. */
  add(leftover: Leftover): void {
    this.#post({ type: 'leftover', leftover });
  }

  /** The stream is written up to a record. */
  written(seq: number): void {
    this.progress.written = seq;
    this.#nudge();
  }

  /** Nothing more is added to the segment that ends with a record. */
  closed(seq: number): void {
    this.progress.closed = seq;
    this.#nudge();
  }

  /** Says whether somebody waits until records are committed. */
  hurry(yes: boolean): void {
    this.progress.hurry = yes;
    if (yes) this.#post({ type: 'nudge' }); // it may be waiting for a batch to fill
  }

  /** Knows the collector by the certificates of another CA, PEM, from now on. */
  trust(ca: string): void {
    this.#post({ type: 'trust', ca });
  }

  /** Ships the rest of a closed stream, for at most `timeoutMs`. Returns the streams of which something is left. */
  async stop(timeoutMs: number): Promise<readonly string[]> {
    this.#post({ type: 'stop', timeoutMs });
    return Promise.race([this.#stopped.promise, this.failed]);
  }

  #nudge(): void {
    if (this.progress.takeWaiting()) this.#post({ type: 'nudge' });
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #take(message: FromWorker): void {
    switch (message.type) {
      case 'committed':
        this.#options.onCommitted(message.records, message.seq, message.aside);
        break;
      case 'deleted':
        this.#options.onDeleted(message.bytes);
        break;
      case 'trouble':
        this.#options.onTrouble(message.trouble);
        break;
      case 'stopped':
        this.#stopped.resolve(message.left);
        break;
    }
  }
}
