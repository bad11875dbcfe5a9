import { setImmediate as nextTurn } from 'node:timers/promises';

/** Runs work that yields now and then, with a turn of the event loop for others at each yield. */
export async function inTurns<T>(work: Generator<void, T>): Promise<T> {
  for (let step = work.next(); ; step = work.next()) {
    if (step.done === true) return step.value;
    await nextTurn();
  }
}
