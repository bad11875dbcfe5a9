import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { ServerKeyPair } from '#core/control.ts';
import type { Asked, Done, Job } from './messages.ts';

// In TypeScript the worker is a file of its own; in a bundle it lies beside the one that this is part of.
const workerFile = join(
  import.meta.dirname,
  import.meta.filename.endsWith('.ts') ? 'worker.ts' : 'sidecar-trust-worker.cjs',
);

const idleMs = 5_000;
const maxJobs = 64;
const limits = ['--disable-sigusr1', '--max-old-space-size=64', '--max-semi-space-size=1'];

type Made = ServerKeyPair | Uint8Array;

/**
 * Has certificates made by a process that is started for it, and ends when nothing more is asked: a thread would leave half
 * as much memory again to the sidecar as that has.
 */
export class CertificateWorker {
  readonly #jobs = new Map<number, PromiseWithResolvers<Made>>();
  #worker: ChildProcess | undefined;
  #idle: NodeJS.Timeout | undefined;
  #last = 0;

  /** Rejects when a certificate cannot be made, or too many are asked for. */
  async pair(job: Extract<Job, { kind: 'authority' | 'leaf' }>): Promise<ServerKeyPair> {
    const made = await this.#do(job);
    if ('cert' in made) return made;
    throw new Error('the worker made something else');
  }

  /** Rejects when the store cannot be made. */
  async store(certificates: readonly string[]): Promise<Uint8Array> {
    const made = await this.#do({ kind: 'store', certificates });
    if ('cert' in made) throw new Error('the worker made something else');
    return made;
  }

  #do(job: Job): Promise<Made> {
    if (this.#jobs.size >= maxJobs) throw new Error('too many certificates are asked for at once');
    clearTimeout(this.#idle);
    const worker = (this.#worker ??= this.#start());
    this.#last += 1;
    const asked = Promise.withResolvers<Made>();
    this.#jobs.set(this.#last, asked);
    worker.ref();
    worker.channel?.ref();
    worker.send({ id: this.#last, job } satisfies Asked);
    return asked.promise;
  }

  #start(): ChildProcess {
    const worker = fork(workerFile, [], {
      env: {},
      execArgv: limits,
      serialization: 'advanced', // bytes stay bytes
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    worker.on('message', (done: Done) => {
      const asked = this.#jobs.get(done.id);
      this.#jobs.delete(done.id);
      if ('error' in done) asked?.reject(new Error(done.error));
      else asked?.resolve(done.made);
      if (this.#jobs.size > 0) return;
      worker.unref();
      worker.channel?.unref();
      this.#idle = setTimeout(() => this.#end(worker), idleMs).unref();
    });
    worker.on('error', (error) => this.#lose(worker, error));
    worker.on('exit', () => this.#lose(worker, new Error('the worker of certificates has ended')));
    return worker;
  }

  #end(worker: ChildProcess): void {
    if (this.#worker === worker) this.#worker = undefined;
    worker.kill();
  }

  /** The next job starts another one. */
  #lose(worker: ChildProcess, error: Error): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    for (const asked of this.#jobs.values()) asked.reject(error);
    this.#jobs.clear();
  }
}
