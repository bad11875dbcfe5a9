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
  #timer: NodeJS.Timeout | undefined;
  #repeated: NodeJS.Timeout | undefined;

  constructor(options: InterruptionOptions) {
    this.#options = options;
  }

  /** Cancels an operation while it runs; one that is being cancelled goes on being so. */
  begin(permit: Permit): void {
    if (this.#permit === permit) return;
    this.end();
    this.#permit = permit;
    this.#timer = setTimeout(() => this.#giveUp(permit), patienceMs);
    this.#repeated = setInterval(() => this.#again(permit), againMs);
    this.#again(permit);
  }

  end(): void {
    clearTimeout(this.#timer);
    clearInterval(this.#repeated);
    this.#permit = undefined;
  }

  #again(permit: Permit): void {
    const { runs, cancel } = this.#options;
    if (runs(permit)) cancel();
    else this.end();
  }

  #giveUp(permit: Permit): void {
    const { runs, cut } = this.#options;
    this.end();
    if (runs(permit)) cut();
  }
}
