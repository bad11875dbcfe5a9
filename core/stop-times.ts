/** How long a sidecar that is told to stop waits for what runs; running statements have 5 s of it, their cancels 1.5 s. */
export const drainMs = 7_000;

/** How long it goes on shipping after that. */
export const shipMs = 10_000;
