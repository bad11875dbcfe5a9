import { ChaperoneError } from '#core/errors.ts';
import { buildCancelRequest } from '#core/postgres/startup.ts';
import type { CancelKey } from '../cancel-registry.ts';
import type { LaneHost, Target } from '../lane.ts';
import { limitSignal } from '../limited-signal.ts';
import { connectToBackend } from './backend-connection.ts';

const cancelTimeoutMs = 5_000;

/**
 * Cancels what a backend runs for one session, as a client would: on a connection of its own. However often it is asked
 * to, one cancel is under way and at most one more waits behind it, which stands for all that were asked for meanwhile.
 */
export class BackendCancels {
  readonly #target: Target;
  readonly #host: LaneHost;
  readonly #key: CancelKey | undefined;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #failing = false;

  constructor(target: Target, host: LaneHost, key: CancelKey | undefined) {
    this.#target = target;
    this.#host = host;
    this.#key = key;
  }

  /**
   * Resolves when the backend has closed a connection that was begun after the call, which it does once the signal is
   * sent, or when that has failed, of which the operator is told.
   */
  send(): Promise<void> {
    if (!this.#key) return Promise.resolve();
    if (!this.#running) return this.#begin(this.#key);
    const { processId, secret } = this.#key;
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      return this.#begin({ processId, secret });
    });
    return this.#next;
  }

  async #begin(key: CancelKey): Promise<void> {
    const running = this.#attempt(key);
    this.#running = running;
    await running;
    if (this.#running === running) this.#running = undefined;
  }

  async #attempt(key: CancelKey): Promise<void> {
    try {
      await this.#cancel(key);
      this.#failing = false;
    } catch (cause) {
      // A session that is being stopped asks many times a second: once is enough to know.
      if (!this.#failing) {
        const why = cause instanceof Error ? cause.message : 'unknown';
        const what = `a cancel did not reach the backend: ${why}`;
        this.#host.warn(this.#target, new ChaperoneError('backend-unreachable', what, { cause }));
      }
      this.#failing = true;
    }
  }

  async #cancel({ processId, secret }: CancelKey): Promise<void> {
    using limit = limitSignal([], {
      timeoutMs: cancelTimeoutMs,
      reason: new ChaperoneError('backend-unreachable', 'it took too long'),
    });
    const { signal } = limit;
    const { socket } = await connectToBackend(this.#target, this.#host, signal);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.on('close', () => resolve());
    const expired = (): void => {
      reject(signal.reason);
      socket.destroy();
    };
    signal.addEventListener('abort', expired, { once: true });
    socket.resume().end(buildCancelRequest(processId, secret));
    await promise;
  }
}
