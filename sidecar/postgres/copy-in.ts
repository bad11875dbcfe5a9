import type { Permit } from '../gate.ts';
import type { Effect, Item } from './items.ts';

type CopyItem = Extract<Item, { kind: 'copy-data' | 'copy-end' }>;

/**
 * The agent's half of a COPY FROM STDIN (manual, "COPY Operations"). The backend reads data from its CopyInResponse on,
 * until CopyDone, CopyFail or an error of its own; what comes outside of that it ignores, and so do we.
 */
export class CopyIn {
  #taking: Permit | undefined;
  #inside: Permit | undefined;

  /** The operation that data belong to now. */
  get taking(): Permit | undefined {
    return this.#taking;
  }

  begin(permit: Permit): void {
    this.#taking = permit;
  }

  /** The operation has ended, or will not take data any more. */
  end(): void {
    this.#taking = undefined;
  }

  forward(item: CopyItem): readonly Effect[] {
    const { permit, record, frame } = item;
    // A message that was begun is finished, whatever has become of its COPY: else nothing could be said behind it.
    if (this.#inside !== permit && this.#taking !== permit) return [];
    this.#inside = item.kind === 'copy-data' && item.inside ? permit : undefined;
    if (item.kind === 'copy-end') this.end();
    return [{ kind: 'send', permit, record, frame }];
  }

  /** Whether a message has been begun, so that a CopyFail has no place. */
  get inside(): boolean {
    return this.#inside !== undefined;
  }

  /** Ends the COPY with an error at the backend. */
  fail(reason: string): Effect {
    this.end();
    return { kind: 'control', control: { kind: 'copy-fail', reason } };
  }
}
