import type { Over } from '#core/policy/budget.ts';
import type { Permit } from '../gate.ts';
import type { Expected } from './items.ts';

/** The replies that are still to come, in the order in which the backend gives them. */
export class Expectations {
  readonly #queue: Expected[] = [];

  get size(): number {
    return this.#queue.length;
  }

  get head(): Expected | undefined {
    return this.#queue[0];
  }

  /**
   * Whether an operation may be running. Which one does is not known before the next Sync: the backend keeps replies back
   * up to there.
   */
  mayRun(permit: Permit): boolean {
    return this.#segment().some((expected) => 'permit' in expected && expected.permit === permit);
  }

  /** The first of those that may be running, and have done so for too long. */
  overdue(): { readonly permit: Permit; readonly over: Over } | undefined {
    for (const expected of this.#segment()) {
      const permit = 'permit' in expected ? expected.permit : undefined;
      const over = permit?.use?.overdue();
      if (permit && over) return { permit, over };
    }
    return undefined;
  }

  #segment(): readonly Expected[] {
    const end = this.#queue.findIndex(({ kind }) => kind === 'sync' || kind === 'query');
    return end < 0 ? this.#queue : this.#queue.slice(0, end + 1);
  }

  push(expected: Expected): void {
    this.#queue.push(expected);
  }

  shift(): Expected | undefined {
    return this.#queue.shift();
  }

  /** Whether what is expected now is a query of the lane's own, between two pipelines of the agent's. */
  get ownAlone(): boolean {
    return this.#queue[0]?.kind === 'own-query' && this.#queue[1]?.kind === 'own-sync';
  }

  /**
   * Takes away the Syncs behind the first, up to what is no Sync. Returns how many there were, and whether nothing else
   * is behind them.
   */
  takeSyncs(): { readonly taken: number; readonly last: boolean } {
    const other = this.#queue.findIndex(({ kind }, index) => index > 0 && kind !== 'sync');
    const { length } = this.#queue.splice(1, other < 0 ? Infinity : other - 1);
    return { taken: length, last: other < 0 };
  }

  /**
   * The backend answers nothing more before the next Sync: what was sent up to there has not been done. Returns whether
   * there is one.
   */
  dropUntilSync(failed: Permit | undefined): boolean {
    const sync = this.#queue.findIndex(({ kind }) => kind === 'sync' || kind === 'own-sync');
    const lost = this.#queue.splice(0, sync < 0 ? Infinity : sync);
    for (const expected of lost) drop(expected, failed);
    return sync >= 0;
  }

  /** Ends the operations whose answers will not come. */
  abandon(): void {
    for (const expected of this.#queue) {
      if ('permit' in expected) expected.permit?.finish({ status: 'incomplete' });
    }
    this.#queue.length = 0;
  }
}

function drop(expected: Expected, failed: Permit | undefined): void {
  if (expected.kind === 'own-query') expected.query.fail();
  if ('statement' in expected && expected.statement.layout === 'asked')
    expected.statement.layout = undefined;
  if ('permit' in expected && expected.permit !== failed)
    expected.permit?.finish({ status: 'not-executed' });
}
