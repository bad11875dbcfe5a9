import { setTimeout as delay } from 'node:timers/promises';

/** Waits until `probe` returns something other than undefined or false; fails with `what` when it never does. */
export async function until<T>(
  what: string,
  probe: () => Promise<T> | T,
  timeoutMs = 30_000,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== null && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await delay(20);
  }
}

/** Waits until a number does not change any more. */
export async function standsStill(read: () => Promise<number> | number): Promise<void> {
  let last = NaN;
  let same = 0;
  await until('nothing moves any more', async () => {
    const now = await read();
    same = now === last ? same + 1 : 0;
    last = now;
    return same > 20;
  });
}
