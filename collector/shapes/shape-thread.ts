import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { parserStartMs, startParserThread } from '../../runtime/parser-thread.ts';

/** A shape for each text, in their order; undefined for one that cannot be read. */
export type Shapes = readonly (string | undefined)[];

/** What the thread says. */
export type FromShaper =
  | { readonly type: 'ready' }
  /** `spent`: it is to be thrown away. */
  | { readonly type: 'shapes'; readonly shapes: Shapes; readonly spent: boolean };

// In TypeScript the worker is a file of its own; in a bundle it lies beside the one that this is part of.
const workerFile = join(
  import.meta.dirname,
  import.meta.filename.endsWith('.ts') ? 'worker.ts' : 'collector-shapes-worker.cjs',
);

/** In UTF-16 code units. Longer texts take the parser long, and nobody reads them in a table. */
export const maxTextLength = 64 * 1024;

/** A text takes a tenth of a millisecond, and the longest that is read 50. */
const deadlineMs = 10_000;

/** A thread in which texts become shapes, one question at a time. It is started by the first, and again after it has died. */
export class ShapeThread {
  #worker: Worker | undefined;

  /** Never rejects: a text that the thread does not survive, or is not done with in time, has no shape. */
  async shapesOf(texts: readonly string[]): Promise<Shapes> {
    const shapes = await this.#ask(texts);
    if (shapes) return shapes;
    if (texts.length <= 1) return texts.map(() => undefined);
    const half = Math.ceil(texts.length / 2);
    const first = await this.shapesOf(texts.slice(0, half));
    return [...first, ...(await this.shapesOf(texts.slice(half)))];
  }

  async stop(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }

  /** Undefined where the thread is lost over it. */
  async #ask(texts: readonly string[]): Promise<Shapes | undefined> {
    const worker = this.#worker ?? (await start());
    this.#worker = worker;
    if (!worker) return undefined;
    worker.ref();
    worker.postMessage(texts);
    const message = await heard(worker, deadlineMs);
    worker.unref(); // an idle thread keeps no process alive
    const lost = message?.type !== 'shapes';
    if (lost || message.spent) await this.stop();
    return lost ? undefined : message.shapes;
  }
}

async function start(): Promise<Worker | undefined> {
  const worker = startParserThread(workerFile, 'shapes');
  worker.on('error', () => undefined); // 'exit' follows
  const message = await heard(worker, parserStartMs);
  if (message?.type === 'ready') return worker;
  await worker.terminate();
  return undefined;
}

/** The next that a thread says; undefined where it ends first, or says nothing in time. */
async function heard(worker: Worker, withinMs: number): Promise<FromShaper | undefined> {
  const { promise, resolve } = Promise.withResolvers<FromShaper | undefined>();
  const onMessage = (message: FromShaper): void => resolve(message);
  const onExit = (): void => resolve(undefined);
  // What has come by the time that the timer is due is read before it counts as late.
  const timer = setTimeout(() => setImmediate(onExit), withinMs);
  worker.on('message', onMessage).on('exit', onExit);
  const message = await promise;
  clearTimeout(timer);
  worker.off('message', onMessage).off('exit', onExit);
  return message;
}
