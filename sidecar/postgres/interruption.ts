import type { Permit } from '../gate.ts';

const againMs = 100; // a cancel that comes between two statements, when nothing runs, meets neither
const patienceMs = 5_000; // for the backend to end what was cancelled

export interface InterruptionOptions {
  /** Whether the backend may still work on an operation. */
  readonly runs: (permit: Permit) => boolean;
  /** Cancels what the backend runs now. */
  readonly cancel: () => void;
  /** Ends the session: the backend does not end what it was told to. */
  readonly cut: () => void;
}

/** Ends one operation at the backend, and leaves the session and what was sent behind it as they are. */
export class Interruption {
  readonly #options: InterruptionOptions;
  #permit: Permit | undefined;
  #sinceMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: InterruptionOptions) {
    this.#options = options;
  }

  /** Cancels an operation while it runs; one that is being cancelled goes on being so. */
  begin(permit: Permit): void {
    if (this.#permit === permit) return;
    this.end();
    this.#permit = permit;
    this.#sinceMs = performance.now();
    this.#timer = setInterval(() => this.#again(), againMs);
    this.#again();
  }

  end(): void {
    clearInterval(this.#timer);
    this.#permit = undefined;
  }

  #again(): void {
    const { runs, cancel, cut } = this.#options;
    if (!this.#permit || !runs(this.#permit)) return this.end();
    if (performance.now() - this.#sinceMs < patienceMs) return cancel();
    this.end();
    return cut();
  }
}
